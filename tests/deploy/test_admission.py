"""A real API server takes every object, in a namespace that enforces restricted pods."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import manifests
import pytest
import yaml
from cluster.access import Access

Object = dict[str, Any]
RESTRICTED = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
DRY = ("apply", "--server-side", "--dry-run=server", "--force-conflicts", "--validate=strict")


@pytest.fixture
def restricted(control_plane: Access, namespace: str) -> str:
    control_plane.kubectl("label", "namespace", namespace, *RESTRICTED)
    return namespace


def taken(access: Access, namespace: str, objects: list[Object]) -> None:
    """Each object is one that the API server takes; each pod too, as a pod of its own."""
    there = [one for one in objects if one["kind"] not in ("ServiceMonitor", "Namespace")]
    listed = {"apiVersion": "v1", "kind": "List", "items": [*there, *_pods(there, namespace)]}
    done = access.run_kubectl(*DRY, "-f", "-", input=json.dumps(listed))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    assert len(done.stdout.splitlines()) == len(listed["items"])


def _pods(objects: list[Object], namespace: str) -> list[Object]:
    """A workload whose pods are refused is taken all the same: so the pods are asked about."""
    made = []
    for one in objects:
        if "template" in one.get("spec", {}):
            spec = json.loads(json.dumps(one["spec"]["template"]["spec"]))
            del spec["serviceAccountName"]  # it is not there, this being dry
            for claim in one["spec"].get("volumeClaimTemplates", ()):
                name = claim["metadata"]["name"]
                spec["volumes"].append({"name": name, "emptyDir": {}})
            meta = {"name": f"{one['metadata']['name']}-probe", "namespace": namespace}
            made.append({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    assert made
    return made


@pytest.mark.parametrize("values", manifests.SETS)
def test_each_object_of_the_chart_is_taken(
    control_plane: Access, restricted: str, render: Callable[..., list[Object]], values: str
) -> None:
    mine: list[str] = []
    if values == "everything":
        keys = ("server.kubernetes.namespaces", "operator.watchNamespaces")
        mine = [f"--set={key}={{{restricted}}}" for key in (*keys, "operator.secretNamespaces")]
    taken(control_plane, restricted, render(values, *mine, namespace=restricted))


def test_a_pod_that_is_not_restricted_would_have_been_noticed(
    control_plane: Access, restricted: str, render: Callable[..., list[Object]]
) -> None:
    objects = [
        one for one in render("default", namespace=restricted) if one["kind"] == "StatefulSet"
    ]
    del objects[0]["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]
    with pytest.raises(AssertionError, match="PodSecurity"):
        taken(control_plane, restricted, objects)


@pytest.mark.parametrize("base", manifests.BASES)
def test_each_object_of_a_kustomize_base_is_taken_where_an_overlay_puts_it(
    control_plane: Access, restricted: str, tmp_path: Path, base: str
) -> None:
    overlay = {
        "namespace": restricted,
        "resources": [os.path.relpath(manifests.KUSTOMIZE / base, tmp_path)],
        "images": [{"name": "localhost/pilotage", "newName": "example.org/p", "newTag": "7"}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    argv = [str(control_plane.kubectl_program), "kustomize", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    assert manifests.NAMESPACE not in done.stdout
    assert done.stdout.count("image: example.org/p:7") == 3
    taken(control_plane, restricted, objects)
    kinds = {one["kind"] for one in objects}
    assert ("ClusterRole" in kinds) == (base == "cluster")
    assert ("CustomResourceDefinition" in kinds) == (base == "cluster")
