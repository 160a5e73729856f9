"""A wire to a server that can be cut: bytes pass as they are, so TLS stays between its ends."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from pilotage.kubernetes.cluster import Cluster


class Wire:
    """Listens on loopback and passes on to a cluster. `cluster` is that cluster, seen through."""

    def __init__(self, cluster: Cluster) -> None:
        host, _, port = cluster.server.removeprefix("https://").rpartition(":")
        self._far, self._near = (host, int(port)), cluster
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut = False

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._passed, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.cluster = replace(self._near, server=f"https://127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """All connections end, and no new one comes through."""
        self._cut = True
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        """Let new connections through."""
        self._cut = False

    async def _passed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            if not self._cut:
                far, to_far = await asyncio.open_connection(*self._far)
                self._open.add(to_far)
                await asyncio.gather(_copied(reader, to_far), _copied(far, writer))
        finally:
            writer.transport.abort()
            self._tasks.discard(task)


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
