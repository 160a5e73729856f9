"""The process of an operator on a real API server: when it is ready, what it shows, how it ends."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from pathlib import Path

import aiohttp
import pytest
from cluster.access import Access

from kubernetes.hosting import FREE, asked, comes, hosted, running, value
from kubernetes.made import config_map
from kubernetes.wire import Wire
from pilotage.domain.errors import BadInput, Unavailable
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.cluster import Cluster
from pilotage.kubernetes.kind import (
    CONFIG_MAP,
    EVENT,
    LEASE,
    ROLE,
    ROLE_BINDING,
    SECRET,
    Object,
)
from pilotage.operator.runtime import options
from pilotage.operator.runtime.controller import Settings
from pilotage.operator.runtime.events import BURST, Recorder
from pilotage.operator.runtime.lease import Times
from waiting import LONG, until

NAMES = frozenset(
    {
        "controller_runtime_active_workers",
        "controller_runtime_max_concurrent_reconciles",
        "controller_runtime_reconcile_errors_total",
        "controller_runtime_reconcile_panics_total",
        "controller_runtime_reconcile_time_seconds",
        "controller_runtime_reconcile_timeouts_total",
        "controller_runtime_reconcile_total",
        "controller_runtime_terminal_reconcile_errors_total",
        "leader_election_master_status",
        "rest_client_requests_total",
        "workqueue_adds_total",
        "workqueue_depth",
        "workqueue_longest_running_processor_seconds",
        "workqueue_queue_duration_seconds",
        "workqueue_retries_total",
        "workqueue_unfinished_work_seconds",
        "workqueue_work_duration_seconds",
    }
)


async def nothing(key: str) -> None:
    """A reconciliation of what is always well."""


async def test_it_is_ready_once_its_caches_are_full_and_not_before(
    control_plane: Access, client: Client, namespace: str
) -> None:
    """Under the operator's own account, which gets its rights only after a while."""
    host = hosted(kubeconfig.read(control_plane.kubeconfig, "mcp-operator"), namespace)
    host.controller("secret", host.informer(SECRET), nothing)
    async with running(host):
        assert (await asked(host, "/healthz"))[0] == 200
        await until(lambda: host.informer(SECRET).wrong is not None)
        status, why = await asked(host, "/readyz")
        assert status == 500
        assert "[-]caches: caches are not full: secrets" in why
        assert 'cannot list resource "secrets"' in why
        await _allow(client, namespace)

        async def ready() -> bool:
            return (await asked(host, "/readyz"))[0] == 200

        await comes(ready)
        assert "[+]caches ok" in (await asked(host, "/readyz?verbose"))[1]


async def test_it_is_not_ready_while_a_cache_does_not_follow_the_cluster(
    entrance: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotage.operator.runtime.host.STALE_SECONDS", 0.2)
    async with Wire(entrance) as wire:
        host = hosted(wire.cluster, namespace)
        host.controller("settings", host.informer(CONFIG_MAP), nothing)
        async with running(host):

            async def ready() -> bool:
                return (await asked(host, "/readyz"))[0] == 200

            async def stale() -> bool:
                why = (await asked(host, "/readyz"))[1]
                return f"do not follow the cluster: configmaps in {namespace}" in why

            await comes(ready)
            wire.cut()
            await comes(stale)
            wire.mend()
            await comes(ready)


async def _allow(client: Client, namespace: str, *rules: Object) -> None:
    meta = {"name": "operator", "namespace": namespace}
    reads = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}
    await client.create(ROLE, {"metadata": meta, "rules": [reads, *rules]})
    account = {"kind": "ServiceAccount", "name": "mcp-operator", "namespace": "mcp-system"}
    role = {"apiGroup": ROLE.group, "kind": "Role", "name": "operator"}
    await client.create(ROLE_BINDING, {"metadata": meta, "roleRef": role, "subjects": [account]})


async def test_few_rights_are_enough_to_lead_and_to_tell(
    control_plane: Access, client: Client, namespace: str
) -> None:
    """What a chart has to grant beside the work itself."""
    lease = {"apiGroups": [LEASE.group], "resources": ["leases"]}
    event = {"apiGroups": [EVENT.group], "resources": ["events"]}
    await _allow(
        client,
        namespace,
        {**lease, "resourceNames": ["tests"], "verbs": ["get", "update"]},
        {**lease, "verbs": ["create"]},
        {**event, "verbs": ["create"]},
    )
    await client.create(SECRET, {"metadata": {"name": "a", "namespace": namespace}})
    operator = kubeconfig.read(control_plane.kubeconfig, "mcp-operator")
    host = hosted(operator, namespace, leader_elect=True, lease_namespace=namespace)
    secrets = host.informer(SECRET)
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        found = secrets.store.get(key)
        assert found is not None
        host.events.event(found, "Normal", "Seen", "it is there")
        seen.append(key)

    host.controller("secret", secrets, reconcile)
    async with running(host):
        await until(lambda: bool(seen))
        assert (await client.get(LEASE, "tests", namespace))["spec"]["holderIdentity"]

        async def told() -> bool:
            return bool((await client.list(EVENT, namespace)).items)

        await comes(told)
    assert (await client.get(LEASE, "tests", namespace))["spec"]["holderIdentity"] == ""
    events = (await client.list(EVENT, namespace)).items
    assert [each["note"] for each in events] == ["it is there"]
    assert host.events.dropped == 0


async def test_caches_that_never_fill_end_the_process(
    control_plane: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotage.operator.runtime.host.SYNC_SECONDS", 0.5)
    host = hosted(kubeconfig.read(control_plane.kubeconfig, "mcp-operator"), "kube-system")
    host.controller("secret", host.informer(SECRET), nothing)
    with pytest.raises(Unavailable, match="caches are not full: secrets"):
        await host.run()


async def test_metrics_have_the_names_of_controller_runtime(
    entrance: Cluster, client: Client, namespace: str
) -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)
        if len(seen) == 1:
            raise ValueError(key)

    host = hosted(entrance, namespace, leader_elect=True, lease_namespace=namespace)
    found = host.informer(CONFIG_MAP, fields="metadata.name!=kube-root-ca.crt")
    host.controller("map", found, reconcile, Settings(workers=3, longest=0.01))
    await client.create(CONFIG_MAP, config_map(namespace, "a"))
    async with running(host):
        timeouts = 'controller_runtime_reconcile_timeouts_total{controller="map"}'
        assert await value(host, timeouts) == 0, "there from the beginning"
        await until(lambda: len(seen) == 2)

        async def counted() -> bool:
            name = 'controller_runtime_reconcile_total{controller="map",result='
            _, text = await asked(host, "/metrics")
            return f'{name}"success"}} 1.0' in text

        await comes(counted)
        _, text = await asked(host, "/metrics")
        told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        assert told >= NAMES
        assert not [name for name in told if name.endswith("_created")]
        workers = 'controller_runtime_max_concurrent_reconciles{controller="map"}'
        assert await value(host, workers) == 3
        assert await value(host, 'leader_election_master_status{name="tests"}') == 1
        where = entrance.server.removeprefix("https://")
        listed = f'rest_client_requests_total{{code="200",host="{where}",method="GET"}}'
        assert await value(host, listed) >= 2


async def test_who_only_waits_has_full_caches_but_reconciles_nothing(
    entrance: Cluster, client: Client, namespace: str
) -> None:
    """A standby is ready, and takes over with what it knows already."""
    times = Times(3, 2, 0.2)
    seen: dict[str, list[str]] = {"a": [], "b": []}
    hosts = {}
    for name in seen:

        async def reconcile(key: str, name: str = name) -> None:
            seen[name].append(key)

        host = hosted(
            entrance, namespace, leader_elect=True, lease_namespace=namespace, times=times
        )
        host.controller("map", host.informer(CONFIG_MAP, labels="of=test"), reconcile)
        hosts[name] = host
    await client.create(CONFIG_MAP, config_map(namespace, "one", {"of": "test"}))
    async with running(hosts["b"]), running(hosts["a"]):
        await until(lambda: bool(seen["a"] or seen["b"]))
        leader = "a" if seen["a"] else "b"
        other = "b" if leader == "a" else "a"

        async def ready() -> bool:
            return (await asked(hosts[other], "/readyz"))[0] == 200

        await comes(ready)
        assert seen[other] == []
        hosts[leader].stop()
        await until(lambda: seen[other] == [f"{namespace}/one"])


async def test_an_address_that_is_taken_is_said(entrance: Cluster, namespace: str) -> None:
    async with running(hosted(entrance, namespace)) as first:
        port = first.endpoints.bound[FREE][1]
        second = hosted(entrance, namespace)
        second.options = options.Options(f"127.0.0.1:{port}", "0", namespaces=(namespace,))
        with pytest.raises(BadInput, match=f"127.0.0.1:{port} cannot be listened on"):
            await second.run()


async def test_events_tell_of_transitions_once(
    entrance: Cluster, client: Client, control_plane: Access, namespace: str
) -> None:
    made = await client.create(CONFIG_MAP, config_map(namespace, "a"))
    recorder = Recorder(client, "tests", "here")
    for _ in range(3):
        recorder.event(made, "Warning", "Away", "the server is away")
    await recorder.flush()
    for _ in range(3):
        recorder.event(made, "Normal", "Back", "it is back")
    recorder.event(made, "Warning", "Away", "the server is away")
    await recorder.flush()
    told = control_plane.kubectl("get", "events", f"--namespace={namespace}", "-o", "name")
    assert len(told.split()) == 3
    described = control_plane.kubectl("describe", "configmap", "a", f"--namespace={namespace}")
    assert "the server is away" in described
    assert "it is back" in described


async def test_an_object_that_flaps_makes_no_storm_of_events(
    client: Client, namespace: str
) -> None:
    made = await client.create(CONFIG_MAP, config_map(namespace, "a"))
    now = [0.0]
    recorder = Recorder(client, "tests", "here", clock=lambda: now[0])
    for number in range(200):
        recorder.event(made, "Normal", "Flap", f"state {number}")
    assert recorder.dropped == 200 - BURST
    now[0] += 600
    for number in range(5):
        recorder.event(made, "Normal", "Flap", f"later {number}")
    assert recorder.dropped == 200 - BURST + 3


async def test_an_event_that_cannot_be_written_holds_up_nothing(
    control_plane: Access, client: Client, namespace: str
) -> None:
    made = await client.create(CONFIG_MAP, config_map(namespace, "a"))
    async with Client(kubeconfig.read(control_plane.kubeconfig, "mcp-operator")) as nobody:
        recorder = Recorder(nobody, "tests", "here")
        recorder.event(made, "Normal", "Made", "it is there")
        async with asyncio.timeout(LONG):
            await recorder.flush()
        assert recorder.dropped == 1


def test_flags_are_those_of_kubebuilder() -> None:
    parser = argparse.ArgumentParser()
    options.add_flags(parser)
    given = "--metrics-bind-address :9090 --health-probe-bind-address :9091 --leader-elect"
    given += " --watch-namespaces b,a, --max-concurrent-reconciles 8"
    found = options.of(parser.parse_args(given.split()))
    assert (found.metrics, found.health, found.leader_elect) == (":9090", ":9091", True)
    assert (found.namespaces, found.workers) == (("a", "b"), 8)
    default = options.of(parser.parse_args([]))
    assert (default.metrics, default.health) == (":8080", ":8081")
    assert default.times == Times(15, 10, 2)


@pytest.mark.parametrize("address", ["8080", "host:port", ":70000"])
async def test_an_address_that_makes_no_sense_is_said(
    entrance: Cluster, namespace: str, address: str
) -> None:
    host = hosted(entrance, namespace)
    host.options = options.Options(address, "0")
    with pytest.raises(BadInput, match="is no address"):
        await host.run()


async def test_an_event_loop_that_is_stuck_answers_no_probe(
    control_plane: Access, client: Client, namespace: str
) -> None:
    argv = (str(Path(__file__).with_name("blocked.py")), str(control_plane.kubeconfig), namespace)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *argv, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        a_second = aiohttp.ClientTimeout(total=1)  # the kubelet's

        async def healthy() -> bool:
            async with (
                aiohttp.ClientSession(timeout=a_second) as session,
                session.get(f"http://127.0.0.1:{port}/healthz") as answer,
            ):
                return answer.status == 200

        assert await healthy()
        await client.create(CONFIG_MAP, config_map(namespace, "a", {"of": "test"}))

        async def ill() -> bool:
            with contextlib.suppress(TimeoutError):
                return not await healthy()
            return True

        await comes(ill)
    finally:
        process.kill()
        await process.wait()
