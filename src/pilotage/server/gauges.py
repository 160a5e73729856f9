"""How the house stands, for Prometheus: read when somebody asks, so that nothing is kept up for it.

Every label has few values: states, kinds, and the names of upstreams, of which there are as many as
an administrator has named.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pilotage import __version__
from pilotage.app import App
from pilotage.audit.log import PENDING_LIMIT
from pilotage.domain.run import RunState
from pilotage.store import runs as run_rows
from pilotage.store.database import QUEUE_LIMIT
from pilotage.tool.registry import State

UPSTREAM_STATES = ("ready", "unavailable", "waiting")
Streams = Callable[[], Mapping[str, int]]
"""The open streams by kind."""


class Gauges(Collector):
    """Reads the parts of `app`, and the streams that its doors hold open."""

    def __init__(self, app: App, streams: Streams) -> None:
        self._app, self._streams = app, streams

    def describe(self) -> list[Metric]:
        """Nothing is known before somebody asks; registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        version = (__version__, platform.python_version())
        build = _gauge("pilotage_build_info", "1, for what runs", ("version", "python"))
        build.add_metric(version, 1)
        yield build
        yield self._queues()
        yield self._limits()
        yield self._tools()
        yield self._runs()
        yield self._upstreams()
        yield _gauge("pilotage_approvals_waiting", "Calls that wait for a person").add(
            self._app.approvals.waiting()
        )
        yield self._open()

    def _queues(self) -> Metric:
        waiting = _gauge("pilotage_queue_waiting", "What waits to be on disk", ("queue",))
        waiting.add_metric(("audit",), self._app.audit.waiting)
        waiting.add_metric(("writes",), self._app.database.waiting)
        return waiting

    def _limits(self) -> Metric:
        limit = _gauge("pilotage_queue_limit", "From there on, calls are refused", ("queue",))
        limit.add_metric(("audit",), PENDING_LIMIT)
        limit.add_metric(("writes",), QUEUE_LIMIT)
        return limit

    def _tools(self) -> Metric:
        tools = _gauge("pilotage_tools", "Tools in the registry", ("state",))
        states = [entry.state for entry in self._app.registry.all.values()]
        for state in State:
            tools.add_metric((state.value,), states.count(state))
        return tools

    def _runs(self) -> Metric:
        """What has ended is history: `pilotage runs list`, and the audit."""
        runs = _gauge("pilotage_runs", "Runs of pipelines that have not ended", ("state",))
        counts = run_rows.standing(self._app.database)
        for state in RunState:
            if state is not RunState.ENDED:
                runs.add_metric((state.value,), counts.get(state.value, 0))
        return runs

    def _upstreams(self) -> Metric:
        """1 for the state that each is in, 0 for the others."""
        upstreams = _gauge(
            "pilotage_upstream", "How an upstream server stands", ("upstream", "state")
        )
        for standing in self._app.others.federation.standings():
            for state in UPSTREAM_STATES:
                upstreams.add_metric((standing.name, state), standing.state == state)
        return upstreams

    def _open(self) -> Metric:
        streams = _gauge("pilotage_streams_open", "Streams that clients hold open", ("kind",))
        for kind, number in sorted(self._streams().items()):
            streams.add_metric((kind,), number)
        return streams


class _Gauge(GaugeMetricFamily):
    def add(self, value: float) -> _Gauge:
        """The one value of a gauge without labels."""
        self.add_metric((), value)
        return self


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> _Gauge:
    return _Gauge(name, text, labels=labels)
