"""A client that waits: has it gone away, what can it be told, and how is its connection kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import TypeVar

from pilotage.domain.call import Progress
from pilotage.server.http import JSON, Receive, Send, encode, send_json

T = TypeVar("T")
WATCH_AFTER = 0.1
BEAT = 4.0
NEWS_LIMIT = 1_000


class Left(Exception):
    """The client went away while its call ran; the call is cancelled."""


class Watch:
    """One request in waiting. `stream`: the client reads server-sent events.

    A client that goes away cancels the task at hand, the one that called the gateway. `committed`:
    the status 200 is sent. `kind` is the type of what is streamed, `beat` what keeps it alive.
    """

    kind, beat = b"text/event-stream", b": \n\n"

    def __init__(self, receive: Receive, send: Send, stream: bool = True) -> None:
        self._receive, self._send, self._stream = receive, send, stream
        if not stream:
            self.kind, self.beat = JSON, b" "
        self._task = asyncio.current_task()
        self._gone = False
        self._tasks: list[asyncio.Task[None]] = []
        self._news: deque[Progress] = deque(maxlen=NEWS_LIMIT)
        self._wake = asyncio.Event()
        self.committed = False
        self.more: tuple[tuple[bytes, bytes], ...] = ()

    def report(self, news: Progress) -> None:
        """Take progress, for who streams; of too much the oldest is dropped."""
        if self._stream:
            self._news.append(news)
            self._wake.set()

    async def over(self, call: Awaitable[T], commit_after: float) -> T:
        """The result of `call`. After `commit_after` seconds the client gets its status, and then
        something every few seconds, so that it does not give up."""
        loop = asyncio.get_running_loop()
        after = 0.0 if self._stream else WATCH_AFTER
        timer = loop.call_later(after, self._start, commit_after - after)
        try:
            return await call
        except asyncio.CancelledError:
            if not self._gone or self._task is None:
                raise
            self._task.uncancel()
            raise Left from None
        finally:
            timer.cancel()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _start(self, patience: float) -> None:
        self._tasks = [
            asyncio.ensure_future(self._see_it_leave()),
            asyncio.ensure_future(self._keep(patience)),
        ]

    async def _see_it_leave(self) -> None:
        """The body was read, so that the next message is the end of the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()

    async def _keep(self, patience: float) -> None:
        while True:
            try:
                async with asyncio.timeout(patience):
                    await self._wake.wait()
            except TimeoutError:
                await self._commit()
                await self._write(self.beat)
            self._wake.clear()
            await self._tell()
            patience = BEAT

    async def _commit(self) -> None:
        if not self.committed:
            self.committed = True
            headers = [(b"content-type", self.kind), (b"cache-control", b"no-store"), *self.more]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _tell(self) -> None:
        while self._news:
            news = self._news.popleft()
            data = encode({"message": news.message, "done": news.done, "total": news.total})
            await self._commit()
            await self._write(b"event: progress\ndata: " + data + b"\n\n")

    async def finish(self, content: bytes) -> None:
        """The result, after what was told before it."""
        if self._stream:
            await self._tell()
            await self._commit()
            content = b"event: result\ndata: " + content + b"\n\n"
        if self.committed:
            await self._write(content, more=False)
        else:
            await send_json(self._send, 200, content, *self.more)
