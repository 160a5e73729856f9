"""A controller: a queue of keys and workers that make true what the objects of these keys say."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from pilotage.domain.errors import PilotageError
from pilotage.kubernetes.errors import ApiError, Conflict
from pilotage.kubernetes.kind import Kind, Object
from pilotage.operator.runtime.backoff import PerItem
from pilotage.operator.runtime.informer import Change, Informer
from pilotage.operator.runtime.metrics import Metrics, QueueMetrics
from pilotage.operator.runtime.queue import Queue

RESYNC_SECONDS = 36_000.0
"""Every object is looked at again this often, whatever the watches say: controller-runtime's."""
RECONCILE_SECONDS = 120.0
STUCK_SECONDS = 60.0
"""A worker that is this long over its timeout ignores its cancellation: the process is ill."""
_log = logging.getLogger(__name__)

Reconcile = Callable[[str], Awaitable[float | None]]
"""Make true what the object of this key says; it may be gone. Gives the seconds after which it
comes again, or None. It must be idempotent: it also comes after errors, restarts and resyncs."""
Mapper = Callable[[Object], Iterable[str]]
"""The keys to reconcile when this object of another kind has changed."""
When = Callable[[Change], bool]
"""Is a change of the primary object worth a reconciliation?"""


class Terminal(PilotageError):
    """Trying again makes no sense until the object changes."""


class TimedOut(PilotageError):
    """A reconciliation that took too long."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`timeout` is seconds for one reconciliation, `first` and `longest` those of the backoff."""

    workers: int = 1
    timeout: float = RECONCILE_SECONDS
    resync: float = RESYNC_SECONDS
    first: float = 0.005
    longest: float = 1_000.0


def changed(change: Change) -> bool:
    """`When`: what people write has changed; a status alone is no reason."""
    if change.old is None or change.new is None:
        return True
    old, new = change.old["metadata"], change.new["metadata"]
    parts = ("uid", "generation", "deletionTimestamp", "finalizers", "labels", "annotations")
    return any(old.get(part) != new.get(part) for part in parts)


def always(change: Change) -> bool:
    """`When`: every change."""
    return True


class Controller:
    """Made and started by `Host.controller` and `Host.run`."""

    def __init__(
        self,
        name: str,
        primary: Informer,
        reconcile: Reconcile,
        settings: Settings,
        metrics: Metrics,
        when: When = always,
    ) -> None:
        self.name, self.primary, self.settings = name, primary, settings
        backoff = PerItem(settings.first, settings.longest)
        self.queue = Queue(QueueMetrics(metrics, name), backoff)
        self.informers = [primary]
        self._reconcile, self._metrics, self._when = reconcile, metrics, when
        metrics.controller(name, settings.workers, self.queue)
        self._active = metrics.active.labels(name)
        self._seconds = metrics.seconds.labels(name)
        primary.on_change(self._hear)

    def owns(self, informer: Informer, kind: Kind | None = None) -> None:
        """Objects that ours own: a change of one brings its owner. `kind` is the owner's."""
        kind = kind or self.primary.kind
        self.watches(informer, lambda object: owner_keys(object, kind))

    def watches(self, informer: Informer, mapper: Mapper, when: When = always) -> None:
        """Objects of another kind: `mapper` says whose business a change of one is, `when` which
        changes are anybody's."""

        def hear(change: Change) -> None:
            if not when(change):
                return
            seen = [one for one in (change.old, change.new) if one is not None]
            for key in {key: None for one in seen for key in mapper(one)}:
                self.queue.add(key, low=change.initial)

        self.informers.append(informer)
        informer.on_change(hear)

    def add(self, key: str, *, low: bool = False) -> None:
        """Reconcile this one: something outside of the cluster has changed."""
        self.queue.add(key, low=low)

    def add_all(self) -> None:
        """Reconcile all of them, when nothing urgent waits."""
        for key in self.primary.store:
            self.queue.add(key, low=True)

    def stuck(self) -> str:
        """Which worker does not come back; "" if all do."""
        longest = max(self.queue.unfinished(), default=0.0)
        if longest <= self.settings.timeout + STUCK_SECONDS:
            return ""
        return f"controller {self.name}: a reconciliation has been running for {longest:.0f} s"

    async def run(self) -> None:
        """Work until `stop`; then each worker ends what it has. Cancelled: at once."""
        async with asyncio.TaskGroup() as group:
            resync = group.create_task(self._resync(), name=f"resync {self.name}")
            workers = [
                group.create_task(self._work(), name=f"worker {self.name}")
                for _ in range(self.settings.workers)
            ]
            await asyncio.gather(*workers)
            resync.cancel()

    def stop(self) -> None:
        """Give out no more keys."""
        self.queue.close()

    def _hear(self, change: Change) -> None:
        if self._when(change):
            self.queue.add(change.key, low=change.initial)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self.settings.resync * random.uniform(0.9, 1.1))
            self.add_all()

    async def _work(self) -> None:
        while (key := await self.queue.get()) is not None:
            self._active.inc()
            try:
                await self._one(key)
            finally:
                self.queue.done(key)
                self._active.dec()

    async def _one(self, key: str) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self.settings.timeout) as limit:
                again = await self._reconcile(key)
        except asyncio.CancelledError as error:
            us = asyncio.current_task()
            if us is None or us.cancelling():
                raise
            self._failed(key, error)  # it waited for a task that somebody else cancelled
        except TimeoutError as error:
            self._failed(key, self._over(error) if limit.expired() else error)
        except Exception as error:
            self._failed(key, error)
        else:
            self._well(key, again)
        self._seconds.observe(time.perf_counter() - began)

    def _over(self, error: TimeoutError) -> TimedOut:
        self._metrics.timeouts.labels(self.name).inc()
        return TimedOut(f"the reconciliation took longer than {self.settings.timeout:g} s")

    def _well(self, key: str, again: float | None) -> None:
        self.queue.forget(key)
        if again is not None:
            self.queue.add_after(key, again, low=True)
        result = "success" if again is None else "requeue_after"
        self._metrics.reconciled.labels(self.name, result).inc()

    def _failed(self, key: str, error: BaseException) -> None:
        metrics, name = self._metrics, self.name
        metrics.reconciled.labels(name, "error").inc()
        metrics.errors.labels(name).inc()
        if isinstance(error, Terminal):
            metrics.terminal.labels(name).inc()
            self.queue.forget(key)
            return _log.error("%s %s: %s: not tried again until it changes", name, key, error)
        after = error.retry_after or 0.0 if isinstance(error, ApiError) else 0.0
        seconds = self.queue.retry(key, after)
        said = "%s %s: %s: again in %.3g s"
        if isinstance(error, Conflict):  # somebody else was faster: that is how it is meant to be
            return _log.info(said, name, key, error, seconds)
        if isinstance(error, PilotageError):
            return _log.warning(said, name, key, error, seconds)
        metrics.panics.labels(name).inc()
        return _log.error(said, name, key, repr(error), seconds, exc_info=error)


def owner_keys(object: Object, kind: Kind) -> list[str]:
    """The keys of its owners of one kind, whatever their version: owners live where it lives."""
    meta = object["metadata"]
    namespace = meta.get("namespace") if kind.namespaced else None
    return [
        f"{namespace}/{one['name']}" if namespace else str(one["name"])
        for one in meta.get("ownerReferences") or ()
        if one["kind"] == kind.kind and _group(one["apiVersion"]) == kind.group
    ]


def _group(api_version: str) -> str:
    group, slash, _ = api_version.rpartition("/")
    return group if slash else ""
