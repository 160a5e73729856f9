"""Who is told when a journal grows: by this process at once, by another in WATCH_SECONDS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from pilotage.store import runs as rows
from pilotage.store.database import Database

WATCH_SECONDS = 0.02
"""How often the one number that changes with every commit is looked at, while runs are open."""


class Driven(Protocol):
    """What is known of a run that this process drives (see driver.py)."""

    @property
    def at_rest(self) -> bool: ...

    @property
    def run(self) -> Any: ...

    def nudge(self) -> None: ...


class Watch:
    """The bells of those who wait for runs. `live` are the runs that this process drives."""

    def __init__(self, database: Database, live: Mapping[str, tuple[Driven, Any]]) -> None:
        self._database, self._live = database, live
        self._bells: dict[str, dict[asyncio.Event, bool]] = {}
        self._watcher: asyncio.Task[None] | None = None

    def ring(self, run: str) -> None:
        """The journal of this run has grown, or its driver is gone."""
        bells = self._bells.get(run)
        if bells:
            live = self._live.get(run)
            moves = live is not None and not live[0].at_rest
            for bell, each in bells.items():
                if each or not moves:
                    bell.set()

    @contextlib.contextmanager
    def bell(self, run: str, *, each: bool) -> Iterator[asyncio.Event]:
        """Rings when the journal of a run has grown; `each` False: when it may be at rest."""
        bell = asyncio.Event()
        self._bells.setdefault(run, {})[bell] = each
        self.begin()
        try:
            yield bell
        finally:
            del self._bells[run][bell]
            if not self._bells[run]:
                del self._bells[run]

    def begin(self) -> None:
        """Look out from now on, while there is anything to look out for."""
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._look_out(), name="runs of other processes")

    async def close(self) -> None:
        """Look out no more; who waits is woken once more, to find that out."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        for run in self._bells:
            self.ring(run)

    async def _look_out(self) -> None:
        """Notice what other processes write: one cheap look each WATCH_SECONDS, for all runs."""
        version, number = self._database.version(), rows.last(self._database)
        for run in [*self._bells, *self._live]:
            self.ring(run)
        while self._live or self._bells:
            await asyncio.sleep(WATCH_SECONDS)
            now = self._database.version()
            if now == version:
                continue
            version = now
            number, changed = rows.changed(self._database, number)
            for run, seq in changed.items():
                self.ring(run)
                live = self._live.get(run)
                if live is not None and live[0].run.seq < seq:
                    live[0].nudge()
