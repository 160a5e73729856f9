"""What is to be reconciled: each key once, by one worker at a time, urgent before low.

A key that is added while a worker has it comes again when that worker is done. What must wait
waits by the clock that was given, so that a test can hold it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pilotage.operator.runtime.backoff import PerItem

URGENT_IN_A_ROW = 16
"""After so many urgent keys, one low key is taken, so that a hot loop starves nobody."""


class Observer(Protocol):
    """Hears what the queue does."""

    def added(self, retry: bool) -> None:
        """A key came in that was not there; by a retry or not."""
        ...

    def waited(self, seconds: float) -> None:
        """A worker took a key that had been ready so long."""
        ...

    def worked(self, seconds: float) -> None:
        """A worker is done with a key."""
        ...


@dataclass(slots=True)
class _Work:
    """What a worker has. `again`: it was added meanwhile, and whether as low."""

    began: float
    low: bool
    again: bool | None = None


class Queue:
    """Add from anywhere in the event loop; workers `get` and say `done`."""

    def __init__(
        self,
        observer: Observer | None = None,
        backoff: PerItem | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backoff = backoff or PerItem()
        self._observer, self._clock = observer, clock
        self._urgent: OrderedDict[str, float] = OrderedDict()
        self._low: OrderedDict[str, float] = OrderedDict()
        self._working: dict[str, _Work] = {}
        self._due: dict[str, tuple[float, bool]] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._count = itertools.count()
        self._in_a_row = 0
        self._news = asyncio.Event()
        self.closed = False

    def add(self, key: str, *, low: bool = False) -> None:
        """As soon as a worker is free. If it is there already, the more urgent of both counts; a
        delay that it had is over."""
        self._due.pop(key, None)
        self._add(key, low, retry=False)

    def add_after(self, key: str, seconds: float, *, low: bool = False) -> None:
        """Not before `seconds` have gone. Of two delays the shorter counts; a key that is ready
        keeps its place."""
        ready = key in self._urgent or key in self._low
        if seconds > 0 and not ready and self._observer is not None:
            self._observer.added(retry=False)
        self._delay(key, seconds, low)

    def retry(self, key: str, at_least: float = 0.0) -> float:
        """Again after its own backoff, as urgent as it was. The seconds until then."""
        seconds = max(self.backoff.next(key), at_least)
        work = self._working.get(key)
        if self._observer is not None:
            self._observer.added(retry=True)
        self._delay(key, seconds, low=work.low if work else False)
        return seconds

    def forget(self, key: str) -> None:
        """Its failures count no more."""
        self.backoff.forget(key)

    def take(self) -> str | None:
        """A key that is ready now; say `done` with it."""
        self._ripen()
        lows_turn = self._in_a_row >= URGENT_IN_A_ROW and self._low
        source = self._low if lows_turn or not self._urgent else self._urgent
        if not source:
            return None
        key, since = source.popitem(last=False)
        self._in_a_row = 0 if source is self._low else self._in_a_row + 1
        now = self._clock()
        self._working[key] = _Work(now, source is self._low)
        if self._observer is not None:
            self._observer.waited(now - since)
        return key

    async def get(self) -> str | None:
        """A key as soon as there is one; None once the queue is closed."""
        while not self.closed:
            if (key := self.take()) is not None:
                return key
            self._news.clear()
            try:
                async with asyncio.timeout(self.next_due()):
                    await self._news.wait()
            except TimeoutError:
                pass
        return None

    def done(self, key: str) -> None:
        """The worker has ended with it."""
        work = self._working.pop(key)
        if self._observer is not None:
            self._observer.worked(self._clock() - work.began)
        if work.again is not None:
            self._ready(key, work.again)

    def close(self) -> None:
        """No key is given out any more."""
        self.closed = True
        self._news.set()

    def next_due(self) -> float | None:
        """Seconds until the next delay is over; None where nothing waits."""
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key, (None, False))[0] == due:
                return max(0.0, due - self._clock())
            heapq.heappop(self._heap)
        return None

    def depth(self, *, low: bool) -> int:
        """How many keys are ready."""
        return len(self._low if low else self._urgent)

    def unfinished(self) -> list[float]:
        """For each key that a worker has, since how many seconds."""
        now = self._clock()
        return [now - work.began for work in self._working.values()]

    def _add(self, key: str, low: bool, *, retry: bool) -> None:
        work = self._working.get(key)
        if work is not None:
            if work.again is None and self._observer is not None and not retry:
                self._observer.added(retry=False)
            work.again = low if work.again is None else work.again and low
            return
        if key in self._urgent:
            return
        if key in self._low:
            if not low:
                self._urgent[key] = self._low.pop(key)
            return
        if self._observer is not None and not retry:
            self._observer.added(retry=False)
        self._ready(key, low)

    def _ready(self, key: str, low: bool) -> None:
        (self._low if low else self._urgent)[key] = self._clock()
        self._news.set()

    def _delay(self, key: str, seconds: float, low: bool) -> None:
        if seconds <= 0:
            return self._add(key, low, retry=False)
        if key in self._urgent or key in self._low:
            return None
        due = self._clock() + seconds
        if key in self._due:
            known, was_low = self._due[key]
            due, low = min(due, known), low and was_low
        self._due[key] = (due, low)
        heapq.heappush(self._heap, (due, next(self._count), key))
        self._news.set()
        return None

    def _ripen(self) -> None:
        """What has waited long enough is ready."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            found = self._due.get(key)
            if found is not None and found[0] == due:
                del self._due[key]
                self._add(key, found[1], retry=True)
