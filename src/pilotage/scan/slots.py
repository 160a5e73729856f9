"""How many passes run at once: as many as cores, and never more than the memory can hold."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """First come, first served. `cores` and `memory` (bytes) are the machine's unless given."""

    def __init__(self, cores: int = 0, memory: int = 0) -> None:
        self._cores = cores or len(os.sched_getaffinity(0))
        self._memory = memory or available_memory()
        self._running = 0
        self._held = 0
        self._line: list[object] = []
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def one(self, memory: int) -> AsyncIterator[None]:
        """A slot for a program that may use `memory` bytes; one alone always gets its slot."""
        me = object()
        async with self._changed:
            self._line.append(me)
            try:
                await self._changed.wait_for(lambda: self._line[0] is me and self._room(memory))
            finally:
                self._line.remove(me)
                self._changed.notify_all()
            self._running += 1
            self._held += memory
        try:
            yield
        finally:
            await asyncio.shield(self._leave(memory))

    async def _leave(self, memory: int) -> None:
        async with self._changed:
            self._running -= 1
            self._held -= memory
            self._changed.notify_all()

    def _room(self, memory: int) -> bool:
        if self._running == 0:
            return True
        return self._running < self._cores and self._held + memory <= self._memory


def available_memory() -> int:
    """Bytes that programs may still take, by the kernel's own estimate."""
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
