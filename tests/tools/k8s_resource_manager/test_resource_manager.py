"""k8s_resource_manager on a real API server: what it does, shows, hides and refuses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cluster.access import Access

from cluster_desk import Desk, desk_at, refused
from deployed_web import web
from pilotage.domain.call import Outcome, Principal
from pilotage.domain.errors import Denied, NeedsApproval

TOOL = "k8s_resource_manager"
BOX = {"resource_type": "configmap", "name": "box"}
SHADOW = "shadow-91c2-never-to-be-seen"


@pytest.fixture
async def kube(desk: Desk) -> Desk:
    await desk.register(TOOL)
    return desk


@pytest.fixture
async def bound(control_plane: Access, namespace: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """A cluster of which one namespace, two kinds and the names of Secrets are for tools."""
    bounds = {
        "namespaces": [namespace],
        "kinds": ["configmaps", "deployments.apps"],
        "secrets": "redact",
    }
    async with desk_at(control_plane, namespace, tmp_path / "bound", **bounds) as desk:
        await desk.register(TOOL)
        yield desk


async def test_it_creates_gets_updates_and_deletes(kube: Desk) -> None:
    made = await kube.call(TOOL, action="create", manifest={"data": {"a": "1"}}, **BOX)
    assert made.succeeded, made
    assert "managedFields" not in made.value["resource"]["metadata"], "what nobody reads"
    got = await kube.call(TOOL, action="get", **BOX)
    assert got.value["resource"]["data"] == {"a": "1"}
    change = {"data": {"a": None, "b": "2"}}
    changed = await kube.call(TOOL, action="update", manifest=change, **BOX)
    assert changed.value["resource"]["data"] == {"b": "2"}, "null removes a field"
    gone = await kube.call(TOOL, action="delete", **BOX)
    assert gone.value["resource"]["data"] == {"b": "2"}, "as it was"
    assert kube.get("configmap", "box") is None


async def test_a_resource_version_keeps_the_work_of_another(kube: Desk) -> None:
    made = await kube.call(TOOL, action="create", manifest={"data": {"a": "1"}}, **BOX)
    kube.kubectl("patch", "configmap", "box", "--type=merge", '-p={"data":{"a":"theirs"}}')
    seen = {"resource_version": made.value["version"], **BOX}
    said = await refused(kube, TOOL, action="update", manifest={"data": {"a": "2"}}, **seen)
    assert "the object has been modified" in said
    said = await refused(kube, TOOL, action="delete", **seen)
    assert "does not match the ResourceVersion" in said
    assert kube.there("configmap", "box")["data"] == {"a": "theirs"}


@pytest.mark.parametrize("action", ["create", "update", "delete"])
async def test_a_dry_run_changes_nothing_and_says_so(kube: Desk, action: str) -> None:
    if action != "create":
        kube.kubectl("create", "configmap", "box", "--from-literal=a=1")
    manifest = None if action == "delete" else {"data": {"a": "2"}}
    done = await kube.call(TOOL, action=action, manifest=manifest, dry_run=True, **BOX)
    assert done.succeeded, done
    assert "as a dry run: nothing has changed" in done.value["message"]
    there = kube.get("configmap", "box")
    assert there is None if action == "create" else there and there["data"] == {"a": "1"}


async def test_no_list_is_larger_than_a_server_bears(kube: Desk) -> None:
    """Else who may fill one namespace could end the tool server of everybody."""
    many = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"large-{number}"},
         "data": {"a": "x" * 1_000_000}}
        for number in range(36)
    ]  # fmt: skip
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": many})
    kube.kubectl("create", "-f", "-", input=body)
    given = {"resource_type": "configmaps", "action": "list", "full": True}
    said = await refused(kube, TOOL, limit=500, **given)
    assert "the answer has more than 32 MiB (ask for less of it)" in said
    assert (await kube.call(TOOL, limit=5, **given)).succeeded
    kube.kubectl("delete", "configmaps", "--all")  # others list all namespaces


async def test_a_list_comes_in_pages_and_each_line_says_how_it_stands(kube: Desk) -> None:
    for number in range(5):
        kube.kubectl("create", "configmap", f"box-{number}")
        kube.kubectl("label", "configmap", f"box-{number}", "app=box")
    given: dict[str, Any] = {"action": "list", "resource_type": "cm", "labels": "app=box"}
    seen: list[str] = []
    after, pages = "", 0
    while True:
        page = await kube.call(TOOL, limit=2, after=after, **given)
        assert page.succeeded, page
        seen += [one["name"] for one in page.value["resources"]]
        pages += 1
        if not (after := page.value["next"]):
            break
    assert (seen, pages) == ([f"box-{number}" for number in range(5)], 3)
    whole = await kube.call(TOOL, full=True, **given)
    assert whole.value["resources"][0]["kind"] == "ConfigMap"
    kube.kubectl("apply", "-f", kube.write(web(image="localhost/web:1")))
    lines = await kube.call(TOOL, action="list", resource_type="deploy")
    assert lines.value["resources"][0]["state"] == "0 of 2 ready"
    assert "limit is 0" in await refused(kube, TOOL, limit=0, **given)


async def test_a_list_of_all_namespaces_needs_all_of_them(kube: Desk, bound: Desk) -> None:
    given = {"action": "list", "resource_type": "configmaps", "namespace": "*"}
    everywhere = await kube.call(TOOL, **given)
    assert "kube-system" in {one["namespace"] for one in everywhere.value["resources"]}
    assert "is not for tools" in await refused(bound, TOOL, **given)
    said = await refused(kube, TOOL, action="get", resource_type="cm", name="x", namespace="*")
    assert 'namespace "*" is for list' in said


async def test_what_is_out_of_bounds_is_denied_with_what_is_allowed(bound: Desk) -> None:
    for given, said in (
        ({"namespace": "kube-system", **BOX}, "the namespace kube-system"),
        ({"resource_type": "pods", "name": "x"}, "allowed: configmaps, deployments.apps"),
        ({"resource_type": "roles", "name": "x"}, "roles.rbac.authorization.k8s.io"),
    ):
        done = await bound.call(TOOL, action="get", **given)
        assert done.outcome is Outcome.DENIED
        assert said in f"{done.error} ({done.hint})"


async def test_secrets_are_refused_or_shown_without_a_value_and_never_written(
    kube: Desk, bound: Desk
) -> None:
    given = {"resource_type": "secret", "name": "key"}
    assert bound.namespace == kube.namespace
    manifest = {"apiVersion": "v1", "kind": "Secret", "stringData": {"token": SHADOW},
                "metadata": {"name": "key"}}  # fmt: skip
    bound.kubectl("apply", "-f", bound.write(manifest))  # its value is in an annotation as well
    assert "secrets: redact" in await refused(kube, TOOL, action="get", **given)
    shown = await bound.call(TOOL, action="get", **given)
    assert shown.succeeded, shown
    assert shown.value["resource"]["data"] == {"token": "(40 characters)"}
    listed = await bound.call(TOOL, action="list", resource_type="secrets", full=True)
    for answer in (shown, listed):
        for hidden in (SHADOW, "c2hhZG93"):
            assert hidden not in str(answer), "neither as it is nor in base64"
    for action in ("create", "update", "delete"):
        said = await refused(bound, TOOL, action=action, manifest={"data": {}}, **given)
        assert "Secrets are not written by tools" in said


async def test_what_has_no_namespace_is_named_without_one(
    control_plane: Access, namespace: str, tmp_path: Path
) -> None:
    async with desk_at(control_plane, namespace, tmp_path, kinds=["namespaces"]) as desk:
        await desk.register(TOOL)
        given = {"action": "get", "resource_type": "namespace", "name": namespace}
        assert "is in no namespace" in await refused(desk, TOOL, **given)
        found = await desk.call(TOOL, **{**given, "namespace": ""})
        assert found.value["resource"]["status"]["phase"] == "Active"
        by_default = await desk.call(TOOL, action="get", **BOX)
        assert by_default.outcome is Outcome.DENIED


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"manifest": {"kind": "Secret", "data": {}}}, "manifest says kind 'Secret'"),
        (
            {"manifest": {"metadata": {"ownerReferences": []}}},
            "metadata.ownerReferences is not for",
        ),
        ({"manifest": {"metadata": {"finalizers": None}}}, "metadata.finalizers is not for"),
        (
            {"manifest": {"metadata": {"annotations": {"pilotage/before": ""}}}},
            "pilotage/before in metadata.annotations",
        ),
        ({"manifest": {"metadata": {"labels": ["a"]}}}, "metadata.labels is no mapping"),
        (
            {"resource_type": "job", "action": "update", "spec": {"ttlSecondsAfterFinished": 0}},
            "the cluster deletes it by it",
        ),
        (
            {
                "resource_type": "statefulset",
                "action": "update",
                "spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}},
            },
            "spec.persistentVolumeClaimRetentionPolicy of a StatefulSet that is there",
        ),
        (
            {"action": "update", "manifest": {"metadata": {"annotations": None}}},
            "metadata.annotations is null, which takes those of others away",
        ),
        ({"manifest": {"metadata": {"name": "other"}, "data": {}}}, "metadata.name 'other'"),
        ({"manifest": {"metadata": {"namespace": "default"}}}, "metadata.namespace 'default'"),
        ({"manifest": {"apiVersion": "apps/v1", "data": {}}}, "manifest says apiVersion"),
        ({"manifest": {"spec": {}}, "spec": {}}, "spec is there twice"),
        ({}, "nothing is said of the object"),
        ({"name": "", "manifest": {"data": {}}}, "create needs the name of one configmap"),
        ({"manifest": {"dta": {"a": "1"}}}, "dta"),
    ],
)
async def test_a_manifest_that_means_another_object_is_refused(
    kube: Desk, given: dict[str, Any], said: str
) -> None:
    assert said in await refused(kube, TOOL, **{"action": "create", **BOX, **given})
    assert kube.get("configmap", "box") is None


async def test_an_unknown_kind_and_an_unknown_cluster_name_what_there_is(kube: Desk) -> None:
    said = await refused(kube, TOOL, action="list", resource_type="deploymnet")
    assert "like it: deployments" in said
    said = await refused(kube, TOOL, action="list", resource_type="cm", cluster="prod")
    assert "known: test" in said


async def test_each_action_is_decided_as_what_it_does(kube: Desk) -> None:
    reader = Principal("key:view", frozenset({"reader"}))
    worker = Principal("key:dev", frozenset({"worker"}))
    box = {"namespace": kube.namespace, **BOX}
    create = {"action": "create", "manifest": {"data": {"a": "1"}}, **box}
    with pytest.raises(Denied):
        await kube.app.call(TOOL, create, reader, "rest")
    assert kube.get("configmap", "box") is None
    assert (await kube.app.call(TOOL, create, worker, "rest")).succeeded
    assert (await kube.app.call(TOOL, {"action": "get", **box}, reader, "rest")).succeeded
    for dry_run in (False, True):
        delete = {"action": "delete", "dry_run": dry_run, **box}
        with pytest.raises(NeedsApproval):
            await kube.app.call(TOOL, delete, worker, "rest")
        with pytest.raises(Denied):
            await kube.app.call(TOOL, delete, reader, "rest")
    assert kube.get("configmap", "box") is not None
