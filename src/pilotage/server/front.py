"""What every request meets first: the address, the stop, the key; then the door it asked for."""

from __future__ import annotations

import asyncio
import logging

from pilotage.app import App
from pilotage.domain import trace
from pilotage.domain.call import Principal
from pilotage.domain.errors import Busy, PilotageError, TooLarge, Unauthenticated
from pilotage.server import management
from pilotage.server.access import Access
from pilotage.server.asked import NAME, REQUEST, Asked
from pilotage.server.calls import PREFIX, Calls
from pilotage.server.fast import Fast, FastCalls
from pilotage.server.gauges import Gauges
from pilotage.server.handshake import Handshake
from pilotage.server.http import (
    BY,
    HEAD,
    MCP,
    CutOff,
    Gone,
    Head,
    Receive,
    Refused,
    Scope,
    Send,
    Stopping,
    a_bug,
    begun,
    read_body,
    read_head,
    replay,
    send_refusal,
)
from pilotage.server.metrics import Metrics
from pilotage.server.protocol import Protocol

logger = logging.getLogger(__name__)
FORMS = (b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain")
_CUT_OFF = "this server was stopped before the request had ended"
_MAY_HAVE_RUN = "a call may have done some of its work: see pilotage audit list"
OPEN = frozenset(("/healthz", "/readyz", "/metrics", "/api/v2/openapi.json"))


class Front:
    """One ASGI application for tools/call, MCP and the management API.

    It takes up the runs that a server before it left. Once `stopping`, each new request is
    answered 503; `drain` waits for the calls that run, those of pipeline steps as well.
    """

    def __init__(self, app: App, access: Access, local: Principal | None = None) -> None:
        self.metrics = Metrics(app.gateway, app.fair.limits)
        self.stopping = False
        self._access = access
        self._runs, self._leave = app.runs, app.leave
        self._calls = Calls(app.gateway, app.approvals)
        self._protocol = Protocol(app, local)
        self.handshake = Handshake(app.gateway, app.registry, self._protocol)
        self.fast = Fast(app.gateway, app.registry, self._protocol, self.handshake)
        self._traced = app.tracing is not None
        self._mcp = self._protocol if self._traced else self.fast  # which knows no traces
        self._logged = logging.getLogger("pilotage.access").isEnabledFor(logging.DEBUG)
        self._management = management.make(app, self.metrics, lambda: self.stopping)
        self.metrics.add(Gauges(app, self._streams))
        self.metrics.add(FastCalls(self.fast, self.handshake))
        self._end = asyncio.Event()
        self._ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        path: str = scope["path"]
        plain = send
        try:
            head = scope.get(HEAD) or read_head(scope)
            if self._logged or NAME in head:
                send = Asked(scope, head, send).send
            self._access.check_address(head)
            await self._serve(path, scope, head, receive, send)
        except PilotageError as error:
            await send_refusal(_named(scope, send), self._recorded(path, error, BY in scope))
        except Gone:
            pass
        except asyncio.CancelledError:
            if not self.stopping or begun(plain):
                raise
            await send_refusal(_named(scope, send), CutOff(_CUT_OFF, _MAY_HAVE_RUN))
        except Exception as error:
            send = _named(scope, send)
            logger.exception("%s %s", scope["method"], path)
            await send_refusal(send, a_bug(error))

    async def _serve(
        self, path: str, scope: Scope, head: Head, receive: Receive, send: Send
    ) -> None:
        """By the door that was asked for, for who may come in."""
        if self._traced:
            names = [name for name in trace.NAMES if name.encode() in head]
            trace.came.set({name: head[name.encode()].decode("latin-1") for name in names})
        if path in OPEN:
            await self._management(scope, receive, _named(scope, send))
            return
        if self.stopping:
            raise Stopping("this server is stopping", "try again")
        by = scope[BY] = self._access.principal(head)
        if path.startswith(PREFIX):
            await self._calls.serve(scope, head, by, receive, send)
        elif path == MCP:
            await self._mcp.serve(scope, head, by, receive, send)
        else:
            if scope["method"] != "GET":
                _refuse_forms(head)
                receive = replay(await read_body(head, receive), receive)
            await self._management(scope, receive, _named(scope, send))

    def _streams(self) -> dict[str, int]:
        return {**self._protocol.open, "events": self._management.state.streams.open.total()}

    def _recorded(self, path: str, error: PilotageError, inside: bool) -> PilotageError:
        """Somebody without a good key is on record, whatever was asked for; a full record is what
        is said then."""
        via = "mcp" if path == MCP else "rest"
        if not inside or isinstance(error, (Refused, TooLarge)):
            self.metrics.refused(via, error)  # of all else, the gateway tells
        if isinstance(error, Unauthenticated):
            try:
                self._access.refuse(path.removeprefix(PREFIX), "unknown", via, error.what)
            except Busy as full:
                return full
        return error

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The life of the application; web sockets are not spoken."""
        if scope["type"] != "lifespan":
            await send({"type": "websocket.close", "code": 1002})
            return
        await receive()
        try:
            async with self._protocol.running():
                await self._runs.recover()
                await send({"type": "lifespan.startup.complete"})
                shutdown = asyncio.ensure_future(receive())
                end = asyncio.ensure_future(self._end.wait())
                await asyncio.wait({shutdown, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            try:
                await self._leave()
            finally:
                self._ended.set()  # who drains waits for it, whatever broke
        end.cancel()
        await shutdown
        await send({"type": "lifespan.shutdown.complete"})

    async def drain(self, seconds: float) -> None:
        """Refuse what is new, wait for the calls that run, then end the streams of MCP. Nobody can
        come back with an answer, so calls that wait for one end now."""
        self.stopping = True
        self._protocol.parking.close()
        await self.metrics.idle(seconds)
        self._access.settle()
        self._end.set()
        await self._ended.wait()


def _refuse_forms(head: Head) -> None:
    """What a form of any page could send without asking first is no request to us."""
    kind = head.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind in FORMS:
        raise Refused(415, "the body must be JSON", "send Content-Type: application/json")


def _named(scope: Scope, send: Send) -> Send:
    """An answer that is never one of thousands a second has an id in any case."""
    return send if REQUEST in scope else Asked(scope, {}, send).send
