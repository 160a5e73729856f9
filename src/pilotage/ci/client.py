"""Call tools of a server over REST: one pooled session, one TLS context, progress as it comes."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, BinaryIO
from urllib.parse import quote

import aiohttp
import msgspec

from pilotage import __version__
from pilotage.config import Settings
from pilotage.domain.call import Kept, Progress, Report, silent
from pilotage.domain.errors import (
    BadInput,
    Busy,
    Conflict,
    Denied,
    NeedsApproval,
    NotFound,
    PilotageError,
    Stale,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

SILENCE_SECONDS = 60.0
"""The server says something every few seconds; this long without a byte, and it is gone."""
FETCH_BYTES = 1 << 18
_KINDS = (BadInput, Unauthenticated, Denied, NotFound, Conflict, Stale, TooLarge, Busy, Unavailable)
_ERRORS: dict[int, type[PilotageError]] = {kind.status: kind for kind in _KINDS}
_ERRORS[422] = BadInput


class Unlinted(BadInput):
    """The server refuses a pipeline; `problems` are all that is wrong, each as an object."""

    def __init__(self, what: str, hint: str, problems: list[dict[str, Any]]) -> None:
        super().__init__(what, hint)
        self.problems = problems


class Client:
    """The server that `mcp.serverUrl` names (the address of its MCP does as well), with
    `mcp.apiKey`. Use it as a context manager. `sockets` makes those that it uses, as aiohttp has
    it."""

    def __init__(
        self, settings: Settings, sockets: Callable[[Any], socket.socket] | None = None
    ) -> None:
        self.url = settings.text("mcp.serverUrl").rstrip("/").removesuffix("/mcp")
        if not self.url.startswith(("http://", "https://")):
            raise BadInput(f"mcp.serverUrl is {self.url!r}", "it starts with https:// or http://")
        self._key = settings.text("mcp.apiKey")
        self._trust = _Trust(settings)
        self._sockets = sockets
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        headers = {"User-Agent": f"pilotage/{__version__}"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(socket_factory=self._sockets),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_SECONDS),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        report: Report = silent,
        idempotency_key: str | None = None,
        approval: str | None = None,
        patience: float = 0,
    ) -> dict[str, Any]:
        """The answer of a tool. What the server decides against before anything runs is raised as
        the same error that it was there; that a person must approve, after `patience` seconds."""
        headers = {"Accept": "text/event-stream, application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        if approval is not None:
            headers["Pilotage-Approval"] = approval
        if patience:
            headers["Prefer"] = f"wait={patience:.0f}"
        path = f"/api/v2/tools/call/{quote(tool, safe='')}"
        async with self._request("POST", path, headers=headers, json=dict(arguments)) as answer:
            kept = _kept(answer.headers)
            if kept is not None:
                report(Progress(kept.said))
            if answer.content_type != "text/event-stream":
                return _ran(await self._object(answer))
            async for event, data in _events(answer.content):
                if event == "result":
                    return _ran(_object(data))
                news = _object(data)
                report(Progress(news["message"], news["done"], news["total"]))
        raise Unavailable(f"{self.url} ended its answer before the result", "look at its log")

    async def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """A JSON object of the management API."""
        async with self._request("GET", path, params=query) as answer:
            return await self._object(answer)

    async def post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer of the management API to a JSON object."""
        async with self._request("POST", path, json=dict(body), headers=headers) as answer:
            return await self._object(answer)

    async def stream(self, path: str, **query: str | int) -> AsyncIterator[tuple[str, bytes]]:
        """Server-sent events, each with its data, until the server ends them. An event "error" is
        raised as what it says."""
        accept = {"Accept": "text/event-stream, application/json"}
        async with self._request("GET", path, params=query, headers=accept) as answer:
            if answer.status == 204:
                return
            if answer.content_type != "text/event-stream":
                raise self._error(answer.status, await self._object(answer))
            async for event, data in _events(answer.content):
                if event == "error":
                    said = _object(data)
                    raise self._error(int(said.get("status", 500)), said)
                yield event, data

    async def fetch(self, path: str, into: BinaryIO) -> None:
        """A file, written as it comes."""
        async with self._request("GET", path) as answer:
            if answer.status >= 400:
                await self._object(answer)
            async for chunk in answer.content.iter_chunked(FETCH_BYTES):
                into.write(chunk)

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> dict[str, Any]:
        """The answer of the management API to a PUT, POST or DELETE; {} where it has no body."""
        more = {} if body is None else {"json": dict(body)}
        async with self._request(method, path, headers=headers, params=query, **more) as answer:
            return {} if answer.status == 204 else await self._object(answer)

    def _request(self, method: str, path: str, **more: Any) -> _Request:
        if self._session is None:
            raise PilotageError("the client is used outside of its context")
        request = self._session.request(method, self.url + path, ssl=self._trust.now(), **more)
        return _Request(self.url, request)

    async def _object(self, answer: aiohttp.ClientResponse) -> dict[str, Any]:
        try:
            body = _object(await answer.read())
        except msgspec.MsgspecError:
            raise Unavailable(
                f"{self.url} answers {answer.status} without JSON", "is that a pilotage server?"
            ) from None
        if answer.status < 400:
            return body
        raise self._error(answer.status, body)

    def _error(self, status: int, body: Mapping[str, Any]) -> PilotageError:
        """The same error that it was there."""
        what, hint = str(body.get("error", f"status {status}")), str(body.get("hint", ""))
        if status == Unauthenticated.status and not self._key:
            hint = "set MCP_API_KEY, or mcp.apiKey in the settings file"
        if status == 422 and isinstance(body.get("problems"), list):
            return Unlinted(what, hint, body["problems"])
        if isinstance(body.get("approval"), dict):
            return NeedsApproval(what, hint, body["approval"])
        return _ERRORS.get(status, PilotageError)(what, hint)


class _Request:
    """A request whose failures to reach the server say which server, and what to look at."""

    def __init__(self, url: str, request: Any) -> None:
        self._url, self._context = url, request

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            answer: aiohttp.ClientResponse = await self._context.__aenter__()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from None
        return answer

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._context.__aexit__(kind, error, trace)
        if isinstance(error, (aiohttp.ClientError, TimeoutError)):
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> Unavailable:
        hint = "is it running? see mcp.serverUrl"
        what = str(error) or type(error).__name__
        if isinstance(error, aiohttp.ClientSSLError):
            hint = "pilotage trusts the local authority in its state folder; see mcp.verifySSL"
            if "WRONG_VERSION_NUMBER" in what:
                what, hint = "it does not speak TLS", "http:// instead of https://?"
        elif isinstance(error, aiohttp.ClientConnectorError):
            number = error.os_error.errno or 0  # its text is asyncio's, with the address once more
            what = os.strerror(number) if number > 0 else error.os_error.strerror or what
        return Unavailable(f"{self._url} cannot be used: {what}", hint)


class _Trust:
    """Whom we believe to be the server: the usual authorities, and our local one where it exists. A
    server may have got a new one meanwhile (whoever runs as long as the operator sees that), so its
    file is looked at before each request."""

    def __init__(self, settings: Settings) -> None:
        self._file, self._checks = settings.authority, settings.flag("mcp.verifySSL")
        self._seen: tuple[int, ...] = ()
        self._context: ssl.SSLContext | None = None

    def now(self) -> ssl.SSLContext | bool:
        if not self._checks:
            return False
        seen = self._stamp()
        if self._context is None or seen != self._seen:
            self._read(there=bool(seen))
            self._seen = seen
        return self._context or True

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self, *, there: bool) -> None:
        """Raises Unavailable where the file cannot be used, as while it is being written."""
        context = ssl.create_default_context()
        try:
            if there:
                context.load_verify_locations(self._file)
        except (OSError, ssl.SSLError) as error:
            what = f"{self._file} holds no authority: {error}"
            raise Unavailable(what, "a certificate as PEM") from None
        self._context = context


def _kept(headers: Mapping[str, str]) -> Kept | None:
    """What says that an answer was there already (see server/http.py)."""
    if headers.get("Idempotent-Replayed") == "true":
        return Kept("replayed", 0.0)
    if "Cache-Status" not in headers:
        return None
    age = headers.get("Age", "")
    return Kept("cached", float(age) if age.isdecimal() else 0.0)


def _ran(body: dict[str, Any]) -> dict[str, Any]:
    """The answer of a call; one that has waited for a person in vain came with status 200."""
    if "outcome" not in body and isinstance(body.get("approval"), dict):
        error, hint = str(body.get("error", "")), str(body.get("hint", ""))
        raise NeedsApproval(error, hint, body["approval"])
    return body


def _object(data: bytes) -> dict[str, Any]:
    return msgspec.json.decode(data, type=dict[str, Any])


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[tuple[str, bytes]]:
    """Server-sent events, each with its data. Lines may be longer than aiohttp's own limit."""
    rest = bytearray()
    async for chunk in content.iter_any():
        rest += chunk
        while (end := rest.find(b"\n\n")) >= 0:
            fields = dict(line.partition(b": ")[::2] for line in bytes(rest[:end]).split(b"\n"))
            del rest[: end + 2]
            if b"event" in fields:
                yield fields[b"event"].decode(), fields.get(b"data", b"")
