"""One of the calls that run at a server at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slot:
    """Held from `begin` to `end`, but for the time in which the client is asked: a person who
    thinks holds up nobody else's call."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._held = self._ended = False
        self._questions = 0
        self.was_lent = False

    async def begin(self) -> None:
        """Wait for it."""
        await self._slots.acquire()
        self._held = True

    def end(self) -> None:
        """Give it back, for good."""
        self._ended = True
        self._give_back()

    def _give_back(self) -> None:
        if self._held:
            self._held = False
            self._slots.release()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """While this is open, another call may have it; then it is waited for."""
        self._questions += 1
        self.was_lent = True
        self._give_back()
        try:
            yield
        except asyncio.CancelledError:
            self._questions -= 1
            raise
        except Exception:
            await self._back()
            raise
        await self._back()

    async def _back(self) -> None:
        self._questions -= 1
        if not self._questions and not self._ended:
            await self.begin()
            if self._ended:
                self._give_back()
