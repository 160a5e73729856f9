"""What tests of informers share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pilotage.operator.runtime.informer import Change, Informer
from waiting import LONG

Follow = Callable[[Informer], asyncio.Task[None]]


class Heard:
    """All that an informer told, as ("added" | "changed" | "deleted", name)."""

    def __init__(self, informer: Informer) -> None:
        self.changes: list[Change] = []
        informer.on_change(self.changes.append)

    def said(self) -> list[tuple[str, str]]:
        """In order."""
        return [(_what(each), each.key.partition("/")[2]) for each in self.changes]


def _what(change: Change) -> str:
    if change.new is None:
        return "deleted"
    return "added" if change.old is None else "changed"


async def full(informer: Informer) -> None:
    """Wait for its first list."""
    async with asyncio.timeout(LONG):
        await informer.synced.wait()
