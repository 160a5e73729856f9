"""Whether a server may be another one than the one whose list of tools was read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Doubt:
    """Raised where a connection was lost, or an answer looks like another server's; settled by a
    reading of its list that began later. Calls wait for that, and so never reach a server that was
    put in the place of the approved one before anybody looked at what it says."""

    def __init__(self) -> None:
        self._raised = self._settled = 0
        self._moved = asyncio.Event()

    @property
    def stands(self) -> bool:
        return self._settled < self._raised

    @property
    def mark(self) -> int:
        """What a reading that begins now settles."""
        return self._raised

    def rise(self) -> None:
        """What was read until now counts no more."""
        self._raised += 1

    def settle(self, mark: int) -> None:
        """A reading that began at `mark` has ended."""
        self._settled = max(self._settled, mark)
        self.wake()

    def wake(self) -> None:
        """Let those who wait look again whether they still want to."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def over(self, given_up: Callable[[], bool]) -> None:
        """Wait until what is doubted now is settled, or `given_up`. A server that announces changes
        all the time holds nobody up for longer than two readings."""
        mark = self._raised
        while self._settled < mark and not given_up():
            await self._moved.wait()
