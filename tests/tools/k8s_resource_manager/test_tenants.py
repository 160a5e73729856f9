"""A run that a namespace of a cluster has begun keeps to that namespace, whatever it calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cluster.access import Access

from cluster_desk import Desk, desk_at, refused
from deployed_web import web
from pilotage.domain.call import Principal, Tenant
from pilotage.upstream.wanted import Wanted

BOX = {"resource_type": "configmap", "name": "box"}
MANAGER = "any.other-name"


def acting(desk: Desk, namespace: str) -> Desk:
    name = f"{Tenant('prod', namespace).name} via key:operator"
    return replace(desk, by=Principal(name, frozenset({"admin"})))


async def prepared(desk: Desk) -> Desk:
    """With a tool under a name of its own: a bound must not hang on a name."""
    alias = Wanted("builtin", {"tool": "k8s_resource_manager"})
    await desk.app.others.registrations.put(MANAGER, alias, desk.by)
    return acting(desk, desk.namespace)


@pytest.fixture
async def tenant(desk: Desk) -> Desk:
    return await prepared(desk)


async def test_it_works_in_its_own_namespace_also_where_it_names_none(tenant: Desk) -> None:
    manifest = {"data": {"a": "1"}}
    made = await tenant.call(MANAGER, namespace="", action="create", manifest=manifest, **BOX)
    assert made.value["resource"]["metadata"]["namespace"] == tenant.namespace
    assert tenant.there("configmap", "box")["data"] == {"a": "1"}


async def test_it_leaves_it_by_no_tool_and_no_argument(tenant: Desk) -> None:
    only = f"a run of the namespace {tenant.namespace} touches that namespace only, not"
    away = {"namespace": "default"}
    assert f"{only} default" in await refused(tenant, MANAGER, action="get", **away, **BOX)
    every = {"namespace": "*", "action": "list", "resource_type": "pods"}
    assert f"{only} all of them" in await refused(tenant, MANAGER, **every)
    assert f"{only} default" in await refused(tenant, "k8s_job", image="x", **away)
    manifest = tenant.write({**web(), "metadata": {"name": "web", "namespace": "default"}})
    assert f"{only} default" in await refused(
        tenant, "k8s_deployer", namespace="", manifest_path=manifest
    )


async def test_nobody_is_asked_whether_it_may_leave(tenant: Desk) -> None:
    tenant.by = replace(tenant.by, roles=frozenset({"asker"}))
    away = {"namespace": "default"}
    manifest = tenant.write({**web(), "metadata": {"name": "web", "namespace": "default"}})
    for tool, given in (
        (MANAGER, {"action": "delete", **away, **BOX}),
        ("k8s_job", {"image": "x", **away}),
        ("k8s_deployer", {"manifest_path": manifest, **away}),
        ("k8s_deployer", {"manifest_path": manifest, "namespace": ""}),
    ):
        said = await refused(tenant, tool, **given)
        assert "touches that namespace only, not default" in said
    assert tenant.app.approvals.newest(tenant.by) == []
    assert "waits for a person" in await refused(tenant, "k8s_job", image="x")


@pytest.mark.parametrize("tenants", ["own", "any"])
async def test_the_settings_open_what_has_no_namespace(
    control_plane: Access, namespace: str, tmp_path: Path, tenants: str
) -> None:
    bounds = {"kinds": ["namespaces", "configmaps"], "tenants": tenants}
    async with desk_at(control_plane, namespace, tmp_path / "open", **bounds) as desk:
        tenant = await prepared(desk)
        one = {"resource_type": "namespace", "name": "default", "action": "get", "namespace": ""}
        list_all = {"resource_type": "configmaps", "action": "list", "namespace": "*"}
        if tenants == "any":
            assert (await tenant.call(MANAGER, **one)).succeeded
            assert (await tenant.call(MANAGER, **list_all)).succeeded
        else:
            assert "not namespaces, which are in none" in await refused(tenant, MANAGER, **one)
            assert "clusters.test.tenants" in await refused(tenant, MANAGER, **list_all)
