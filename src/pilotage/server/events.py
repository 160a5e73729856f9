"""Events of a run as server-sent events: `id:` is the number of the event, so that a client that
comes back with its last one gets what follows it, and nothing twice.

A reader that is slow holds up nobody: events are read from the journal as they are taken.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from starlette.responses import Response

from pilotage.domain.errors import Busy, PilotageError
from pilotage.server.http import Receive, Scope, Send, a_bug, encode, refusal

logger = logging.getLogger(__name__)
BEAT = 5.0
"""Seconds of silence after which a comment says that the connection lives."""
PATIENCE = 60.0
"""Seconds after which a client that takes nothing is left."""
STREAMS, STREAMS_EACH = 1_000, 50
_HEAD = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
Shown = Mapping[str, Any]


class Streams:
    """The open streams: so many in all, and so many for one principal."""

    def __init__(self, in_all: int = STREAMS, each: int = STREAMS_EACH) -> None:
        self._in_all, self._each = in_all, each
        self.open: Counter[str] = Counter()

    def take(self, who: str) -> None:
        if self.open[who] >= self._each or self.open.total() >= self._in_all:
            raise Busy("too many event streams are open", f"at most {self._each} at a time")
        self.open[who] += 1

    def release(self, who: str) -> None:
        self.open[who] -= 1
        if not self.open[who]:
            del self.open[who]


class EventStream(Response):
    """One stream of `who`, of events that are shown (see pipeline/told.py). `still` raises where
    who reads may do so no more; it is asked every few seconds."""

    def __init__(
        self,
        events: AsyncGenerator[Shown, None],
        still: Callable[[], None],
        streams: Streams,
        who: str,
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self._events, self._still, self._streams, self._who = events, still, streams, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._streams.take(self._who)
        telling = asyncio.ensure_future(self._tell(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams.release(self._who)
            telling.cancel()
            leaving.cancel()
            await asyncio.wait({telling, leaving})
        if not telling.cancelled() and (broke := telling.exception()) is not None:
            logger.warning("an event stream of %s ended: %r", self._who, broke)

    async def _tell(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
        await _write(send, b"retry: 1000\n\n")
        looked = time.monotonic()
        try:
            async with contextlib.aclosing(_with_beats(self._events)) as events:
                async for shown in events:
                    if time.monotonic() - looked >= BEAT:
                        self._still()
                        looked = time.monotonic()
                    await _write(send, b": \n\n" if shown is None else _frame(shown))
        except TimeoutError:
            raise
        except Exception as error:
            if not isinstance(error, PilotageError):
                logger.exception("an event stream of %s broke", self._who)
            why = error if isinstance(error, PilotageError) else a_bug(error)
            body = encode({**refusal(why), "status": why.status})
            await _write(send, b"event: error\ndata: " + body + b"\n\n")
        await _write(send, b"", more=False)


def _frame(shown: Shown) -> bytes:
    kind = str(shown["kind"]).encode()
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (shown["seq"], kind, encode(shown))


async def _with_beats(events: AsyncGenerator[Shown, None]) -> AsyncGenerator[Shown | None, None]:
    """The events, and None wherever none came for a while."""
    coming: asyncio.Future[Shown] | None = None
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(anext(events))
            await asyncio.wait({coming}, timeout=BEAT)
            if not coming.done():
                yield None
                continue
            done, coming = coming, None
            try:
                shown = done.result()
            except StopAsyncIteration:
                return
            yield shown
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        await events.aclose()


async def _write(send: Send, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(PATIENCE):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
