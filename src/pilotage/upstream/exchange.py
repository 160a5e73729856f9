"""Streamable HTTP, the client's half: one POST, answered by JSON or by a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yarl import URL

from pilotage.domain.errors import Busy, PilotageError, Unavailable
from pilotage.upstream import wire
from pilotage.upstream.session import Outgoing

if TYPE_CHECKING:
    import aiohttp

STREAM_FACTOR = 4
"""A stream of events may hold so many times the bytes that one result may."""
EVENT_LIMIT = 1 << 20
_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
}
Taken = Callable[[wire.Message], Awaitable[None] | None]
"""Takes what comes on a stream before the answer does."""


class Refused(PilotageError):
    """HTTP itself said no, without a word of JSON-RPC. `code` is its status."""

    exit = 3

    def __init__(self, who: str, code: int) -> None:
        hint = "look at the secret in its headers" if code in (401, 403) else "is that its MCP URL?"
        super().__init__(f"{who} answered HTTP {code}", hint)
        self.code = code
        self.status = 503 if code in (401, 403) else 502


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event. `retry` is in seconds."""

    data: bytes
    id: str | None = None
    retry: float | None = None


@dataclass(slots=True)
class Broken(Exception):
    """A stream ended before its answer came. With `last` it may be resumed."""

    last: str | None
    retry: float | None


class Http:
    """One server's URL. `headers` go with each request, `limit` is the bytes of one result."""

    def __init__(
        self, who: str, url: str, outgoing: Outgoing, headers: Mapping[str, str], limit: int
    ) -> None:
        self.who = who
        self._url = URL(url, encoded=True)
        self._outgoing, self._headers, self._limit = outgoing, {**_HEADERS, **headers}, limit

    async def post(
        self,
        body: bytes,
        headers: Mapping[str, str],
        taken: Taken | None = None,
        id: int | None = None,
    ) -> tuple[wire.Message | None, Mapping[str, str]]:
        """The answer to the request `id`, and the headers of HTTP; None: it was taken (202). Raises
        Lost, Refused, TooMuch, Busy, and Broken where a stream ended without an answer."""
        given = {**self._headers, **headers}
        try:
            async with self._outgoing.request(
                "POST", self._url, headers=given, data=body
            ) as answer:
                if answer.status == 202:
                    return None, answer.headers
                if answer.status == 200 and answer.content_type == "text/event-stream":
                    return await self._answer(answer, taken, id), answer.headers
                found = self._judged(answer, await self._whole(answer))
                if not _answers(found, id):
                    raise wire.Lost(f"{self.who} answers another request than was sent")
                return found, answer.headers
        except wire.Lost:
            raise
        except Unavailable as error:
            raise wire.Lost(f"{self.who}: {error.what}", error.hint) from None

    async def resume(
        self, headers: Mapping[str, str], taken: Taken | None, id: int
    ) -> wire.Message:
        """The rest of a stream that was broken off; `headers` has Last-Event-ID."""
        async with self._open("GET", headers, None) as answer:
            if answer.content_type != "text/event-stream" or answer.status != 200:
                raise Refused(self.who, answer.status)
            return await self._answer(answer, taken, id)

    async def listen(self, method: str, headers: Mapping[str, str], body: bytes | None) -> Stream:
        """Messages of a stream that has no end. Raises Refused where there is none."""
        stream = Stream(self, method, headers, body)
        await stream.start()
        return stream

    async def delete(self, headers: Mapping[str, str]) -> None:
        """End a session; whether the server likes that is not asked."""
        async with self._open("DELETE", headers, None):
            pass

    @asynccontextmanager
    async def _open(
        self, method: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        given = {**self._headers, **headers}
        try:
            async with self._outgoing.request(
                method, self._url, headers=given, data=body
            ) as answer:
                yield answer
        except wire.Lost:
            raise
        except Unavailable as error:
            raise wire.Lost(f"{self.who}: {error.what}", error.hint) from None

    async def _whole(self, answer: aiohttp.ClientResponse) -> bytes | bytearray:
        if (answer.content_length or 0) > self._limit:
            raise self._too_much(self._limit)
        whole = bytearray()
        while chunk := await answer.content.readany():
            whole += chunk
            if len(whole) > self._limit:
                raise self._too_much(self._limit)
        return whole

    def _judged(self, answer: aiohttp.ClientResponse, raw: bytes | bytearray) -> wire.Message:
        """JSON-RPC counts, whatever the status is; without it, the status does."""
        status = answer.status
        if status == 200:
            return wire.message(self.who, raw)
        if answer.content_type == "application/json":
            try:
                found = wire.message(self.who, raw)
            except wire.Lost:
                found = wire.Message()
            if found.error and status < 500:
                return found
        if status == 429:
            raise Busy(f"{self.who} has too much to do (HTTP 429)", "try again later")
        if status >= 500:
            raise wire.Lost(f"{self.who} answered HTTP {status}", "look at its log")
        raise Refused(self.who, status)

    async def _answer(
        self, answer: aiohttp.ClientResponse, taken: Taken | None, id: int | None
    ) -> wire.Message:
        """The response to request `id` on a stream; what comes before it is handed over, but for
        responses to others, which are nobody's here."""
        last, retry = None, None
        async for event in events(answer, self._limit, self._limit * STREAM_FACTOR, self._too_much):
            last, retry = event.id or last, event.retry or retry
            if not event.data:
                continue
            found = wire.message(self.who, event.data)
            if found.method is None:
                if _answers(found, id):
                    return found
                continue
            if taken is not None:
                waits = taken(found)
                if waits is not None:
                    await waits
        raise Broken(last, retry)

    def _too_much(self, limit: int) -> wire.TooMuch:
        return wire.TooMuch(
            f"{self.who} sent more than {limit} bytes", "result_limit of the upstream"
        )


class Stream:
    """An open stream of messages; iterate, then close."""

    def __init__(
        self, http: Http, method: str, headers: Mapping[str, str], body: bytes | None
    ) -> None:
        self._http = http
        self._opening = http._open(method, headers, body)

    async def start(self) -> None:
        self._answer = await self._opening.__aenter__()
        if self._answer.content_type != "text/event-stream" or self._answer.status != 200:
            status = self._answer.status
            await self.close()
            raise Refused(self._http.who, status)

    async def __aiter__(self) -> AsyncIterator[wire.Message]:
        """Raises wire.Lost where it is cut, as a server that is killed cuts it."""
        try:
            async for event in events(self._answer, EVENT_LIMIT, None, self._http._too_much):
                if event.data:
                    yield wire.message(self._http.who, event.data)
        except Exception as error:  # `_open` has the words for what goes wrong below
            await self._opening.__aexit__(type(error), error, error.__traceback__)
            raise

    async def close(self) -> None:
        await self._opening.__aexit__(None, None, None)


def _answers(found: wire.Message, id: int | None) -> bool:
    """Is this the answer to the request `id`? An error may name none: it was not understood."""
    return id is None or found.id == id or (found.id is None and bool(found.error))


async def events(
    answer: aiohttp.ClientResponse,
    limit: int,
    total: int | None,
    too_much: Callable[[int], PilotageError],
) -> AsyncIterator[Event]:
    """The events of a stream, each of at most `limit` bytes, `total` together."""
    rest, data, seen = bytearray(), bytearray(), 0
    id: str | None = None
    retry: float | None = None
    while chunk := await answer.content.readany():
        seen += len(chunk)
        rest += chunk
        if total is not None and seen > total:
            raise too_much(total)
        *lines, rest = rest.split(b"\n")
        for line in lines:
            line = line.rstrip(b"\r")
            if not line:
                if data or id or retry:
                    yield Event(bytes(data), id, retry)
                data, id, retry = bytearray(), None, None
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data += b"\n" + value if data else value
            elif name == b"id":
                id = value.decode("latin-1")
            elif name == b"retry" and value.isdigit():
                retry = min(int(value), 60_000) / 1000
        if len(rest) + len(data) > limit:
            raise too_much(limit)
