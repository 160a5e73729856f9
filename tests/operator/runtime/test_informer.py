"""The cache follows a real API server, whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Any

import pytest
from cluster.access import Access
from cluster.handle import Cluster as Running

from kubernetes.following import Follow, Heard, full
from kubernetes.made import config_map, fill
from kubernetes.wire import Wire
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client, Page
from pilotage.kubernetes.cluster import Cluster
from pilotage.kubernetes.errors import AlreadyExists, Forbidden, NotFound
from pilotage.kubernetes.kind import CONFIG_MAP, NAMESPACE, SECRET, key_of
from pilotage.operator.runtime import informer as informers
from pilotage.operator.runtime.informer import Informer
from waiting import LONG, until

OURS = "metadata.name!=kube-root-ca.crt"
"""Without the one ConfigMap that each namespace has."""


async def test_a_long_list_is_followed_by_what_happens_next(
    client: Client, namespace: str, follow: Follow
) -> None:
    names = [f"c{number:04}" for number in range(620)]
    await fill(client, namespace, names)
    informer = Informer(client, CONFIG_MAP, namespaces=(namespace,), fields=OURS)
    heard = Heard(informer)
    follow(informer)
    await full(informer)
    assert len(informer.store) == len(names)
    assert all(change.initial for change in heard.changes)
    await client.patch(CONFIG_MAP, "c0001", {"data": {"x": "1"}}, namespace)
    await client.delete(CONFIG_MAP, "c0002", namespace)
    await client.create(CONFIG_MAP, config_map(namespace, "new"))
    await until(lambda: len(heard.changes) >= len(names) + 3)
    last = heard.said()[len(names) :]
    assert last == [("changed", "c0001"), ("deleted", "c0002"), ("added", "new")]
    assert not any(change.initial for change in heard.changes[len(names) :])
    changed = informer.store.get(f"{namespace}/c0001")
    assert changed is not None
    assert changed["data"] == {"x": "1"}
    assert "managedFields" not in changed["metadata"]
    assert f"{namespace}/c0002" not in informer.store


async def test_large_objects_come_a_few_at_a_time_and_are_not_kept_whole(
    client: Client, namespace: str, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(informers, "PAGE_BYTES", 1 << 20)
    for number in range(5):
        made = config_map(namespace, f"c{number}", small="yes", large="x" * 600_000)
        await client.create(CONFIG_MAP, made)
    sizes: list[int] = []
    page = client.page

    async def counted(*given: Any, **more: Any) -> Page:
        found = await page(*given, **more)
        sizes.append(len(found.items))
        return found

    monkeypatch.setattr(client, "page", counted)
    informer = Informer(client, CONFIG_MAP, namespaces=(namespace,), fields=OURS)
    follow(informer)
    await full(informer)
    assert max(sizes) == 1
    for number in range(5):
        kept = informer.store.get(f"{namespace}/c{number}")
        assert kept is not None
        assert kept["data"] == {"small": "yes"}


async def test_who_reads_an_object_has_a_copy(
    client: Client, namespace: str, follow: Follow
) -> None:
    await fill(client, namespace, ["a"])
    informer = Informer(client, CONFIG_MAP, namespaces=(namespace,), fields=OURS)
    follow(informer)
    await full(informer)
    mine = informer.store.get(f"{namespace}/a")
    assert mine is not None
    mine["metadata"]["name"] = "spoiled"
    again = informer.store.get(f"{namespace}/a")
    assert again is not None
    assert again["metadata"]["name"] == "a"


async def test_objects_are_found_by_what_is_in_them(
    client: Client, namespace: str, follow: Follow
) -> None:
    informer = Informer(
        client,
        CONFIG_MAP,
        namespaces=(namespace,),
        fields=OURS,
        indexes={"colour": lambda object: (object.get("data") or {}).values()},
    )
    follow(informer)
    await full(informer)
    await client.create(CONFIG_MAP, config_map(namespace, "a", one="red", two="blue"))
    await client.create(CONFIG_MAP, config_map(namespace, "b", one="red"))
    await until(lambda: len(informer.store) == 2)
    store = informer.store
    assert sorted(store.by("colour", "red")) == [f"{namespace}/a", f"{namespace}/b"]
    await client.patch(CONFIG_MAP, "a", {"data": {"one": "green"}}, namespace)
    await client.delete(CONFIG_MAP, "b", namespace)
    await until(lambda: len(store) == 1 and bool(store.by("colour", "green")))
    assert store.by("colour", "red") == ()
    assert store.by("colour", "blue") == (f"{namespace}/a",)


async def test_only_the_namespaces_that_are_watched(
    client: Client, namespace: str, follow: Follow
) -> None:
    other = f"{namespace}-b"
    await client.create(NAMESPACE, {"metadata": {"name": other}})
    try:
        informer = Informer(client, CONFIG_MAP, namespaces=(namespace, other), fields=OURS)
        heard = Heard(informer)
        follow(informer)
        await full(informer)
        await client.create(CONFIG_MAP, config_map("default", namespace))
        for each in (namespace, other):
            await client.create(CONFIG_MAP, config_map(each, "here"))
        await until(lambda: len(heard.changes) == 2)
        assert {change.key for change in heard.changes} == {f"{namespace}/here", f"{other}/here"}
    finally:
        await client.delete(CONFIG_MAP, namespace, "default")
        await client.delete(NAMESPACE, other)


async def test_a_watch_that_was_cut_goes_on_without_a_second_list(
    client: Client, entrance: Cluster, namespace: str, follow: Follow
) -> None:
    await fill(client, namespace, ["a", "b"])
    async with Wire(entrance) as wire, Client(wire.cluster) as far:
        informer = Informer(far, CONFIG_MAP, namespaces=(namespace,), fields=OURS)
        heard = Heard(informer)
        follow(informer)
        await full(informer)
        wire.cut()
        await client.delete(CONFIG_MAP, "a", namespace)
        await client.create(CONFIG_MAP, config_map(namespace, "c"))
        await until(lambda: informer.wrong is not None)
        assert informer.stale(0).startswith(f"configmaps in {namespace} (")
        assert informer.stale(60) == ""
        wire.mend()
        await until(lambda: len(heard.changes) >= 4)
        assert informer.stale(0) == ""
        assert heard.said()[2:] == [("deleted", "a"), ("added", "c")]
        assert informer.lists == 1
        assert informer.wrong is None


async def test_after_a_410_nothing_that_happened_meanwhile_is_missed(
    own_control_plane: Running, follow: Follow
) -> None:
    """An API server that starts anew remembers no past: a watch from before is told 410."""
    cluster = kubeconfig.read(own_control_plane.kubeconfig)
    async with Client(cluster) as client, Wire(cluster) as wire, Client(wire.cluster) as far:
        await client.create(NAMESPACE, {"metadata": {"name": "shop"}})
        names = [f"c{number}" for number in range(20)]
        await fill(client, "shop", names)
        informer = Informer(far, CONFIG_MAP, namespaces=("shop",), fields=OURS, page=7)
        heard = Heard(informer)
        follow(informer)
        await full(informer)
        wire.cut()
        for name in names[:5]:
            await client.delete(CONFIG_MAP, name, "shop")
        await client.patch(CONFIG_MAP, "c7", {"data": {"x": "1"}}, "shop")
        await client.delete(CONFIG_MAP, "c9", "shop")
        again = await client.create(CONFIG_MAP, config_map("shop", "c9", x="born again"))
        await asyncio.to_thread(own_control_plane.kill)
        await asyncio.to_thread(own_control_plane.start)
        wire.mend()
        await until(lambda: informer.lists == 2 and len(informer.store) == 15)
        await until(lambda: ("deleted", "c4") in heard.said())
        assert {one for one in heard.said() if one[0] == "deleted"} == {
            ("deleted", name) for name in names[:5]
        }
        assert heard.said().count(("changed", "c7")) == 1
        kept = informer.store.get("shop/c9")
        assert kept is not None
        assert kept["metadata"]["uid"] == again["metadata"]["uid"]
        after = [one for one in heard.said()[len(names) :] if one[0] != "deleted"]
        assert sorted(after) == [("changed", "c7"), ("changed", "c9")], "the rest is told no more"
        await client.create(CONFIG_MAP, config_map("shop", "late"))
        await until(lambda: ("added", "late") in heard.said())


async def test_an_api_server_that_comes_back_is_followed_again(
    own_control_plane: Running, follow: Follow
) -> None:
    async with Client(kubeconfig.read(own_control_plane.kubeconfig)) as client:
        await client.create(NAMESPACE, {"metadata": {"name": "shop"}})
        informer = Informer(client, CONFIG_MAP, namespaces=("shop",), fields=OURS)
        heard = Heard(informer)
        follow(informer)
        await full(informer)
        await client.create(CONFIG_MAP, config_map("shop", "before"))
        await until(lambda: heard.said() == [("added", "before")])
        await asyncio.to_thread(own_control_plane.kill)
        await until(lambda: informer.wrong is not None)
        await asyncio.to_thread(own_control_plane.start)
        await client.create(CONFIG_MAP, config_map("shop", "after"))
        await until(lambda: ("added", "after") in heard.said())
        assert heard.said() == [("added", "before"), ("added", "after")]


async def test_what_may_not_be_listed_is_said_and_not_synced(
    control_plane: Access, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Client(kubeconfig.read(control_plane.kubeconfig, "mcp-operator")) as client:
        informer = Informer(client, SECRET, namespaces=("kube-system",))
        follow(informer)
        await until(lambda: informer.wrong is not None)
        assert isinstance(informer.wrong, Forbidden)
        assert not informer.synced.is_set()
    assert 'cannot list resource "secrets"' in caplog.text
    assert "bind a Role" in caplog.text


async def test_a_handler_that_fails_keeps_no_other_from_hearing(
    client: Client, namespace: str, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    informer = Informer(client, CONFIG_MAP, namespaces=(namespace,), fields=OURS)

    def fails(change: object) -> None:
        raise RuntimeError("not today")

    informer.on_change(fails)
    heard = Heard(informer)
    task = follow(informer)
    await full(informer)
    await fill(client, namespace, ["a"])
    async with asyncio.timeout(LONG):
        await until(lambda: heard.said() == [("added", "a")])
    assert not task.done()
    assert "not today" in caplog.text


async def test_however_often_it_is_cut_the_cache_ends_as_the_server_is(
    client: Client, entrance: Cluster, namespace: str, follow: Follow
) -> None:
    """And so does who only hears of changes."""
    chance = random.Random(5)
    async with Wire(entrance) as wire, Client(wire.cluster) as far:
        informer = Informer(far, CONFIG_MAP, namespaces=(namespace,), fields=OURS, page=3)
        heard = Heard(informer)
        follow(informer)
        for turn in range(300):
            name = f"c{chance.randrange(12)}"
            with contextlib.suppress(NotFound, AlreadyExists):
                if chance.random() < 0.3:
                    await client.delete(CONFIG_MAP, name, namespace)
                elif chance.random() < 0.5:
                    await client.create(CONFIG_MAP, config_map(namespace, name))
                else:
                    change = {"data": {"turn": str(turn)}}
                    await client.patch(CONFIG_MAP, name, change, namespace)
            if turn % 30 == 10:
                wire.cut()
            elif turn % 30 == 20:
                wire.mend()
        await client.create(CONFIG_MAP, config_map(namespace, "last"))
        wire.mend()
        await until(lambda: ("added", "last") in heard.said())
        there = (await client.list(CONFIG_MAP, namespace, fields=OURS)).items
        expected = {key_of(one): one["metadata"]["resourceVersion"] for one in there}
        assert {key: informer.store.version(key) for key in informer.store} == expected
        told: dict[str, str] = {}
        for each in heard.changes:
            if each.new is None:
                del told[each.key]
            else:
                told[each.key] = each.new["metadata"]["resourceVersion"]
        assert told == expected


async def test_an_object_that_an_index_does_not_foresee_ends_nothing(
    client: Client, namespace: str, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may write one object must not be able to stop the operator with it."""
    indexes = {"colour": lambda object: [object["data"]["colour"]]}
    informer = Informer(client, CONFIG_MAP, namespaces=(namespace,), fields=OURS, indexes=indexes)
    task = follow(informer)
    await full(informer)
    await client.create(CONFIG_MAP, config_map(namespace, "odd"))
    await client.create(CONFIG_MAP, config_map(namespace, "even", colour="red"))
    await client.delete(CONFIG_MAP, "odd", namespace)
    await until(lambda: list(informer.store) == [f"{namespace}/even"])
    assert informer.store.by("colour", "red") == (f"{namespace}/even",)
    assert not task.done()
    assert f"index colour fails on {namespace}/odd" in caplog.text
