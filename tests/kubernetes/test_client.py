"""Verbs of the client, on a real API server."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest
import uvloop
from cluster.access import Access
from cluster.handle import Cluster as Running

from kubernetes import made
from kubernetes.made import config_map, fill
from pilotage.domain.errors import BadInput
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.cluster import Cluster, Trust
from pilotage.kubernetes.credentials import Fixed, bearer
from pilotage.kubernetes.discovery import Discovery
from pilotage.kubernetes.errors import (
    AlreadyExists,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Unauthorized,
    Unreachable,
)
from pilotage.kubernetes.kind import CONFIG_MAP, CRD, DEPLOYMENT, NAMESPACE, SECRET, Kind, Object
from pilotage.kubernetes.watch import Event
from waiting import LONG

MANY = 620
"""More than one page of the client's, which are 500."""
WIDGET = Kind("tests.example.com", "v1", "Widget", "widgets")


async def some(client: Client, namespace: str, version: str, count: int) -> list[Event]:
    """The next events of ConfigMaps."""
    found: list[Event] = []
    async with asyncio.timeout(LONG):
        watch = client.watch(CONFIG_MAP, namespace, resource_version=version)
        async with contextlib.aclosing(watch) as events:
            async for event in events:
                found.append(event)
                if len(found) == count:
                    return found
    raise AssertionError(f"only {len(found)} events")


async def test_a_long_list_comes_in_pages_of_one_moment(client: Client, namespace: str) -> None:
    await fill(client, namespace, [f"c{number:04}" for number in range(MANY)])
    sizes, versions, names = [], set(), set()
    async for page in client.pages(CONFIG_MAP, namespace, fields="metadata.name!=kube-root-ca.crt"):
        sizes.append(len(page.items))
        versions.add(page.resource_version)
        names |= {each["metadata"]["name"] for each in page.items}
        if len(sizes) == 1:  # what happens meanwhile belongs to no page
            await client.create(CONFIG_MAP, config_map(namespace, "zzz"))
    assert sizes == [500, MANY - 500]
    assert len(versions) == 1
    assert names == {f"c{number:04}" for number in range(MANY)}


async def test_a_few_large_objects_make_the_pages_after_them_no_smaller(
    client: Client, namespace: str
) -> None:
    for name in ("a0", "a1", "a2"):
        large = {**config_map(namespace, name), "data": {"x": "x" * 900_000}}
        await client.create(CONFIG_MAP, large)
    await fill(client, namespace, [f"c{number:04}" for number in range(100)])
    fields = "metadata.name!=kube-root-ca.crt"
    pages = client.pages(CONFIG_MAP, namespace, fields=fields, limit=64, most=1 << 20)
    sizes = [len(page.items) async for page in pages]
    assert sum(sizes) == 103
    assert sizes[0] == 1
    assert max(sizes) >= 32


async def test_objects_of_lists_say_what_they_are(client: Client, namespace: str) -> None:
    await client.create(CONFIG_MAP, config_map(namespace, "a"))
    page = await client.list(CONFIG_MAP, namespace, fields="metadata.name=a")
    (found,) = page.items
    assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")


async def test_a_watch_goes_on_where_another_ended(client: Client, namespace: str) -> None:
    page = await client.list(CONFIG_MAP, namespace)
    await client.create(CONFIG_MAP, config_map(namespace, "a"))
    (first,) = await some(client, namespace, page.resource_version, 1)
    await client.patch(CONFIG_MAP, "a", {"data": {"x": "1"}}, namespace)
    await client.delete(CONFIG_MAP, "a", namespace)
    rest = await some(client, namespace, first.resource_version, 2)
    assert [first.type, *(event.type for event in rest)] == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_watch_brings_bookmarks_and_its_end_is_no_error(
    client: Client, namespace: str
) -> None:
    await client.create(CONFIG_MAP, config_map(namespace, "a"))
    version = (await client.list(CONFIG_MAP, namespace)).resource_version
    seen: list[Event] = []
    async with asyncio.timeout(LONG):
        while not seen:  # shortly before the end of a watch, if the server gets to it
            await client.create(CONFIG_MAP, elsewhere := config_map("default", namespace))
            await client.delete(CONFIG_MAP, elsewhere["metadata"]["name"], "default")
            watch = client.watch(
                CONFIG_MAP,
                namespace,
                resource_version=version,
                fields="metadata.name=a",
                seconds=5,
            )
            seen = [event async for event in watch]
    assert {event.type for event in seen} == {"BOOKMARK"}
    assert int(seen[-1].resource_version) > int(version)


async def test_a_watch_from_too_long_ago_is_gone(own_control_plane: Running) -> None:
    async with Client(kubeconfig.read(own_control_plane.kubeconfig)) as client:
        await client.create(NAMESPACE, {"metadata": {"name": "since"}})
        own_control_plane.stop()  # with it goes what it remembered of the past
        own_control_plane.start()
        with pytest.raises(Gone) as caught:
            await some(client, "since", "1", 1)
        assert caught.value.status == 410


async def test_two_that_change_the_same_version_meet_a_conflict(
    client: Client, namespace: str
) -> None:
    made = await client.create(CONFIG_MAP, config_map(namespace, "a"))
    await client.update(CONFIG_MAP, {**made, "data": {"x": "mine"}})
    with pytest.raises(Conflict) as caught:
        await client.update(CONFIG_MAP, {**made, "data": {"x": "yours"}})
    assert caught.value.reason == "Conflict"
    assert "read the object again" in caught.value.hint
    with pytest.raises(AlreadyExists, match="already exists"):
        await client.create(CONFIG_MAP, config_map(namespace, "a"))


async def test_only_the_object_that_is_meant_is_deleted(client: Client, namespace: str) -> None:
    made = await client.create(CONFIG_MAP, config_map(namespace, "a"))
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAP, "a", namespace, uid="another")
    await client.delete(CONFIG_MAP, "a", namespace, uid=made["metadata"]["uid"], dry_run=True)
    await client.delete(CONFIG_MAP, "a", namespace, uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, "a", namespace)


async def test_a_merge_patch_takes_a_field_away(client: Client, namespace: str) -> None:
    await client.create(CONFIG_MAP, config_map(namespace, "a", x="1", y="2"))
    patched = await client.patch(CONFIG_MAP, "a", {"data": {"x": None}}, namespace)
    assert patched["data"] == {"y": "2"}


async def test_the_same_apply_again_changes_nothing(client: Client, namespace: str) -> None:
    wanted = {"metadata": {"name": "a", "namespace": namespace}, "data": {"x": "1"}}
    first = await client.apply(CONFIG_MAP, wanted, manager="one")
    second = await client.apply(CONFIG_MAP, wanted, manager="one")
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_an_apply_names_whose_field_it_is(client: Client, namespace: str) -> None:
    wanted = {"metadata": {"name": "a", "namespace": namespace}, "data": {"x": "1"}}
    await client.apply(CONFIG_MAP, wanted, manager="one")
    other = {**wanted, "data": {"x": "2"}}
    with pytest.raises(Conflict, match=r'conflict with "one".*\.data\.x') as caught:
        await client.apply(CONFIG_MAP, other, manager="two")
    assert "force" in caught.value.hint
    forced = await client.apply(CONFIG_MAP, other, manager="two", force=True)
    assert forced["data"] == {"x": "2"}


@pytest.fixture
async def widgets(client: Client) -> None:
    """A resource with a status."""
    await client.apply(CRD, made.widgets(), manager="tests", force=True)
    async with asyncio.timeout(LONG):
        while True:
            with contextlib.suppress(NotFound):
                await client.list(WIDGET)
                return
            await asyncio.sleep(0.05)


def condition(namespace: str, kind: str, status: str) -> Object:
    """A status with one condition, as its manager applies it."""
    meta = {"name": "w", "namespace": namespace}
    return {"metadata": meta, "status": {"conditions": [{"type": kind, "status": status}]}}


@pytest.mark.usefixtures("widgets")
async def test_managers_write_their_own_conditions_of_a_status(
    client: Client, namespace: str
) -> None:
    meta = {"name": "w", "namespace": namespace}
    await client.apply(WIDGET, {"metadata": meta, "spec": {"size": 1}}, manager="person")
    ready, live = condition(namespace, "Ready", "True"), condition(namespace, "Live", "False")
    await client.apply(WIDGET, ready, manager="one", subresource="status")
    both = await client.apply(WIDGET, live, manager="two", subresource="status")
    assert {each["type"] for each in both["status"]["conditions"]} == {"Ready", "Live"}
    again = await client.apply(WIDGET, ready, manager="one", subresource="status")
    assert again["metadata"]["resourceVersion"] == both["metadata"]["resourceVersion"]
    assert again["metadata"]["generation"] == 1, "a status is no change of the spec"


@pytest.mark.usefixtures("widgets")
async def test_what_breaks_the_schema_is_named(client: Client, namespace: str) -> None:
    meta = {"name": "w", "namespace": namespace}
    with pytest.raises(Invalid, match=r"spec\.size"):
        await client.apply(WIDGET, {"metadata": meta, "spec": {"size": -1}}, manager="person")
    wrong = {**config_map(namespace, "a"), "dta": {}}
    with pytest.raises(BadRequest, match='unknown field "dta"'):
        await client.create(CONFIG_MAP, wrong)


@pytest.mark.usefixtures("widgets")
async def test_kinds_are_found_by_what_people_write(client: Client) -> None:
    discovery = Discovery(client)
    for word in ("deploy", "Deployment", "deployments", "deployments.apps", "apps/v1/Deployment"):
        assert await discovery.kind(word) == DEPLOYMENT
    for word in ("wdg", "Widget", "widgets.tests.example.com", "tests.example.com/v1/widget"):
        assert await discovery.kind(word) == WIDGET
    assert (await discovery.kind("events")).group == "", "core comes first"
    assert (await discovery.kind("ns")).namespaced is False
    assert "status" in (await discovery.find("deploy")).subresources


async def test_a_kind_that_is_not_served_is_said_with_what_is_like_it(client: Client) -> None:
    with pytest.raises(NotFound, match="deploymnt") as caught:
        await Discovery(client).kind("deploymnt")
    assert "deployments" in caught.value.hint
    with pytest.raises(NotFound, match="is its CRD installed"):
        await client.list(Kind("nobody.example.com", "v1", "Thing", "things"))


async def test_what_rbac_forbids_says_who_may_not_do_what(control_plane: Access) -> None:
    async with Client(kubeconfig.read(control_plane.kubeconfig, "mcp-operator")) as operator:
        with pytest.raises(Forbidden) as caught:
            await operator.list(SECRET)
    said = str(caught.value)
    assert "system:serviceaccount:mcp-system:mcp-operator" in said
    assert 'cannot list resource "secrets"' in said
    assert "bind a Role" in said


async def test_a_token_that_is_not_known_is_refused(entrance: Cluster) -> None:
    async with Client(replace(entrance, credential=Fixed(bearer("nobody")))) as nobody:
        with pytest.raises(Unauthorized):
            await nobody.list(NAMESPACE)


async def test_a_server_that_is_not_there_is_unreachable(entrance: Cluster) -> None:
    async with Client(replace(entrance, server="https://127.0.0.1:1")) as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 cannot be reached"):
            await client.get(NAMESPACE, "default")


async def test_a_server_that_is_not_ours_to_trust_is_unreachable(entrance: Cluster) -> None:
    async with Client(replace(entrance, trust=Trust())) as client:
        with pytest.raises(Unreachable, match="certificate"):
            await client.get(NAMESPACE, "default")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a%2fb"])
async def test_a_name_is_never_a_path(client: Client, name: str) -> None:
    with pytest.raises(BadInput):
        await client.get(CONFIG_MAP, name, "default")


def test_no_event_loop_that_writes_behind_the_fence_is_taken(control_plane: Access) -> None:
    async def ask() -> None:
        async with Client(kubeconfig.read(control_plane.kubeconfig)) as client:
            client.transport.shut = lambda: False
            await client.get(NAMESPACE, "default")

    asyncio.run(ask())
    with pytest.raises(RuntimeError, match="behind the back"):
        uvloop.run(ask())


async def test_a_connection_that_is_shut_lets_nothing_out(client: Client, namespace: str) -> None:
    await client.create(CONFIG_MAP, config_map(namespace, "before"))  # a connection is kept
    client.transport.shut = lambda: True
    with pytest.raises(Unreachable):
        await client.create(CONFIG_MAP, config_map(namespace, "after"))
    client.transport.shut = None
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, "after", namespace)
