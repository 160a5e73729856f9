"""Counts of calls for Prometheus. Counting is a few additions; the text is made when asked for."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import PROCESS_COLLECTOR, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pilotage.domain.call import Outcome

BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)
UNKNOWN = "(unknown)"


class Metrics(Collector):
    """Hears of each call from the gateway, whichever door it came by."""

    def __init__(self) -> None:
        self._running = 0
        self._idle: asyncio.Event | None = None
        self._calls: dict[tuple[str, str, str], int] = {}
        self._seconds: dict[str, list[float]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._registry.register(PROCESS_COLLECTOR)

    def began(self) -> None:
        self._running += 1

    def ended(self, tool: str | None, via: str, outcome: Outcome, seconds: float) -> None:
        """One call that ended. Names that nobody registered share a label, so labels stay few."""
        self._running -= 1
        name = UNKNOWN if tool is None else tool
        key = (name, via, outcome)
        self._calls[key] = self._calls.get(key, 0) + 1
        cell = self._seconds.get(name)
        if cell is None:
            cell = self._seconds[name] = [0.0] * (len(BUCKETS) + 2)
        cell[bisect_left(BUCKETS, seconds)] += 1
        cell[-1] += seconds
        if self._idle is not None and not self._running:
            self._idle.set()

    def turned_away(self, via: str) -> None:
        """Somebody without a good key."""
        key = (UNKNOWN, via, "unauthenticated")
        self._calls[key] = self._calls.get(key, 0) + 1

    async def idle(self, seconds: float) -> None:
        """Return when no call runs, or after so many seconds."""
        if self._running:
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
        for key, value in self._calls.items():
            calls.add_metric(key, value)
        yield calls
        seconds = HistogramMetricFamily(
            "pilotage_call_seconds", "Seconds a tool call took", labels=("tool",)
        )
        for tool, cell in self._seconds.items():
            total, buckets = 0.0, []
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), cell[:-1], strict=True):
                total += count
                buckets.append((bound, total))
            seconds.add_metric((tool,), buckets, cell[-1])
        yield seconds
        yield GaugeMetricFamily("pilotage_calls_running", "Tool calls in flight", self._running)
