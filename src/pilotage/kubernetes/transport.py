"""The connection to one API server: one pooled session, one TLS context, answers or ApiErrors."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pilotage import __version__
from pilotage.domain.errors import TooLarge
from pilotage.kubernetes.cluster import Cluster
from pilotage.kubernetes.errors import ApiError, Unreachable, refusal
from pilotage.kubernetes.tls import Certificate, present

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 5.0
"""Also the longest that a write may wait between its fence and its way: less than the time between
the end of a leader and the begin of the next."""
ANSWER_SECONDS = 60.0
"""The API server itself gives up on a request after a minute."""
AGAIN = 5
"""How often a request that the server sheds (429, 503 with Retry-After) is sent again."""
STALE = 3
LONGEST_PAUSE = 10.0
KEPT_SECONDS = 75.0
"""An idle connection is kept this long: less than the 90 s of common load balancers."""
DEAD_SECONDS = 30
"""A peer that acknowledges nothing this long is gone: else a watch on it would wait for hours."""
_DEAD = (
    ("TCP_KEEPIDLE", DEAD_SECONDS // 2),
    ("TCP_KEEPINTVL", DEAD_SECONDS // 6),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", DEAD_SECONDS * 1000),
)
TURNS = 20

Told = Callable[[str, str], None]
"""Hears the method and the code of each answer; "<error>" where there was none."""


class Transport:
    """Made anywhere, opened at the first request, in the event loop that asks; `close` it there."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.told: Told = _nobody
        self.fence: Callable[[str], None] | None = None
        """Asked with the method before each request; it raises to hold it back."""
        self.shut: Callable[[], bool] | None = None
        """Asked each time that bytes leave, at the last moment: true, and the connection ends. Set
        it only where asyncio's own event loop runs: uvloop writes without our sockets."""
        self._session: aiohttp.ClientSession | None = None
        self._retired: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._shown: Certificate | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    async def close(self) -> None:
        """End every connection, also those on which a server keeps us waiting: nothing of ours is
        on its way after this. The next request opens anew."""
        if self._session is None:
            return
        await self._session.close()
        self._session = None
        await self._end_retired()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for _ in range(TURNS):  # the event loop hears of it and frees them
            if all(each.fileno() < 0 for each in self._sockets):
                break
            await asyncio.sleep(0)

    async def _end_retired(self) -> None:
        if self._retired is not None:
            await self._retired.close()
            self._retired = None

    async def _renew(self, certificate: Certificate | None) -> None:
        """From now on, connections show another certificate. What is under way ends by itself."""
        await self._end_retired()
        self._retired, self._session = self._session, None
        if certificate is not None and self._tls is not None:
            present(self._tls, certificate)
        self._shown = certificate

    async def ask(
        self,
        method: str,
        path: str,
        *,
        seconds: float = ANSWER_SECONDS,
        most: int | None = None,
        **more: Any,
    ) -> bytes:
        """The whole answer, within `seconds`, however often it is asked. ApiError else; TooLarge
        where it has more than `most` bytes."""
        try:
            async with asyncio.timeout(seconds):
                async with self.open(method, path, **more) as answer:
                    return await (answer.read() if most is None else _bounded(answer, most))
        except TimeoutError:
            what = f"{method} {path}: {self.cluster.server} did not answer within {seconds:g} s"
            raise Unreachable(what, "try again later", status=503, reason="Timeout") from None

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is no refusal, to be read as it comes. `silence`: seconds without a byte
        after which it is Unreachable. What breaks off while it is read is Unreachable too."""
        import aiohttp

        sent: dict[str, Any] = {
            "params": query,
            "data": data,
            "headers": {"Accept": "application/json", **(headers or {})},
            "timeout": aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=silence),
        }
        try:
            answer = await self._answered(method, path, sent)
            try:
                yield answer
            finally:
                _left(answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(method, path, error) from error

    async def _answered(self, method: str, path: str, sent: dict[str, Any]) -> Any:
        """The answer of the last of a few tries: see `AGAIN`, a credential that is renewed after
        a 401, and a GET that met kept connections which had just ended."""
        import aiohttp

        renewed, cut = False, 0
        for tried in range(AGAIN + STALE + 2):
            try:
                answer = await self._once(method, path, sent)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as broken:
                refused = isinstance(broken, aiohttp.ClientConnectorError)
                if refused or cut >= STALE or method != "GET":
                    raise
                cut += 1
                continue
            if answer.status < 300:
                return answer
            error = refusal(
                answer.status, await answer.read(), self._asked(method, path), _after(answer)
            )
            if error.status == 401 and not renewed and self.cluster.credential.refused():
                renewed = True
                continue
            if not _shed(error) or tried - cut >= AGAIN:
                raise error
            await asyncio.sleep(min(error.retry_after or 1.0, LONGEST_PAUSE))
        raise error

    async def _once(self, method: str, path: str, sent: dict[str, Any]) -> Any:
        from yarl import URL

        credential, given = self.cluster.credential, dict(sent)
        authorization = await credential.header()
        if authorization is not None:
            given["headers"] = {**sent["headers"], "Authorization": authorization}
        if credential.certificate is not self._shown and self._tls is not None:
            await self._renew(credential.certificate)
        if self.fence is not None:
            self.fence(method)
        try:
            answer = await self._opened().request(
                method,
                URL(self.cluster.server + path, encoded=True),
                allow_redirects=False,
                proxy=self.cluster.proxy,
                server_hostname=self.cluster.trust.server_name,
                **given,
            )
        except BaseException:
            self.told(method, "<error>")
            raise
        self.told(method, str(answer.status))
        return answer

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = self._open()
        return self._session

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._tls is None:
            self._shown = self.cluster.credential.certificate
            self._tls = self.cluster.trust.context(self._shown)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._tls, limit=0, keepalive_timeout=KEPT_SECONDS, socket_factory=self.socket
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"pilotage/{__version__}"},
            trust_env=False,
            auto_decompress=True,
        )
        session._retry_connection = False  # it would send a DELETE that broke off once more
        return session

    def socket(self, info: Any) -> socket.socket:
        """A socket that finds out when its peer is gone, and that nothing leaves by once we are
        shut: as aiohttp makes them, also for what this process writes elsewhere."""
        if self.shut is not None and not isinstance(
            asyncio.get_running_loop(), asyncio.SelectorEventLoop
        ):
            raise RuntimeError("this event loop would write behind the back of Transport.shut")
        family, kind, protocol, *_ = info
        made = _Guarded(family, kind, protocol)
        made.transport = self
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _DEAD:
            if hasattr(socket, name):
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._sockets.add(made)
        return made

    def _asked(self, method: str, path: str) -> str:
        return f"{self.cluster.name}: {method} {path}"

    def _unreachable(self, method: str, path: str, error: Exception) -> ApiError:
        why = str(error) or type(error).__name__
        what = f"{self._asked(method, path)}: {self.cluster.server} cannot be reached: {why}"
        hint = "is it up, and is this its address and its certificate authority?"
        return Unreachable(what, hint, status=503, reason="Unreachable")


class _Guarded(socket.socket):
    """Between the decision to write and the system call lie turns of the event loop, in which a
    process may be frozen for as long as another one takes over: this asks when it is too late for
    anything to come between."""

    transport: Transport | None = None

    def send(self, *given: Any) -> int:
        self._ask()
        return super().send(*given)

    def sendmsg(self, *given: Any) -> int:
        self._ask()
        return super().sendmsg(*given)

    def _ask(self) -> None:
        owner = self.transport
        if owner is not None and owner.shut is not None and owner.shut():
            raise ConnectionAbortedError("this process may not write any more")


def _nobody(method: str, code: str) -> None:
    pass


def _after(answer: aiohttp.ClientResponse) -> str | None:
    return answer.headers.get("Retry-After")


def _left(answer: aiohttp.ClientResponse) -> None:
    """Free its connection: for others, if it was read to its end; else it ends here and now, and
    waits for no farewell of a server that may be gone."""
    if not answer.content.at_eof() and answer.connection is not None:
        transport = answer.connection.transport
        if transport is not None:
            transport.abort()
    answer.close()


async def _bounded(answer: aiohttp.ClientResponse, most: int) -> bytes:
    found = bytearray()
    async for piece in answer.content.iter_any():
        found += piece
        if len(found) > most:
            raise TooLarge(f"the answer has more than {most >> 20} MiB", "ask for less of it")
    return bytes(found)


def _shed(error: ApiError) -> bool:
    """Refused before anything was done, with the request to come again."""
    return error.status in (429, 503) and error.retry_after is not None
