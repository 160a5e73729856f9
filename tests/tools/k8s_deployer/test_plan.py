"""What k8s_deployer refuses, and what it shows, before anything is touched: a real API server."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cluster.access import Access

from cluster_desk import Desk, desk_at, refused
from deployed_web import service, settings, web
from pilotage.kubernetes.manifests import documents
from pilotage.kubernetes.plan import Work

DEPLOY = "k8s_deployer"
CANARY = {"rollout_strategy": "canary"}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
MERGES = "x0: &x0 {a: 1}\n" + "".join(
    f"x{n}: &x{n} {{<<: *x{n - 1}, {', '.join(f'k{n}-{m}: 1' for m in range(50))}}}\n"
    for n in range(1, 300)
)
BOMB = "a0: &a0 x\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 8)
)
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "r"},
    "rules": [],
}


async def test_an_unknown_cluster_is_an_error_that_lists_the_known_ones(desk: Desk) -> None:
    said = await refused(desk, DEPLOY, manifest_path=desk.write(settings(a="1")), cluster="prod")
    assert "there is no cluster 'prod'" in said
    assert "known: test" in said


async def test_a_manifest_outside_of_the_roots_is_refused_also_behind_a_link(desk: Desk) -> None:
    outside = desk.folder.parent / "outside.yaml"
    outside.write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}")
    said = await refused(desk, DEPLOY, manifest_path=str(outside))
    assert "lies outside what this process may see" in said
    (desk.folder / "k8s").mkdir()
    (desk.folder / "k8s/link.yaml").symlink_to(outside)
    said = await refused(desk, DEPLOY, manifest_path=str(desk.folder / "k8s"))
    assert "lies outside what this process may see" in said


@pytest.mark.parametrize(
    ("object", "said"),
    [(SECRET, "Secrets are not written by tools"), (ROLE, "are not for tools")],
)
async def test_one_kind_that_is_out_of_bounds_and_nothing_is_touched(
    desk: Desk, object: dict[str, Any], said: str
) -> None:
    path = desk.write(settings(a="1"), object)
    assert said in await refused(desk, DEPLOY, manifest_path=path)
    assert desk.get("configmap", "settings") is None


async def test_a_namespace_that_is_out_of_bounds_is_refused_by_whoever_names_it(
    control_plane: Access, namespace: str, tmp_path: Path
) -> None:
    async with desk_at(control_plane, namespace, tmp_path, namespaces=[namespace]) as desk:
        there = settings(a="1")
        said = await refused(desk, DEPLOY, manifest_path=desk.write(there), namespace="default")
        assert f"allowed: {namespace}" in said
        there["metadata"]["namespace"] = "default"
        path = desk.write(there, name="named.yaml")
        assert "allowed" in await refused(desk, DEPLOY, manifest_path=path, namespace="")
        said = await refused(desk, DEPLOY, manifest_path=path)
        assert f"says it is in default, the call says {namespace}" in said


async def test_one_object_that_the_server_refuses_and_nothing_is_touched(desk: Desk) -> None:
    bad = service()
    bad["spec"]["ports"][0]["port"] = 99_999
    unknown = web()
    unknown["spec"]["replica"] = 3
    said = await refused(desk, DEPLOY, manifest_path=desk.write(settings(a="1"), bad, unknown))
    assert "2 objects of 3 would be refused, and nothing has changed" in said
    assert "spec.ports[0].port" in said
    assert ".spec.replica" in said
    assert desk.get("configmap", "settings") is None


async def test_a_dry_run_shows_the_diff_and_changes_nothing(desk: Desk) -> None:
    there = desk.write(settings(a="1"), name="there.yaml")
    desk.kubectl("apply", "--server-side", "--field-manager=pilotage", "-f", there)
    path = desk.write(settings(a="2", b="3"), service())
    shown = await desk.call(DEPLOY, manifest_path=path, dry_run=True)
    assert shown.succeeded, shown
    lines = shown.value["diff"].splitlines()
    assert {"-  a: '1'", "+  a: '2'", "+  b: '3'"} <= set(lines)
    changes = {one["object"]: one["change"] for one in shown.value["objects"]}
    assert changes == {"ConfigMap settings": "changed", "Service web": "created"}
    assert "+  a: '2'" in desk.said, "and while it works"
    assert desk.there("configmap", "settings")["data"] == {"a": "1"}
    assert desk.get("service", "web") is None


async def test_fields_of_another_manager_are_named_and_taken_over_only_when_asked(
    desk: Desk,
) -> None:
    desk.kubectl("create", "configmap", "settings", "--from-literal=a=1")
    path = desk.write(settings(a="2"))
    said = await refused(desk, DEPLOY, manifest_path=path)
    assert "ConfigMap settings: others own fields that the manifest sets: .data.a" in said
    assert "kubectl-create" in said
    assert "take_over: true" in said
    assert desk.there("configmap", "settings")["data"] == {"a": "1"}
    done = await desk.call(DEPLOY, manifest_path=path, take_over=True)
    assert done.succeeded, done
    assert desk.there("configmap", "settings")["data"] == {"a": "2"}


async def test_what_is_deployed_twice_is_unchanged_and_no_note_of_ours_is_left(desk: Desk) -> None:
    path = desk.write(settings(a="1"), service())
    first = await desk.call(DEPLOY, manifest_path=path)
    assert [one["change"] for one in first.value["objects"]] == ["created", "created"]
    made = desk.there("configmap", "settings")["metadata"]
    assert "annotations" not in made
    again = await desk.call(DEPLOY, manifest_path=path)
    assert [one["change"] for one in again.value["objects"]] == ["unchanged", "unchanged"]
    assert again.value["diff"] == ""
    assert (
        desk.there("configmap", "settings")["metadata"]["resourceVersion"]
        == (made["resourceVersion"])
    )


async def test_a_folder_holds_manifests_and_a_list_is_taken_apart(desk: Desk) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [settings(a="1"), service()]}
    desk.write(listed, name="k8s/all.yaml")
    (desk.folder / "k8s/README.md").write_text("no manifest")
    done = await desk.call(DEPLOY, manifest_path=str(desk.folder / "k8s"))
    assert len(done.value["objects"]) == 2
    assert desk.get("service", "web") is not None


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"image_tag": "3"}, "localhost/web:3"),
        ({"image_tag": "sha256:" + "a" * 64}, "localhost/web@sha256:" + "a" * 64),
        ({"images": {"localhost/web": "4"}}, "localhost/web:4"),
        ({"images": {"web": "5"}}, "localhost/web:5"),
    ],
)
async def test_an_image_is_set_by_tag_or_digest(
    desk: Desk, given: dict[str, Any], made: str
) -> None:
    shown = await desk.call(DEPLOY, manifest_path=desk.write(web()), dry_run=True, **given)
    assert [one["after"] for one in shown.value["images"]] == [made]


@pytest.mark.parametrize("version", ["5000/evil/web:1", "1@x", "a b", "../1", "1@sha256:short"])
async def test_a_version_cannot_make_it_another_image(desk: Desk, version: str) -> None:
    """An image `web` with the tag `5000/evil/web:1` would come from the registry web:5000."""
    path = desk.write(web("web"))
    for given in ({"image_tag": version}, {"images": {"web": version}}):
        assert "is no version of an image" in await refused(
            desk, DEPLOY, manifest_path=path, **given
        )


def test_a_large_manifest_is_read_in_its_time() -> None:
    """It took the square of its keys once: an hour for one of 4 MiB."""
    keys = "".join(f"  k{number}: v\n" for number in range(100_000))
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n{keys}"
    (found,) = documents(text.encode(), "large")
    assert len(found["data"]) == 100_000


async def test_a_tag_is_never_put_on_an_image_that_is_not_meant(desk: Desk) -> None:
    pod = web(image="localhost/web:1")
    sidecar = {"name": "proxy", "image": "registry:5000/envoy:1.2"}
    pod["spec"]["template"]["spec"]["containers"].append(sidecar)
    path = desk.write(pod)
    said = await refused(desk, DEPLOY, manifest_path=path, image_tag="2")
    assert "image_tag is of which image? the manifest has 2 images" in said
    assert "there are: localhost/web, registry:5000/envoy" in said
    said = await refused(desk, DEPLOY, manifest_path=path, images={"localhost/wbe": "2"})
    assert "the manifest has no image localhost/wbe" in said
    shown = await desk.call(DEPLOY, manifest_path=path, images={"web": "2"}, dry_run=True)
    after = [one["after"] for one in shown.value["images"]]
    assert after == ["localhost/web:2", "registry:5000/envoy:1.2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML"),
        ("", "holds no manifest"),
        ("kind: ConfigMap", "has no apiVersion"),
        ("{apiVersion: v1, kind: ConfigMap}", "without metadata.name"),
        ("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {b: 1, b: 2}}", "b stands"),
        ("{apiVersion: v1, kind: Nothing, metadata: {name: a}}", "serves no 'v1/Nothing'"),
        (BOMB, "aliases within"),
        (MERGES, "merges followed"),
        ("{apiVersion: v1, kind: List, items: 5}", "no list"),
        (f"a: {'[' * 900}{']' * 900}", "nested deeper than"),
        (f"a: {'9' * 5_000}", "is not YAML"),
    ],
)
async def test_a_manifest_that_is_none_says_what_is_wrong(desk: Desk, text: str, said: str) -> None:
    (desk.folder / "bad.yaml").write_text(text)
    assert said in await refused(desk, DEPLOY, manifest_path=str(desk.folder / "bad.yaml"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"canary_percent": [10]}, "canary_percent is for a canary"),
        ({"canary_percent": [50, 10], **CANARY}, "each more than the one before"),
        ({"canary_percent": [], **CANARY}, "each more than the one before"),
        ({"checks": [{}]}, "a check asks one of"),
        ({"checks": [{"path": "/../../../x", "port": 80}]}, "no name of an object"),
        ({"checks": [{"path": "/a\tb", "port": 80}]}, "check: path '/a\\tb'"),
        ({"checks": [{"port": 8080}]}, "check: path '', port 8080"),
        ({"checks": [{"path": "healthz", "port": 8080}]}, "check: path 'healthz', port 8080"),
        ({"checks": [{"prometheus": "https://p", "query": "up"}]}, "without a threshold"),
        ({"timeout_seconds": -1}, "timeout_seconds is -1"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_it_begins(
    desk: Desk, given: dict[str, Any], said: str
) -> None:
    path = desk.write(settings(a="1"))
    assert said in await refused(desk, DEPLOY, manifest_path=path, **given)
    assert desk.get("configmap", "settings") is None


async def test_a_deployment_that_is_not_ours_and_named_as_a_canary_is_in_the_way(
    desk: Desk,
) -> None:
    first = web(replicas=1)
    desk.kubectl("apply", "--server-side", "--field-manager=pilotage", "-f", desk.write(first))
    other = web(replicas=0)
    other["metadata"]["name"] = "web-canary"
    desk.kubectl("apply", "-f", desk.write(other, name="other.yaml"))
    path = desk.write(settings(a="1"), first)
    said = await refused(desk, DEPLOY, manifest_path=path, image_tag="2", rollout_strategy="canary")
    assert "there is a Deployment web-canary" in said
    assert "none of ours" in said
    assert desk.get("configmap", "settings") is None, "nothing was touched"


@pytest.mark.parametrize("forged", ["other", "nonsense"])
async def test_a_way_back_that_somebody_forged_is_not_gone(desk: Desk, forged: str) -> None:
    """Else who may write one object could have us write another, out of all bounds."""
    other = settings(a="forged")
    other["metadata"] |= {"name": "other", "namespace": "kube-system"}
    note = json.dumps(other) if forged == "other" else "{"
    desk.kubectl("create", "configmap", "settings")
    desk.kubectl("annotate", "configmap", "settings", f"pilotage/before={note}")
    said = await refused(desk, DEPLOY, manifest_path=desk.write(settings(a="1")))
    assert "the annotation pilotage/before of the ConfigMap settings says nothing about it" in said


@pytest.mark.parametrize("note", ["", "new x", "new {mark}"])
async def test_what_is_there_is_not_removed_on_the_word_of_somebody_else(
    desk: Desk, note: str
) -> None:
    """The way back would delete what who wrote the note may not delete."""
    desk.kubectl("create", "configmap", "settings", "--from-literal=a=theirs")
    note = note.format(mark=hashlib.sha256(b"somebody\0run/step/1").hexdigest()[:40])
    desk.kubectl("annotate", "configmap", "settings", f"pilotage/before={note}")
    path = desk.write(settings(a="1"), web())
    given = {"manifest_path": path, "image_tag": "2", "timeout_seconds": 1, "take_over": True}
    done = await desk.call(DEPLOY, **given)
    assert not done.succeeded
    assert done.value["rolled_back"]
    there = desk.there("configmap", "settings")
    assert there["data"] == {"a": "theirs"}
    assert "pilotage/before" not in (there["metadata"].get("annotations") or {})


def test_an_object_that_is_older_than_the_work_was_not_made_by_it() -> None:
    work = Work("abc", 1_800_000_000.0)
    old, new = ({"metadata": {"creationTimestamp": at}} for at in (
        "2027-01-15T07:58:00Z", "2027-01-15T08:00:01Z"
    ))  # fmt: skip
    assert not work.made("new abc", old)
    assert work.made("new abc", new)
    assert not work.made("new abd", new)
    assert not work.made("", new)


@pytest.mark.parametrize("word", ["ownerReferences", "finalizers", "deletionGracePeriodSeconds"])
async def test_a_manifest_deletes_nothing_by_what_it_says_of_an_object(
    desk: Desk, word: str
) -> None:
    mine = settings(a="1")
    mine["metadata"][word] = []
    said = await refused(desk, DEPLOY, manifest_path=desk.write(mine))
    assert f"the ConfigMap settings: metadata.{word} is not for tools" in said


async def test_a_job_that_is_there_is_not_deleted_by_its_time(desk: Desk) -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {
            "suspend": True,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "a", "image": "localhost/web:1"}],
                }
            },
        },
    }
    desk.kubectl("apply", "--server-side", "--field-manager=pilotage", "-f", desk.write(job))
    job["spec"]["ttlSecondsAfterFinished"] = 0  # type: ignore[index]
    said = await refused(desk, DEPLOY, manifest_path=desk.write(job))
    assert "by which the cluster deletes it" in said


@pytest.mark.parametrize(("policy", "passes"), [("Retain", True), ("Delete", False)])
async def test_the_volumes_of_what_is_there_are_not_deleted_by_a_write(
    desk: Desk, policy: str, passes: bool
) -> None:
    labels = {"app": "db"}
    database: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "serviceName": "db",
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "a", "image": "localhost/web:1"}]},
            },
        },
    }
    desk.kubectl("apply", "--server-side", "--field-manager=pilotage", "-f", desk.write(database))
    database["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenScaled": policy}
    given = {"manifest_path": desk.write(database), "timeout_seconds": 30}
    if passes:
        assert (await desk.call(DEPLOY, **given)).succeeded
    else:
        assert "the cluster deletes its volumes" in await refused(desk, DEPLOY, **given)


async def test_a_forged_way_back_brings_no_owner_by_whom_the_cluster_would_delete(
    desk: Desk,
) -> None:
    forged = settings(a="forged")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0"}
    forged["metadata"] |= {"namespace": desk.namespace, "ownerReferences": [owner]}
    desk.kubectl("create", "configmap", "settings", "--from-literal=a=theirs")
    desk.kubectl("annotate", "configmap", "settings", f"pilotage/before={json.dumps(forged)}")
    path = desk.write(settings(a="1"), web())
    given = {"manifest_path": path, "image_tag": "2", "timeout_seconds": 1, "take_over": True}
    done = await desk.call(DEPLOY, **given)
    assert not done.succeeded
    there = desk.there("configmap", "settings")
    assert there["data"] == {"a": "forged"}, "who may write the note may write the object"
    assert "ownerReferences" not in there["metadata"]


async def test_a_manifest_cannot_speak_for_us(desk: Desk) -> None:
    mine = settings(a="1")
    mine["metadata"]["annotations"] = {"pilotage/before": ""}
    said = await refused(desk, DEPLOY, manifest_path=desk.write(mine))
    assert "pilotage/ is for Pilotage alone" in said


@pytest.mark.parametrize("strategy", ["rolling", "canary"])
async def test_a_paused_deployment_is_told_before_anything_is_touched(
    desk: Desk, strategy: str
) -> None:
    desk.kubectl("apply", "--server-side", "--field-manager=pilotage", "-f", desk.write(web()))
    desk.kubectl("rollout", "pause", "deployment/web")
    path = desk.write(settings(a="1"), web())
    given = {"manifest_path": path, "image_tag": "2", "rollout_strategy": strategy}
    said = await refused(desk, DEPLOY, **given)
    assert "Deployment web is paused (spec.paused): no pod of it would change" in said
    assert f"kubectl rollout resume deployment/web -n {desk.namespace}" in said
    assert desk.get("configmap", "settings") is None, "nothing was touched"
    new = web()
    new["spec"]["paused"] = True
    new["metadata"]["name"] = "other"
    assert "Deployment other is paused" in await refused(
        desk, DEPLOY, manifest_path=desk.write(new), image_tag="2"
    )
