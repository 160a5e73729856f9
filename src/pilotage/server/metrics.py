"""Counts of calls for Prometheus. Counting is a few additions; the text is made when asked for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from bisect import bisect_left
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
from pilotage.tool.gateway import Gateway
from pilotage.tool.limits import Limits

BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)
UNKNOWN = "(unknown)"


class Metrics(Collector):
    """Hears of each call from the gateway, whichever door it came by."""

    def __init__(self, gateway: Gateway, limits: Limits) -> None:
        self._gateway, self._limits = gateway, limits
        gateway.tell(self)
        self._idle: asyncio.Event | None = None
        self._cells: dict[tuple[str | None, str, str], list[float]] = {}
        self._refused: dict[str, int] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._registry.register(PROCESS_COLLECTOR)

    def ended(self, tool: str | None, via: str, outcome: Outcome, seconds: float) -> None:
        """One call that ended. Names that nobody registered share a label, so labels stay few."""
        key = (tool, via, outcome._value_)  # the hash of an enum is slow
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = [0.0] * (len(BUCKETS) + 2)
        cell[bisect_left(BUCKETS, seconds)] += 1
        cell[-1] += seconds
        if self._idle is not None and not self._gateway.running:
            self._idle.set()

    def turned_away(self, via: str) -> None:
        """Somebody without a good key."""
        self._refused[via] = self._refused.get(via, 0) + 1

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
        for via, count in self._refused.items():
            calls.add_metric((UNKNOWN, via, "unauthenticated"), count)
        yield calls
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
