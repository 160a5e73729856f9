"""What Prometheus reads, under the names of controller-runtime, so that its dashboards fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import (
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from pilotage.kubernetes.client import Client
    from pilotage.operator.runtime.queue import Queue

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8),
    *(0.9, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25),
    *(30, 40, 50, 60),
)
OUTCOMES = ("success", "requeue_after", "error")
QUEUE_BUCKETS = tuple(10.0**power for power in range(-8, 4))


class Metrics:
    """All of one process. `registry` takes more of the operator's own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._controllers()
        self._queues()
        self.master = self._gauge("leader_election_master_status", "1: this process leads", "name")
        self.requests = self._counter(
            "rest_client_requests", "Requests by answer", "code", "method", "host"
        )

    def _controllers(self) -> None:
        run, by = "controller_runtime_", "controller"
        failed = run + "reconcile_"
        self.reconciled = self._counter(run + "reconcile", "By result", by, "result")
        self.errors = self._counter(failed + "errors", "That failed", by)
        self.terminal = self._counter(
            run + "terminal_reconcile_errors", "That failed, and are not tried again", by
        )
        self.panics = self._counter(failed + "panics", "That met an unforeseen exception", by)
        self.timeouts = self._counter(failed + "timeouts", "That took too long", by)
        self.seconds = self._histogram(
            failed + "time_seconds", "How long they took", RECONCILE_BUCKETS, by
        )
        self.most = self._gauge(run + "max_concurrent_reconciles", "Workers", by)
        self.active = self._gauge(run + "active_workers", "Workers at work", by)

    def _queues(self) -> None:
        queue, by = "workqueue_", ("name", "controller")
        self.depth = self._gauge(queue + "depth", "Keys that are ready", *by, "priority")
        self.adds = self._counter(queue + "adds", "Keys that came in", *by)
        self.retries = self._counter(queue + "retries", "Keys that come again", *by)
        self.waits = self._histogram(
            queue + "queue_duration_seconds", "How long keys wait", QUEUE_BUCKETS, *by
        )
        self.works = self._histogram(
            queue + "work_duration_seconds", "How long keys take", QUEUE_BUCKETS, *by
        )
        self.unfinished = self._gauge(queue + "unfinished_work_seconds", "All at work", *by)
        self.longest = self._gauge(
            queue + "longest_running_processor_seconds", "The longest at work", *by
        )

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(name, says, labels, registry=self.registry)

    def _gauge(self, name: str, says: str, *labels: str) -> Gauge:
        return Gauge(name, says, labels, registry=self.registry)

    def _histogram(
        self, name: str, says: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, says, labels, buckets=buckets, registry=self.registry)

    def text(self) -> bytes:
        """For a scrape."""
        shown = CollectorRegistry()
        shown.register(_Plain(self.registry))
        shown.register(PROCESS_COLLECTOR)
        return generate_latest(shown)

    def follow(self, client: Client) -> None:
        """Count the requests of a client."""
        host = client.cluster.server.partition("://")[2].partition("/")[0]

        def told(method: str, code: str) -> None:
            self.requests.labels(code, method, host).inc()

        client.transport.told = told

    def controller(self, name: str, workers: int, queue: Queue) -> None:
        """Show one more, with its counts at zero: an alert on their growth needs the beginning."""
        for counter in (self.errors, self.terminal, self.panics, self.timeouts):
            counter.labels(name)
        for result in OUTCOMES:
            self.reconciled.labels(name, result)
        self.most.labels(name).set(workers)
        self.active.labels(name).set(0)
        self.depth.labels(name, name, "0").set_function(lambda: queue.depth(low=False))
        self.depth.labels(name, name, "-100").set_function(lambda: queue.depth(low=True))
        self.unfinished.labels(name, name).set_function(lambda: sum(queue.unfinished()))
        self.longest.labels(name, name).set_function(lambda: max(queue.unfinished(), default=0))


class QueueMetrics:
    """The Observer of one controller's queue."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._adds = metrics.adds.labels(name, name)
        self._retries = metrics.retries.labels(name, name)
        self._waits = metrics.waits.labels(name, name)
        self._works = metrics.works.labels(name, name)

    def added(self, retry: bool) -> None:
        """A key came in."""
        self._adds.inc()
        if retry:
            self._retries.inc()

    def waited(self, seconds: float) -> None:
        """A worker took one."""
        self._waits.observe(seconds)

    def worked(self, seconds: float) -> None:
        """A worker is done with one."""
        self._works.observe(seconds)


class _Plain(Collector):
    """Without the `_created` gauges, which controller-runtime does not have."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric
