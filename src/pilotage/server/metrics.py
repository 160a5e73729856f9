"""Counts of calls for Prometheus. Counting is a few additions; the text is made when asked for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import PROCESS_COLLECTOR, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pilotage.domain.call import Outcome
from pilotage.domain.errors import (
    BadInput,
    Busy,
    Conflict,
    Denied,
    NeedsApproval,
    NotFound,
    PilotageError,
    Quarantined,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from pilotage.tool.gateway import Gateway
from pilotage.tool.limits import Limits

BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)
UNKNOWN, OTHER = "(unknown)", "(other)"
NAMES_LIMIT = 2_000
"""Names of tools that are counted apart: they come and go, and each is a label for good."""
REASONS: tuple[tuple[type[PilotageError], str], ...] = (
    (Unauthenticated, "unauthenticated"),
    (Quarantined, "quarantined"),
    (NeedsApproval, "approval"),
    (Denied, "denied"),
    (NotFound, "not_found"),
    (BadInput, "arguments"),
    (Busy, "limited"),
    (Conflict, "conflict"),
    (TooLarge, "too_large"),
    (Unavailable, "unavailable"),
)
"""Why something was refused, of the first class that fits; what fits none is "other"."""


class Metrics(Collector):
    """Hears of each call from the gateway, whichever door it came by."""

    def __init__(self, gateway: Gateway, limits: Limits) -> None:
        self._gateway, self._limits = gateway, limits
        gateway.tell(self)
        self._idle: asyncio.Event | None = None
        self._cells: dict[tuple[str | None, str, str], list[float]] = {}
        self._names: set[str | None] = set()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._kept: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._registry.register(PROCESS_COLLECTOR)

    def ended(self, tool: str | None, via: str, outcome: Outcome, seconds: float) -> None:
        """One call that ended. Names that nobody registered share a label, so labels stay few."""
        key = (tool, via, outcome._value_)  # the hash of an enum is slow
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cell(key)
        cell[bisect_left(BUCKETS, seconds)] += 1
        cell[-1] += seconds
        if self._idle is not None and not self._gateway.running:
            self._idle.set()

    def _cell(self, key: tuple[str | None, str, str]) -> list[float]:
        """A new one, unless there are too many names: these share one."""
        if len(self._names) >= NAMES_LIMIT and key[0] not in self._names:
            key = (OTHER, *key[1:])
        else:
            self._names.add(key[0])
        return self._cells.setdefault(key, [0.0] * (len(BUCKETS) + 2))

    def refused(self, via: str, error: PilotageError) -> None:
        """Something that did not run, at the door `via`."""
        reason = next((name for kind, name in REASONS if isinstance(error, kind)), "other")
        self._refused[via, reason] += 1

    def kept(self, how: str) -> None:
        """A call whose answer was there already."""
        self._kept[how] += 1

    def add(self, more: Collector) -> None:
        """Show these, too."""
        self._registry.register(more)

    async def idle(self, seconds: float) -> None:
        """Return when no call runs, or after so many seconds."""
        if self._gateway.running:
            self._idle = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "pilotage_calls", "Tool calls that ended", labels=("tool", "via", "outcome")
        )
        by_tool: dict[str, list[float]] = {}
        for (tool, via, outcome), cell in list(self._cells.items()):
            name = UNKNOWN if tool is None else tool
            calls.add_metric((name, via, outcome), sum(cell[:-1]))
            total = by_tool.get(name, [0.0] * len(cell))
            by_tool[name] = [a + b for a, b in zip(total, cell, strict=True)]
        yield calls
        refused = CounterMetricFamily(
            "pilotage_refused", "What was asked for and did not run", labels=("via", "reason")
        )
        for (via, reason), count in self._refused.items():
            refused.add_metric((via, reason), count)
        yield refused
        kept = CounterMetricFamily(
            "pilotage_calls_kept", "Calls whose answer was there already", labels=("how",)
        )
        for how, count in self._kept.items():
            kept.add_metric((how,), count)
        yield kept
        yield _histogram(by_tool)
        limited = CounterMetricFamily(
            "pilotage_calls_limited", "Tool calls over a limit", labels=("limit",)
        )
        for limit, number in self._limits.refused.items():
            limited.add_metric((limit,), number)
        yield limited
        yield GaugeMetricFamily(
            "pilotage_calls_running", "Tool calls in flight", self._gateway.running
        )


def _histogram(by_tool: Mapping[str, list[float]]) -> Metric:
    """Each cell holds a count a bucket, then the sum of seconds."""
    seconds = HistogramMetricFamily(
        "pilotage_call_seconds", "Seconds a tool call took", labels=("tool",)
    )
    bounds = (*map(str, BUCKETS), "+Inf")
    for tool, cell in by_tool.items():
        upto = itertools.accumulate(cell[:-1])
        seconds.add_metric((tool,), list(zip(bounds, upto, strict=True)), cell[-1])
    return seconds
