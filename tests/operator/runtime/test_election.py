"""Two processes and one Lease on a real API server: whatever happens, one writes at a time.

Each leader writes its name into a ConfigMap, over and over. The order of these writes is the API
server's, so that it shows who wrote when, whatever the clocks of the processes say.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from itertools import groupby
from pathlib import Path

import pytest
from cluster.access import Access
from cluster.handle import Cluster as Running

from kubernetes.hosting import comes
from kubernetes.made import config_map
from pilotage.domain.errors import BadInput
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import NotFound
from pilotage.kubernetes.kind import CONFIG_MAP, LEASE, Kind, Object
from pilotage.operator.runtime.lease import Election, Lost, Times, boot_clock
from waiting import LONG, until

FAST = ("3", "2", "0.5")
DEFAULT = ("15", "10", "2")
CONTENDER = Path(__file__).with_name("contender.py")


class Contest:
    """The processes, and who wrote, in the order of the API server."""

    def __init__(self, client: Client, namespace: str, config: Path) -> None:
        self.client, self.namespace = client, namespace
        self._config = config
        self.writers: list[str] = []
        self.leases: list[Object] = []
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(
        self, name: str, says: str, times: tuple[str, ...] = FAST
    ) -> asyncio.subprocess.Process:
        """Start one and wait for what its log says."""
        argv = (str(CONTENDER), str(self._config), self.namespace, name, *times)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *argv, stderr=asyncio.subprocess.PIPE
        )
        self._processes.append(process)
        assert process.stderr is not None
        async with asyncio.timeout(LONG):
            while says not in (line := (await process.stderr.readline()).decode()):
                assert line, f"{name} has ended"
        return process

    async def lead(self, name: str, times: tuple[str, ...] = FAST) -> asyncio.subprocess.Process:
        """Start one and wait until it writes."""
        process = await self.start(name, " leads", times)
        await until(lambda: name in self.writers)
        return process

    async def second(self, name: str, times: tuple[str, ...] = FAST) -> asyncio.subprocess.Process:
        """Start one more, and wait until it has seen that another leads."""
        return await self.start(name, "we wait", times)

    async def watch(self) -> None:
        """Note each write, and each state of the lease."""
        await asyncio.gather(self._note(CONFIG_MAP, "ledger"), self._note(LEASE, "contended"))

    async def _note(self, kind: Kind, name: str) -> None:
        version = (await self.client.list(kind, self.namespace)).resource_version
        events = self.client.watch(
            kind, self.namespace, resource_version=version, fields=f"metadata.name={name}"
        )
        async with contextlib.aclosing(events):
            async for event in events:
                if kind is LEASE and "spec" in event.object:
                    self.leases.append(event.object["spec"])
                elif by := (event.object.get("data") or {}).get("by"):
                    self.writers.append(by)

    def turns(self) -> list[str]:
        """Who wrote, without repetition: "a" then "b" then "a" is three turns."""
        return [name for name, _ in groupby(self.writers)]

    async def end(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@pytest.fixture
async def contest(control_plane: Access, client: Client, namespace: str) -> AsyncIterator[Contest]:
    await client.create(CONFIG_MAP, config_map(namespace, "ledger"))
    contest = Contest(client, namespace, control_plane.kubeconfig)
    watching = asyncio.create_task(contest.watch())
    yield contest
    await contest.end()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_when_the_leader_is_killed_the_other_takes_over(contest: Contest) -> None:
    first = await contest.lead("a")
    await contest.second("b")
    assert contest.turns() == ["a"], "the second one waits"
    first.kill()
    await until(lambda: "b" in contest.writers)
    assert contest.turns() == ["a", "b"]


async def test_a_leader_that_is_stopped_politely_hands_over_at_once(contest: Contest) -> None:
    """With the lease of 15 s that is the default: nobody waits for its end."""
    first = await contest.lead("a", DEFAULT)
    await contest.second("b", DEFAULT)
    first.send_signal(signal.SIGTERM)
    async with asyncio.timeout(LONG):
        assert await first.wait() == 0
    await until(lambda: "b" in contest.writers)
    assert contest.turns() == ["a", "b"]
    given = next(each for each in contest.leases if not each["holderIdentity"])
    taken = contest.leases[contest.leases.index(given) + 1]
    assert given["leaseDurationSeconds"] == 1
    assert taken["leaseTransitions"] == 1
    between = datetime.fromisoformat(taken["acquireTime"]) - datetime.fromisoformat(
        given["renewTime"]
    )
    assert between.total_seconds() < 2, "a promise of the mission's, hence measured"


async def test_a_leader_that_was_frozen_writes_nothing_when_it_wakes(contest: Contest) -> None:
    first = await contest.lead("a")
    await contest.second("b")
    first.send_signal(signal.SIGSTOP)
    await until(lambda: "b" in contest.writers)
    first.send_signal(signal.SIGCONT)
    async with asyncio.timeout(LONG):
        assert await first.wait() == 1, "it ends: somebody starts it anew"
    seen = len(contest.writers)
    await until(lambda: len(contest.writers) > seen + 20)
    assert contest.turns() == ["a", "b"], "not one write of the first after the second's first"


async def test_a_leader_that_reaches_no_server_ends_before_another_may_lead(
    own_control_plane: Running,
) -> None:
    """Frozen, the server neither answers nor breaks off: only our own deadline helps."""
    cluster = kubeconfig.read(own_control_plane.kubeconfig)
    async with Client(cluster) as client:
        election = Election(client, "default", "contended", times=Times(6, 4, 1))
        await election.acquire()
        assert election.leads
        await asyncio.to_thread(own_control_plane.freeze)
        try:
            began = boot_clock()
            with pytest.raises(Lost, match="was not renewed in time"):
                await election.hold()
            assert boot_clock() - began < 6, "before the lease runs out for the others"
            assert not election.leads
            with pytest.raises(Lost):
                election.fence("PATCH")
            election.fence("GET")
        finally:
            await asyncio.to_thread(own_control_plane.thaw)


async def test_of_many_that_begin_at_once_one_leads(client: Client, namespace: str) -> None:
    elections = [
        Election(client, namespace, "contended", times=Times(6, 4, 0.2), me=f"p{number}")
        for number in range(8)
    ]
    tries = [asyncio.create_task(each.acquire()) for each in elections]
    try:
        async with asyncio.timeout(LONG):
            await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(1)  # the others have had their tries
        assert sum(each.leads for each in elections) == 1
        lease = await client.get(LEASE, "contended", namespace)
        (leader,) = [each for each in elections if each.leads]
        assert lease["spec"]["holderIdentity"] == leader.me
    finally:
        for task in tries:
            task.cancel()
        await asyncio.gather(*tries, return_exceptions=True)


async def test_a_lease_that_somebody_else_writes_to_is_not_lost(
    client: Client, namespace: str
) -> None:
    """A 409 says that it has changed, not that another leads."""
    election = Election(client, namespace, "contended", times=Times(6, 4, 0.1))
    await election.acquire()
    holding = asyncio.create_task(election.hold())
    for number in range(5):
        label = {"metadata": {"labels": {"n": str(number)}}}
        await client.patch(LEASE, "contended", label, namespace)
        await asyncio.sleep(0.1)
    assert not holding.done()
    assert election.leads
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)


async def test_who_deletes_the_lease_makes_no_second_leader(client: Client, namespace: str) -> None:
    first = Election(client, namespace, "contended", times=Times(6, 4, 0.5))
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    second = Election(client, namespace, "contended", times=Times(6, 4, 0.05))
    acquiring = asyncio.create_task(second.acquire())
    try:
        await until(lambda: second.holder() == first.me)
        old = await client.delete(LEASE, "contended", namespace)

        async def made_again() -> bool:
            with contextlib.suppress(NotFound):
                found = await client.get(LEASE, "contended", namespace)
                return bool(found["metadata"]["uid"] != old["details"]["uid"])
            return False

        await comes(made_again)
        assert (await client.get(LEASE, "contended", namespace))["spec"][
            "holderIdentity"
        ] == first.me
        assert not acquiring.done()
        assert not holding.done()
    finally:
        for task in (holding, acquiring):
            task.cancel()
        await asyncio.gather(holding, acquiring, return_exceptions=True)


async def test_a_lease_that_may_not_be_written_is_said_once(
    control_plane: Access, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client(kubeconfig.read(control_plane.kubeconfig, "mcp-operator")) as nobody:
        election = Election(nobody, namespace, "contended", times=Times(6, 4, 0.05))
        acquiring = asyncio.create_task(election.acquire())
        await until(lambda: "cannot be reached" in caplog.text)
        seen: list[str] = []
        nobody.transport.told = lambda method, code: seen.append(code)
        await until(lambda: len(seen) > 5)
        acquiring.cancel()
        await asyncio.gather(acquiring, return_exceptions=True)
    assert caplog.text.count("cannot be reached") == 1
    assert 'cannot get resource "leases"' in caplog.text
    assert "bind a Role" in caplog.text


async def test_the_clock_of_the_other_host_does_not_count(client: Client, namespace: str) -> None:
    """A record from the past is a fresh one to who has just seen it; it ends by our own clock."""
    now = [1_000.0]
    spec = {
        "holderIdentity": "far away",
        "leaseDurationSeconds": 15,
        "renewTime": "2001-01-01T00:00:00.000000Z",
    }
    meta = {"name": "contended", "namespace": namespace}
    await client.create(LEASE, {"metadata": meta, "spec": spec})
    election = Election(
        client, namespace, "contended", times=Times(15, 10, 0.05), clock=lambda: now[0]
    )
    acquiring = asyncio.create_task(election.acquire())
    await until(lambda: election.holder() == "far away")
    now[0] += 14.9
    await asyncio.sleep(0.5)
    assert not acquiring.done()
    now[0] += 0.2
    async with asyncio.timeout(LONG):
        await acquiring
    assert election.leads
    lease = await client.get(LEASE, "contended", namespace)
    assert lease["spec"]["holderIdentity"] == election.me


@pytest.mark.parametrize("seconds", [(10, 10, 2), (15, 2, 2), (15, 10, 0), (5, 10, 2)])
def test_times_that_would_let_two_lead_are_refused(seconds: tuple[float, float, float]) -> None:
    with pytest.raises(BadInput, match="duration > renew > retry"):
        Times(*seconds)
