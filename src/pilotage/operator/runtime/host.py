"""The process of an operator: caches, election, controllers, events and probes, joined.

host = Host(kubeconfig.find(), options, component="mcp-operator", lease="mcp-operator.example.com")
tools, pods = host.informer(TOOL), host.informer(POD, labels="managed-by=mcp-operator")
controller = host.controller("tool", tools, reconcile)
controller.owns(pods)
exit = await host.run()
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from pilotage.domain.errors import BadInput, PilotageError, Unavailable
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.cluster import Cluster
from pilotage.kubernetes.kind import Kind
from pilotage.operator.runtime.controller import Controller, Reconcile, Settings, When, always
from pilotage.operator.runtime.endpoints import Endpoints
from pilotage.operator.runtime.events import Recorder
from pilotage.operator.runtime.informer import Informer
from pilotage.operator.runtime.lease import Election, Lost, identity, namespace_of_pod
from pilotage.operator.runtime.metrics import CONTENT_TYPE, Metrics
from pilotage.operator.runtime.options import Options
from pilotage.operator.runtime.store import Index

SYNC_SECONDS = 120.0
"""Caches that take longer to fill end the process: it could do nothing but look alive."""
STALE_SECONDS = 60.0
"""A watch that has been refused for so long is no hiccup: what the cache shows is of the past."""
GRACE_SECONDS = 20.0
"""How long workers may finish what they have, of the 30 s that a pod has to end."""
HANDOVER_SECONDS = 1.0
"""How long where another process waits for our lease, and does again what we leave undone."""
END_SECONDS = 3.0
"""How long what was cancelled may take to end, before we go on without it."""
_log = logging.getLogger(__name__)


class Host:
    """Add informers and controllers, then `run`. Make it in the event loop that runs it."""

    def __init__(self, cluster: Cluster, options: Options, *, component: str, lease: str) -> None:
        self.options = options
        self.client = Client(cluster)
        self.metrics = Metrics()
        self.metrics.follow(self.client)
        self.endpoints = Endpoints(self.metrics.text, CONTENT_TYPE)
        self.endpoints.ready["caches"] = self._unsynced
        self.endpoints.ready["watches"] = self._stale
        self.endpoints.health["workers"] = self._stuck
        me = identity()
        self.events = Recorder(self.client, component, me)
        self._informers: dict[tuple[Kind, str, str], Informer] = {}
        self._controllers: list[Controller] = []
        self._jobs: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._stop = asyncio.Event()
        self.lost: Callable[[Lost], None] = _log_lost
        """Called the moment the lease is lost, before anything else is done about it. A process
        whose one purpose this is sets `end_process`, as `serve` does."""
        self.election: Election | None = None
        self._lease_client: Client | None = None
        self._master = self.metrics.master.labels(lease)
        self._master.set(0)
        if options.leader_elect:
            self._lease_client = Client(cluster)
            self.election = Election(
                self._lease_client, self._lease_namespace(), lease, times=options.times, me=me
            )
            election = self.election
            self.client.transport.fence = election.fence
            self.client.transport.shut = lambda: election.over

    def informer(
        self,
        kind: Kind,
        *,
        labels: str = "",
        fields: str = "",
        indexes: Mapping[str, Index] | None = None,
    ) -> Informer:
        """The cache of a kind in the watched namespaces: one for all who ask for the same."""
        which = (kind, labels, fields)
        if which not in self._informers:
            self._informers[which] = Informer(
                self.client, kind, namespaces=self.options.namespaces, labels=labels, fields=fields
            )
        found = self._informers[which]
        for name, by in (indexes or {}).items():
            found.store.index(name, by)
        return found

    def controller(
        self,
        name: str,
        primary: Informer,
        reconcile: Reconcile,
        settings: Settings | None = None,
        when: When = always,
    ) -> Controller:
        """One more, which works while this process leads."""
        settings = settings or Settings(workers=self.options.workers)
        made = Controller(name, primary, reconcile, settings, self.metrics, when)
        self._controllers.append(made)
        return made

    def job(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """What else runs while this process leads, beside the controllers: a sweep, say. Its end
        is the end of the process."""
        self._jobs.append(run)

    def stop(self) -> None:
        """As SIGTERM does: finish, give up the lease, end."""
        self._stop.set()

    async def run(self) -> None:
        """Until SIGTERM, SIGINT or `stop`; then it has given up its lease. Lost: another leads now.
        Unavailable: caches do not fill. The process must end, and somebody start it anew."""
        loop = asyncio.get_running_loop()
        for which in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(which, self.stop)
        background: list[asyncio.Task[None]] = []
        try:
            await self.endpoints.open(self.options.metrics, self.options.health)
            for informer in self._informers.values():
                background.append(asyncio.create_task(informer.run(), name=f"{informer.kind}"))
            await self._first(self._lead(), *background)
        finally:
            await self._end(background)
            for which in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(which)

    async def _lead(self) -> None:
        """Wait for our turn and for the caches, work, and end in order."""
        if self.election is None:
            await self._synced()
            return await self._work()
        waiting = asyncio.create_task(self.election.acquire(), name="acquire")
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                return None
            waiting.result()
            self._master.set(1)
            holding = asyncio.create_task(self._hold(self.election), name="hold")
            try:
                await self._first(self._synced_work(), holding)
            finally:
                self._master.set(0)
                await _cancelled(holding)
                await self.election.release()
        finally:
            await _cancelled(waiting, stopped)
        return None

    async def _hold(self, election: Election) -> None:
        try:
            await election.hold()
        except Lost as error:
            self.lost(error)
            raise

    async def _synced_work(self) -> None:
        await self._synced()
        await self._work()

    async def _synced(self) -> None:
        """Wait until all caches are full. Unavailable says which are not, and why."""
        waits = [one.synced.wait() for one in self._informers.values()]
        stopped = asyncio.create_task(self._stop.wait())
        full = asyncio.create_task(_all(waits))
        try:
            await asyncio.wait(
                {full, stopped}, timeout=SYNC_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if (late := self._unsynced()) and not stopped.done():
                raise Unavailable(late, "may its account list and watch them?")
        finally:
            await _cancelled(stopped, full)

    async def _work(self) -> None:
        running = [asyncio.create_task(each.run(), name=each.name) for each in self._controllers]
        beside = [asyncio.create_task(job(), name="job") for job in self._jobs]
        beside.append(asyncio.create_task(self.events.run(), name="events"))
        try:
            await self._first(self._stop.wait(), *running, *beside)
            for controller in self._controllers:
                controller.stop()
            grace = GRACE_SECONDS if self.election is None else HANDOVER_SECONDS
            if running:
                await asyncio.wait(running, timeout=grace)
            await _cancelled(*running)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self.events.flush()
        finally:
            await _cancelled(*running, *beside)

    async def _first(self, main: Coroutine[Any, Any, Any], *beside: asyncio.Task[None]) -> None:
        """Run `main`. What runs beside it does not end before it, unless something is wrong."""
        task = asyncio.ensure_future(main)
        try:
            await asyncio.wait({task, *beside}, return_when=asyncio.FIRST_COMPLETED)
            for one in beside:
                if one.done():
                    one.result()
                    if not task.done():
                        raise RuntimeError(f"{one.get_name()} has ended, which it never should")
            await task
        finally:
            await _cancelled(task)

    async def _end(self, background: list[asyncio.Task[None]]) -> None:
        await _cancelled(*background)
        await self.endpoints.close()
        await self.client.close()
        if self._lease_client is not None:
            await self._lease_client.close()

    def _lease_namespace(self) -> str:
        found = self.options.lease_namespace or namespace_of_pod()
        if not found:
            hint = "give --leader-election-namespace outside of a pod"
            raise BadInput("leader election: in which namespace is the Lease?", hint)
        return found

    def _unsynced(self) -> str:
        late = [one for one in self._informers.values() if not one.synced.is_set()]
        said = [f"{one.kind}" + (f" ({one.wrong})" if one.wrong else "") for one in late]
        return f"caches are not full: {'; '.join(said)}" if said else ""

    def _stale(self) -> str:
        said = filter(None, (one.stale(STALE_SECONDS) for one in self._informers.values()))
        found = "; ".join(said)
        return f"caches do not follow the cluster: {found}" if found else ""

    def _stuck(self) -> str:
        return "; ".join(filter(None, (each.stuck() for each in self._controllers)))


async def serve(host: Host) -> int:
    """Run as the process' one purpose; its exit code. With the lease the process ends here and now,
    whatever hangs: what has not stopped by then must not go on beside the one who leads next."""
    host.lost = end_process
    try:
        await host.run()
    except PilotageError as error:
        _log.critical("%s", error)
        return error.exit
    return 0


def _log_lost(error: Lost) -> None:
    _log.critical("%s", error)


def end_process(error: Lost) -> None:
    """For `Host.lost`: nothing of this process goes on beside the one who leads next."""
    _log_lost(error)
    logging.shutdown()
    os._exit(1)


async def _all(waits: Sequence[Awaitable[object]]) -> None:
    await asyncio.gather(*waits)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel them and give them a moment to end. What they raise was told elsewhere."""
    for task in tasks:
        task.cancel()
    if tasks:
        ended, stubborn = await asyncio.wait(tasks, timeout=END_SECONDS)
        for task in ended:
            if not task.cancelled():
                task.exception()
        for task in stubborn:
            _log.error("%s does not end though it was cancelled", task.get_name())
