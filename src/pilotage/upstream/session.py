"""The one way out: a pooled session and one TLS context a process, guarded by the egress guard.

What leaves is what the caller of `request` gave, and nothing of who called us: no cookie is kept,
no proxy of the environment is asked, no redirect leads to another origin.
"""

from __future__ import annotations

import asyncio
import functools
import io
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotage import __version__
from pilotage.domain import trace
from pilotage.domain.errors import Denied, PilotageError, Unavailable
from pilotage.upstream.egress import Egress

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Takes a host name and a port, gives its addresses as text."""
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0
CONNECTIONS_A_HOST = 256
"""No limit on all together: hosts that hang would use it up for the others."""
RESOLVE_SECONDS = 10.0
RESOLVERS = 32
"""Threads of their own: names that take their time hold up nothing but names."""
REDIRECTS = 3
PIECE = 1 << 18
_SAME_METHOD = (307, 308)
_AS_READ = (301, 302, 303)


class Outgoing:
    """Made anywhere, opened at the first request, in the event loop that asks; `close` it there.

    `authority` is the file of a certificate authority to trust beside the usual ones, if it exists.
    """

    def __init__(
        self, egress: Egress, *, authority: Path | None = None, resolve: Resolve | None = None
    ) -> None:
        self.egress = egress
        self._authority, self._resolve = authority, resolve or system
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session. Use `request`: it judges the URL, which the session alone does not."""
        if self._session is None or self._session.closed:
            self._session = self._open()
        return self._session

    async def close(self) -> None:
        """Close every connection; the next request opens anew."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str | URL,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
        **more: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One exchange with a judged address. Denied: the guard says no. Unavailable: it cannot be
        reached, or broke off, also while its body is read. Redirects are followed inside of the
        same origin only; any other is the answer. `more` goes to aiohttp."""
        import aiohttp

        sent: dict[str, object] = {**(headers or {})}
        trace.carry(sent)
        given: dict[str, Any] = {"headers": sent, **more}
        if timeout is not None:
            given["timeout"] = timeout
        checked = self.egress.check_url(url)
        try:
            answer = await self._follow(method, checked, data, given)
            try:
                yield answer
            finally:
                answer.release()
        except aiohttp.ClientError as error:
            raise _unreachable(str(checked.origin()), error) from None
        except TimeoutError:
            where = checked.origin()
            raise Unavailable(f"{where} did not answer in time", "try again later") from None

    async def _follow(
        self, method: str, url: URL, data: bytes | None, given: dict[str, Any]
    ) -> aiohttp.ClientResponse:
        for _ in range(REDIRECTS + 1):
            given["data"] = _body(data)  # anew: what is read in pieces has been read
            answer = await self.session.request(method, url, allow_redirects=False, **given)
            where = answer.headers.get("Location")
            reads = method in ("GET", "HEAD")
            follow = answer.status in _SAME_METHOD or (answer.status in _AS_READ and reads)
            if where is None or not follow:
                return answer
            target = self._target(url, where)
            if target is None:
                return answer
            answer.release()
            url = target
        raise Unavailable(f"{url.origin()} redirects without an end", "look at its log")

    def _target(self, url: URL, where: str) -> URL | None:
        """Where a redirect leads; None where that is another origin."""
        from yarl import URL

        try:
            target = url.join(URL(where, encoded=True)).with_fragment(None)
        except ValueError:
            return None
        try:
            target = self.egress.check_url(target)
        except PilotageError as error:
            raise Denied(f"{url.origin()} redirects: {error.what}", error.hint) from None
        return target if target.origin() == url.origin() else None

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        context = ssl.create_default_context()
        if self._authority is not None and self._authority.exists():
            context.load_verify_locations(self._authority)
        connector = aiohttp.TCPConnector(
            ssl=context,
            resolver=_Judge(self.egress, self._resolve),  # type: ignore[arg-type]
            use_dns_cache=False,
            limit=0,
            limit_per_host=CONNECTIONS_A_HOST,
            keepalive_timeout=IDLE_SECONDS,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"pilotage/{__version__}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            trust_env=False,
        )
        # It would send a DELETE or a PUT that broke off once more, whatever is said of the tool.
        session._retry_connection = False
        return session


class _Judge:
    """aiohttp's resolver: gives only addresses that were judged, and aiohttp connects to those."""

    def __init__(self, egress: Egress, resolve: Resolve) -> None:
        self._egress, self._resolve = egress, resolve

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        """Every address of the name is judged: one that is closed closes them all."""
        addresses = await self._resolve(host, port)
        if not addresses:
            raise OSError(None, f"{host} has no address")
        judged = [self._egress.check_address(host, port, text) for text in addresses]
        return [
            {
                "hostname": host,
                "host": str(address),
                "port": port,
                "family": socket.AF_INET if address.version == 4 else socket.AF_INET6,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address in dict.fromkeys(judged)
        ]

    async def close(self) -> None:
        """It holds nothing."""


@functools.cache
def _resolvers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(RESOLVERS, "pilotage-names")


async def system(host: str, port: int) -> list[str]:
    """A `Resolve`: as this machine does it."""

    def ask() -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [str(address[0]) for *_, address in found]

    async with asyncio.timeout(RESOLVE_SECONDS):
        return await asyncio.get_running_loop().run_in_executor(_resolvers(), ask)


def _body(data: bytes | None) -> bytes | io.BytesIO | None:
    """A large body is sent in pieces: in one, it would hold up the event loop."""
    return data if data is None or len(data) <= PIECE else io.BytesIO(data)


def _unreachable(where: str, error: Exception) -> Unavailable:
    what = str(error) or type(error).__name__
    number = getattr(error, "errno", None) or 0
    if number > 0 and "Connect call failed" in what:  # asyncio's words, with the address once more
        what = os.strerror(number)
    return Unavailable(f"{where} cannot be reached: {what}", "is it running?")
