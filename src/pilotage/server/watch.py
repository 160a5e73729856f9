"""A client that waits: has it gone away, what can it be told, and how is its connection kept."""

from __future__ import annotations

import asyncio
from collections import deque

from pilotage.domain.call import Progress
from pilotage.server.http import JSON, Receive, Send, encode, send_json

BEAT = 4.0
NEWS_LIMIT = 1_000


class Watch:
    """One request in waiting. `stream`: the client reads server-sent events.

    Nothing of this runs until `start`, which costs a quick call nothing. Once started, a client
    that goes away cancels `task`, the one that called the gateway.
    """

    __slots__ = (
        "_leaving",
        "_news",
        "_receive",
        "_wake",
        "committed",
        "gone",
        "loop",
        "send",
        "stream",
        "task",
        "watcher",
    )

    def __init__(self, receive: Receive, send: Send, stream: bool) -> None:
        self._receive, self.send, self.stream = receive, send, stream
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        self.committed = self.gone = False
        self.watcher: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._news: deque[Progress] | None = None
        self._wake: asyncio.Event | None = None

    def report(self, news: Progress) -> None:
        """Take progress; of too much the oldest is dropped."""
        if not self.stream:
            return
        if self._news is None:
            self._news = deque(maxlen=NEWS_LIMIT)
        self._news.append(news)
        self.start(BEAT)
        if self._wake is not None:
            self._wake.set()

    def start(self, commit_after: float) -> None:
        """Watch from now on; commit to 200 after so many seconds."""
        if self.watcher is None:
            self._wake = asyncio.Event()
            self._leaving = self.loop.create_task(self._see_it_leave())
            self.watcher = self.loop.create_task(self._keep(commit_after, self._wake))

    async def _see_it_leave(self) -> None:
        """The body was read, so that the next message is the end of the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self.task is not None:
            self.task.cancel()

    def forgive(self) -> None:
        """The cancelling by a client that left has done its work."""
        if self.task is not None:
            self.task.uncancel()

    async def _keep(self, patience: float, wake: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(patience):
                    await wake.wait()
            except TimeoutError:
                await self._commit()
                beat = b": \n\n" if self.stream else b" "
                await self.send({"type": "http.response.body", "body": beat, "more_body": True})
            wake.clear()
            await self._tell()
            patience = BEAT

    async def _commit(self) -> None:
        if not self.committed:
            self.committed = True
            kind = b"text/event-stream" if self.stream else JSON
            headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
            await self.send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _tell(self) -> None:
        while self._news:
            news = self._news.popleft()
            data = encode({"message": news.message, "done": news.done, "total": news.total})
            await self._commit()
            body = b"event: progress\ndata: " + data + b"\n\n"
            await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def stop(self) -> None:
        """Neither watch nor write any more."""
        for task in (self.watcher, self._leaving):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    async def finish(self, call: str, content: bytes) -> None:
        """The result, after what was told before it."""
        if self.stream:
            await self._tell()
            await self._commit()
            content = b"event: result\ndata: " + content + b"\n\n"
        if self.committed:
            await self.send({"type": "http.response.body", "body": content})
        else:
            await send_json(self.send, 200, content, (b"pilotage-call", call.encode()))
