"""Sessions of the handshake eras, known by what is seen as each of their requests passes.

The SDK keeps its books of them in private parts. A call beside the SDK must know as much: whose
session it is, that it is alive, which ids are in use. And the other way round: it is ended by
notifications/cancelled and with its session, and it keeps its session from being idle. So what ends
an idle session is here, too; the SDK is told by a DELETE like any other.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
from mcp.server.streamable_http import REQUEST_CANCELLED
from mcp.shared.dispatcher import as_request_id, coerce_request_id
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from pilotage.domain.call import Principal, ToolResult
from pilotage.domain.errors import Busy
from pilotage.server.http import RAW, Head, Message, Scope, Send, encode

ID = b"mcp-session-id"
IDLE_SECONDS = 30 * 60.0
EACH = 1_000
"""Sessions of one principal, of the SDK's 10 000 in all."""
Id = int | str
End = bytes
"""What is said, as by the SDK, of a call that was ended before it had an answer: a member `error`;
nothing where its session ended, or the server stops."""
CANCELLED: End = b'"error":' + encode({"code": REQUEST_CANCELLED, "message": "Request cancelled"})
GONE: End = b""


class _Cancelled(msgspec.Struct):
    """What a message may be that cancels a call."""

    method: Literal["notifications/cancelled"]
    params: dict[str, Any]


_cancelled = msgspec.json.Decoder(_Cancelled).decode


class _Call:
    """A call beside the SDK that has to wait."""

    __slots__ = ("_task", "done", "end")

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self.end: End | None = None
        self.done = asyncio.get_running_loop().create_future()

    def stop(self, end: End) -> None:
        """Cancel the task at hand, once; the call cleans up first."""
        if self.end is None and self._task is not None:
            self.end = end
            self._task.cancel()

    def close(self) -> None:
        """It has ended, stopped or not."""
        self.done.set_result(None)
        if self.end is not None and self._task is not None:
            self._task.uncancel()


class Session:
    """`ready`: its client has been let in, by `initialize`. `asked` counts its requests at the SDK,
    open streams among them."""

    def __init__(self, id: bytes, owner: str) -> None:
        self.id, self.owner = id, owner
        self.ready = False
        self.asked = 0
        self.used = time.monotonic()
        self._calls: dict[Id, _Call] = {}
        self._running: set[_Call] = set()
        self._headers = (
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-cache, no-transform"),
            (b"connection", b"keep-alive"),
            (b"x-accel-buffering", b"no"),
            (ID, id),
        )
        self._raw = b"".join(b"%b: %b\r\n" % pair for pair in self._headers)

    def start(self, length: int | None = None) -> Message:
        """The start of an answer: a stream of events, of a known length or in parts."""
        start: Message = {"type": "http.response.start", "status": 200, "headers": self._headers}
        if length is not None:
            start["headers"] = (*self._headers, (b"content-length", b"%d" % length))
            start[RAW] = b"%bcontent-length: %d\r\n\r\n" % (self._raw, length)
        return start

    @property
    def idle(self) -> bool:
        return not self.asked and not self._running

    async def run(self, id: Id, call: Awaitable[ToolResult]) -> ToolResult | Exception | End:
        """What a call with that id comes to, or how it was ended. No client may have two with one
        id; then each has its answer, and the newer can be cancelled."""
        one, key = _Call(), coerce_request_id(id)
        self._calls[key] = one
        self._running.add(one)
        done: ToolResult | Exception | End = GONE
        try:
            done = await call
        except asyncio.CancelledError:
            if one.end is None:
                raise
        except Exception as error:
            done = error
        finally:
            one.close()
            self._running.discard(one)
            if self._calls.get(key) is one:
                del self._calls[key]
            self.used = time.monotonic()
        return one.end if one.end is not None else done

    def cancels(self, body: bytes) -> _Call | None:
        """The call beside the SDK that this message cancels, if it does that."""
        if not self._calls:
            return None
        try:
            id = as_request_id(_cancelled(body).params.get("requestId"))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        return None if id is None else self._calls.get(coerce_request_id(id))

    def stop(self, end: End) -> list[asyncio.Future[None]]:
        """End each call that runs; what is done once they have cleaned up."""
        for call in self._running:
            call.stop(end)
        return [call.done for call in self._running]


class Sessions:
    """Those that are alive."""

    def __init__(self) -> None:
        self._all: dict[bytes, Session] = {}
        self._opening: Counter[str] = Counter()

    def of(self, head: Head, by: Principal) -> Session | None:
        """The session that a request names, where it is the principal's own."""
        session = self._all.get(head.get(ID, b""))
        return session if session is not None and session.owner == by.name else None

    def add(self, id: bytes, by: Principal) -> Session:
        """One that the principal opens."""
        session = self._all.get(id)
        if session is None:
            session = self._all[id] = Session(id, by.name)
        return session

    def lost(self, id: bytes) -> None:
        """It has ended, whatever the reason."""
        session = self._all.pop(id, None)
        if session is not None:
            session.stop(GONE)

    def idle(self, now: float) -> Iterator[Session]:
        """Take those out that nobody has used for long."""
        for session in tuple(self._all.values()):
            if session.idle and now - session.used >= IDLE_SECONDS:
                self._all.pop(session.id, None)
                yield session

    async def stop(self) -> None:
        """End the calls that run, and wait until they have cleaned up."""
        ending = [one for session in self._all.values() for one in session.stop(GONE)]
        if ending:
            await asyncio.wait(ending)

    @contextmanager
    def passing(
        self, scope: Scope, head: Head, by: Principal, body: bytes, send: Send
    ) -> Iterator[Send]:
        """A request on its way to the SDK: its answer says what becomes of the session."""
        if ID not in head:
            with self._opened(head, by, send) as send:
                yield send
            return
        session = self.of(head, by)
        if session is None:
            yield send
            return
        method = scope["method"]
        call = session.cancels(body) if method == "POST" else None

        def answered(start: Message) -> None:
            status = start["status"]
            if status == 404 or (method == "DELETE" and status == 200):
                self.lost(session.id)
            elif status == 202 and call is not None:
                call.stop(CANCELLED)

        session.asked += 1
        try:
            yield _heard(send, answered)
        finally:
            session.asked -= 1
            session.used = time.monotonic()

    @contextmanager
    def _opened(self, head: Head, by: Principal, send: Send) -> Iterator[Send]:
        """One that opens a session, maybe; who has many gets no more of them, they are for all."""
        version = head.get(b"mcp-protocol-version", b"").decode("latin-1")
        if version in MODERN_PROTOCOL_VERSIONS:
            yield send
            return
        have = sum(session.owner == by.name for session in self._all.values())
        if have + self._opening[by.name] >= EACH:
            raise Busy(f"{by.name} has {EACH} sessions open already", "end one of them")

        def answered(start: Message) -> None:
            id = dict(start.get("headers", ())).get(ID)
            if id is not None and start["status"] < 400:
                self.add(id, by)

        self._opening[by.name] += 1
        try:
            yield _heard(send, answered)
        finally:
            self._opening[by.name] -= 1
            if not self._opening[by.name]:
                del self._opening[by.name]


def _heard(send: Send, answered: Callable[[Message], None]) -> Send:
    async def hear(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered(message)
        await send(message)

    return hear
