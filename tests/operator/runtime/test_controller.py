"""Controllers on a real API server: what changes is reconciled, by one worker, until it is well."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable

import pytest

from kubernetes.hosting import asked, comes, hosted, running, value
from kubernetes.made import config_map, widget, widgets
from pilotage.domain.errors import PilotageError
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.cluster import Cluster
from pilotage.kubernetes.errors import Conflict, NotFound
from pilotage.kubernetes.kind import CONFIG_MAP, CRD, SECRET, Kind
from pilotage.operator.runtime.controller import Settings, Terminal, changed
from pilotage.operator.runtime.host import Host
from waiting import LONG, until

WIDGET = Kind("tests.example.com", "v1", "Widget", "widgets")
QUICK = Settings(workers=4, first=0.005, longest=0.1)


@pytest.fixture(autouse=True)
async def _widgets(client: Client) -> None:
    await client.apply(CRD, widgets(), manager="tests", force=True)
    async with asyncio.timeout(LONG):
        while True:
            with contextlib.suppress(NotFound):
                await client.list(WIDGET)
                return
            await asyncio.sleep(0.05)


@pytest.fixture
def host(entrance: Cluster, namespace: str) -> Host:
    return hosted(entrance, namespace)


async def test_what_is_there_and_what_comes_is_reconciled(
    host: Host, client: Client, namespace: str
) -> None:
    seen: Counter[str] = Counter()
    await client.create(WIDGET, widget(namespace, "before"))

    async def reconcile(key: str) -> None:
        seen[key] += 1

    host.controller("widget", host.informer(WIDGET), reconcile, QUICK)
    async with running(host):
        await until(lambda: seen[f"{namespace}/before"] == 1)
        await client.create(WIDGET, widget(namespace, "after"))
        await until(lambda: seen[f"{namespace}/after"] == 1)
        await client.delete(WIDGET, "after", namespace)
        await until(lambda: seen[f"{namespace}/after"] == 2)


async def test_an_owned_object_that_is_deleted_is_made_again(
    host: Host, client: Client, namespace: str
) -> None:
    tools, owned = host.informer(WIDGET), host.informer(CONFIG_MAP, labels="of=widget")

    async def reconcile(key: str) -> None:
        found = tools.store.get(key)
        if found is None:
            return
        meta = found["metadata"]
        wanted = config_map(namespace, meta["name"], {"of": "widget"})
        owner = {"apiVersion": WIDGET.api_version, "kind": "Widget", "controller": True}
        wanted["metadata"]["ownerReferences"] = [
            {**owner, "name": meta["name"], "uid": meta["uid"]}
        ]
        await host.client.apply(CONFIG_MAP, wanted, manager="tests", force=True)

    host.controller("widget", tools, reconcile, QUICK).owns(owned)
    async with running(host):
        await client.create(WIDGET, widget(namespace, "a"))
        await until(lambda: f"{namespace}/a" in owned.store)
        first = owned.store.get(f"{namespace}/a")
        assert first is not None
        await client.delete(CONFIG_MAP, "a", namespace)

        def again() -> bool:
            now = owned.store.get(f"{namespace}/a")
            return now is not None and now["metadata"]["uid"] != first["metadata"]["uid"]

        await until(again)


async def test_a_change_of_another_kind_brings_those_whose_business_it_is(
    host: Host, client: Client, namespace: str
) -> None:
    seen: Counter[str] = Counter()

    async def reconcile(key: str) -> None:
        seen[key.partition("/")[2]] += 1

    controller = host.controller("widget", host.informer(WIDGET), reconcile, QUICK)
    controller.watches(
        host.informer(SECRET), lambda object: [f"{namespace}/{object['metadata']['name']}"]
    )
    await client.create(WIDGET, widget(namespace, "a"))
    async with running(host):
        await until(lambda: seen["a"] == 1)
        secret = {"metadata": {"name": "a", "namespace": namespace}, "stringData": {"x": "1"}}
        await client.create(SECRET, secret)
        await until(lambda: seen["a"] == 2)


async def test_a_status_that_is_applied_again_wakes_nobody(
    host: Host, client: Client, namespace: str
) -> None:
    """Reconciliations end: our own status does not lead to the next one for ever."""
    runs = 0

    async def reconcile(key: str) -> None:
        nonlocal runs
        runs += 1
        name = key.partition("/")[2]
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        meta = {"name": name, "namespace": namespace}
        await host.client.apply(
            WIDGET, {"metadata": meta, "status": status}, manager="tests", subresource="status"
        )

    controller = host.controller("widget", host.informer(WIDGET), reconcile, QUICK)
    await client.create(WIDGET, widget(namespace, "a"))
    async with running(host):
        await until(lambda: runs >= 2)
        await client.create(WIDGET, widget(namespace, "b"))  # a later event: all before is through
        await until(lambda: runs >= 4 and not controller.queue.unfinished())
        assert runs == 4, "for each, its making and its first status"


async def test_a_status_alone_is_no_reason_where_only_the_spec_counts(
    host: Host, client: Client, namespace: str
) -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key.partition("/")[2])

    host.controller("widget", host.informer(WIDGET), reconcile, QUICK, when=changed)
    await client.create(WIDGET, widget(namespace, "a"))
    async with running(host):
        await until(lambda: seen == ["a"])
        status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch(WIDGET, "a", status, namespace, subresource="status")
        await client.patch(WIDGET, "a", {"spec": {"size": 2}}, namespace)
        await client.create(WIDGET, widget(namespace, "b"))
        await until(lambda: seen == ["a", "a", "b"])


async def test_no_key_is_with_two_workers_and_the_last_change_is_seen(
    host: Host, client: Client, namespace: str
) -> None:
    working: Counter[str] = Counter()
    together, sizes = 0, {}
    tools = host.informer(WIDGET)

    async def reconcile(key: str) -> None:
        nonlocal together
        working[key] += 1
        together = max(together, working[key])
        await asyncio.sleep(0.002)
        found = tools.store.get(key)
        sizes[key] = found["spec"]["size"] if found else 0
        working[key] -= 1

    host.controller("widget", tools, reconcile, Settings(workers=8))
    async with running(host):
        for name in "abc":
            await client.create(WIDGET, widget(namespace, name))

        async def storm(name: str) -> None:
            for size in range(2, 40):
                await client.patch(WIDGET, name, {"spec": {"size": size}}, namespace)

        await asyncio.gather(*(storm(name) for name in "abc"))
        await until(lambda: sizes == {f"{namespace}/{name}": 39 for name in "abc"})
    assert together == 1


async def test_conflicts_are_tried_again_until_all_are_through(
    entrance: Cluster, host: Host, client: Client, namespace: str
) -> None:
    """Four workers and one shared object: each reads, adds itself, and writes with its version."""
    await client.create(CONFIG_MAP, config_map(namespace, "shared"))

    async def reconcile(key: str) -> None:
        shared = await host.client.get(CONFIG_MAP, "shared", namespace)
        name = key.partition("/")[2]
        if name in (shared.get("data") or {}):
            return
        shared["data"] = {**(shared.get("data") or {}), name: "here"}
        await host.client.update(CONFIG_MAP, shared)

    host.controller("widget", host.informer(WIDGET), reconcile, QUICK)
    names = [f"w{number}" for number in range(12)]
    for name in names:
        await client.create(WIDGET, widget(namespace, name))
    async with running(host):

        async def all_there() -> bool:
            shared = await client.get(CONFIG_MAP, "shared", namespace)
            return set(shared.get("data") or {}) == set(names)

        await comes(all_there)
        assert await value(host, 'controller_runtime_reconcile_errors_total{controller="widget"}')


FAILURES: dict[str, Callable[[], Exception]] = {
    "what we foresaw": lambda: PilotageError("the server is away"),
    "a conflict": lambda: Conflict("changed meanwhile", status=409),
    "a bug": lambda: KeyError("metadata"),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_what_fails_is_tried_again(
    host: Host, client: Client, namespace: str, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runs = 0

    async def reconcile(key: str) -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise FAILURES[failure]()

    controller = host.controller("widget", host.informer(WIDGET), reconcile, QUICK)
    await client.create(WIDGET, widget(namespace, "a"))
    async with running(host):
        await until(lambda: runs == 4 and not controller.queue.unfinished())
        errors = await value(host, 'controller_runtime_reconcile_errors_total{controller="widget"}')
        retries = await value(host, 'workqueue_retries_total{controller="widget",name="widget"}')
        assert (errors, retries) == (3, 3)
        if failure == "a bug":
            panics = 'controller_runtime_reconcile_panics_total{controller="widget"}'
            assert await value(host, panics) == 3
            assert "Traceback" in caplog.text
    assert f"widget {namespace}/a" in caplog.text
    assert controller.queue.backoff.failures(f"{namespace}/a") == 0


async def test_what_makes_no_sense_is_not_tried_again_until_it_changes(
    host: Host, client: Client, namespace: str
) -> None:
    runs: Counter[str] = Counter()

    async def reconcile(key: str) -> None:
        runs[key.partition("/")[2]] += 1
        if key.endswith("/a"):
            raise Terminal("a is nonsense", "write something else")

    controller = host.controller("widget", host.informer(WIDGET), reconcile, QUICK)
    await client.create(WIDGET, widget(namespace, "a"))
    async with running(host):
        await until(lambda: runs["a"] == 1)
        terminal = 'controller_runtime_terminal_reconcile_errors_total{controller="widget"}'

        async def counted() -> bool:
            return await value(host, terminal) == 1

        await comes(counted)
        assert controller.queue.next_due() is None
        await client.patch(WIDGET, "a", {"spec": {"size": 2}}, namespace)
        await until(lambda: runs["a"] == 2)


async def test_a_reconciliation_that_takes_too_long_is_ended_and_tried_again(
    host: Host, client: Client, namespace: str
) -> None:
    runs = 0

    async def reconcile(key: str) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            await asyncio.Event().wait()

    settings = Settings(timeout=0.05, longest=0.1)
    host.controller("widget", host.informer(WIDGET), reconcile, settings)
    await client.create(WIDGET, widget(namespace, "a"))
    async with running(host):
        await until(lambda: runs == 2)
        timeouts = 'controller_runtime_reconcile_timeouts_total{controller="widget"}'
        assert await value(host, timeouts) == 1


async def test_it_comes_again_when_it_wants_to_and_at_each_resync(
    host: Host, client: Client, namespace: str
) -> None:
    runs: Counter[str] = Counter()

    async def reconcile(key: str) -> float | None:
        name = key.partition("/")[2]
        runs[name] += 1
        return 0.02 if name == "often" and runs[name] < 4 else None

    host.controller("widget", host.informer(WIDGET), reconcile, Settings(resync=0.5))
    for name in ("often", "seldom"):
        await client.create(WIDGET, widget(namespace, name))
    async with running(host):
        await until(lambda: runs["often"] >= 4 and runs["seldom"] >= 3)
        again = 'controller_runtime_reconcile_total{controller="widget",result="requeue_after"}'
        assert await value(host, again) == 3


async def test_when_it_is_stopped_the_work_at_hand_is_finished(
    host: Host, client: Client, namespace: str
) -> None:
    begun, finished = asyncio.Event(), []

    async def reconcile(key: str) -> None:
        begun.set()
        await asyncio.sleep(0.2)
        await host.client.patch(WIDGET, "a", {"spec": {"size": 7}}, namespace)
        finished.append(key)

    host.controller("widget", host.informer(WIDGET), reconcile)
    await client.create(WIDGET, widget(namespace, "a"))
    async with running(host):
        async with asyncio.timeout(LONG):
            await begun.wait()
    assert finished == [f"{namespace}/a"]
    assert (await client.get(WIDGET, "a", namespace))["spec"]["size"] == 7


async def test_a_worker_that_does_not_come_back_makes_the_process_ill(
    host: Host, client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotage.operator.runtime.controller.STUCK_SECONDS", 0.1)
    leave = asyncio.Event()

    async def reconcile(key: str) -> None:
        while not leave.is_set():  # deaf to its cancellation
            with contextlib.suppress(asyncio.CancelledError):
                await leave.wait()

    host.controller("widget", host.informer(WIDGET), reconcile, Settings(timeout=0.05))
    await client.create(WIDGET, widget(namespace, "a"))
    async with running(host):

        async def healthy() -> bool:
            return (await asked(host, "/healthz"))[0] == 200

        async def ill() -> bool:
            return not await healthy()

        await comes(ill)
        _, why = await asked(host, "/healthz")
        assert "controller widget: a reconciliation has been running" in why
        leave.set()
        await comes(healthy)
