"""MCPToolInstances run as real pods in a namespace that enforces the restricted profile, and their
tools are called through a real tool server. One cluster, one server and one operator for all."""

from __future__ import annotations

import json
import re
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.handle import Cluster
from cluster.program import free_port
from cluster.python_images import python_images

from operator_rig import Rig, install, rigged, until

KIND = "mcptoolinstance"
IMAGES = {f"localhost/greeter:{version}": {"VERSION": version} for version in ("1", "2")}
OWNED = ("deployment", "service", "networkpolicy", "serviceaccount")
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
METRICS = free_port()


@pytest.fixture(scope="module")
def rig(node_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """All tests of this file share it: each has instances of its own names."""
    program = Path(__file__).with_name("greeter.py")
    for archive in python_images(program, ["mcp", "uvicorn"], IMAGES):
        node_cluster.import_image(archive)
    install(node_cluster)
    name = f"test-{uuid.uuid4().hex[:10]}"
    node_cluster.kubectl("create", "namespace", name)
    node_cluster.kubectl("label", "namespace", name, RESTRICTED)
    with rigged(node_cluster, name, tmp_path_factory.mktemp("rig")) as made:
        metrics = ["--metrics-bind-address", f"127.0.0.1:{METRICS}"]
        key = ("--key-secret", "operator-key", "--server-namespace", made.namespace)
        made.operate("--service-addresses", "ip", *key, *metrics)
        yield made
    node_cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def name(rig: Rig) -> Iterator[str]:
    """A name for an instance, which is deleted after the test."""
    made = f"g{uuid.uuid4().hex[:6]}"
    yield made
    rig.kubectl("delete", KIND, made, "--ignore-not-found", "--timeout=60s")


def instance(rig: Rig, name: str, version: str = "1", **more: Any) -> None:
    image = {"image": f"localhost/greeter:{version}", "imagePullPolicy": "Never"}
    rig.apply("MCPToolInstance", name, {**image, "prefix": name, **more})


def greeted(rig: Rig, name: str) -> Any:
    """What a pod of it says of itself; None where it cannot be called."""
    said = rig.house.call(f"{name}_greet")
    return said if said.get("success") else None


def owned(rig: Rig, name: str) -> dict[str, str]:
    """Its objects that are there, each with the version it is in."""
    found = [(kind, rig.get(kind, name)) for kind in OWNED]
    return {kind: one["metadata"]["resourceVersion"] for kind, one in found if one is not None}


def reconciled() -> int:
    """How often the operator has looked at an instance."""
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    line = r'controller_runtime_reconcile_total\{controller="mcptoolinstance".*?\} ([0-9.]+)'
    return int(sum(float(one) for one in re.findall(line, text)))


def patch(rig: Rig, kind: str, name: str, **change: Any) -> None:
    rig.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(change))


def test_its_pods_run_restricted_and_its_tools_can_be_called(rig: Rig, name: str) -> None:
    instance(rig, name)
    rig.kubectl("wait", "--for=condition=Ready", f"{KIND}/{name}", "--timeout=120s")
    assert rig.wait(KIND, name, "Ready")["message"] == f"{name}_greet can be called"
    view = rig.house.registered(f"{rig.namespace}.{name}")
    assert view is not None
    assert view["definition"]["refresh"] == 30  # so newer pods are seen that announce nothing
    told = greeted(rig, name)
    assert (told["version"], told["user"], told["token"]) == ("1", 65532, False)
    shown = rig.kubectl("get", "mcpti", name, "--no-headers").split()
    assert shown[:5] == [name, "1", "True", "Ready", "1"]


def test_it_is_scaled_to_some_to_none_and_back(rig: Rig, name: str) -> None:
    instance(rig, name)
    rig.wait(KIND, name, "Ready")
    rig.kubectl("scale", KIND, name, "--replicas=2")

    def ready() -> Any:
        status = (rig.get(KIND, name) or {})["status"]
        return status if status["readyReplicas"] == 2 else None

    selector = until(ready, "two ready pods")["selector"]
    pods = rig.kubectl("get", "pods", "-l", selector, "-o", "name").split()
    assert len(pods) == 2
    rig.kubectl("scale", KIND, name, "--replicas=0")
    rig.wait(KIND, name, "ScaledToZero")
    until(lambda: greeted(rig, name) is None, "nobody answers")
    rig.kubectl("scale", KIND, name, "--replicas=1")
    rig.wait(KIND, name, "Ready")
    # The node learns of a pod that is ready in its own time: the first call may find no way yet.
    assert until(lambda: greeted(rig, name), "an answer")["version"] == "1"


def test_no_pod_runs_and_nobody_calls_while_it_is_suspended(rig: Rig, name: str) -> None:
    instance(rig, name)
    rig.wait(KIND, name, "Ready")
    patch(rig, KIND, name, spec={"suspend": True})
    rig.wait(KIND, name, "Suspended")
    assert "is disabled" in rig.house.call(f"{name}_greet")["error"]
    until(lambda: (rig.get(KIND, name) or {})["status"]["replicas"] == 0, "no pod")
    patch(rig, KIND, name, spec={"suspend": False})
    rig.wait(KIND, name, "Ready")
    assert until(lambda: greeted(rig, name), "an answer")["version"] == "1"


def test_an_image_that_is_not_there_is_said_as_the_cluster_says_it(rig: Rig, name: str) -> None:
    instance(rig, name, version="none")
    said = rig.wait(KIND, name, "ImageNotPulled")
    assert "0 of 1 pod is ready" in said["message"]
    assert "ErrImageNeverPull" in said["message"]
    assert 'image "localhost/greeter:none" is not present' in said["message"]
    assert rig.house.registered(f"{rig.namespace}.{name}") is None
    instance(rig, name)
    rig.wait(KIND, name, "Ready")


def test_pods_that_crash_are_said_to_and_those_of_before_stay(rig: Rig, name: str) -> None:
    instance(rig, name)
    rig.wait(KIND, name, "Ready")
    instance(rig, name, env=[{"name": "VERSION", "value": "broken"}])
    said = rig.wait(KIND, name, "Crashing")
    assert "it ended with exit code 1 (Error)" in said["message"]
    assert rig.wait(KIND, name, "Available", "Available")["status"] == "True"
    assert greeted(rig, name)["version"] == "1"


def test_its_configuration_is_waited_for_and_a_change_of_it_makes_new_pods(
    rig: Rig, name: str
) -> None:
    def configured(place: str) -> None:
        meta = {"name": name, "namespace": rig.namespace}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"place": place}}
        rig.apply_object({**body, "metadata": meta})

    greeting = {"secretKeyRef": {"name": name, "key": "greeting"}}
    place = {"configMapKeyRef": {"name": name, "key": "place"}}
    env = [{"name": "GREETING", **greeting}, {"name": "PLACE", **place}]
    instance(rig, name, env=env)
    assert f"no Secret {name}" in rig.wait(KIND, name, "ConfigMissing")["message"]
    assert owned(rig, name) == {}
    rig.secret(name, other="x")
    until(lambda: "has no key greeting" in rig.wait(KIND, name, "ConfigMissing")["message"])
    rig.secret(name, greeting="Ahoy")
    until(lambda: f"no ConfigMap {name}" in rig.wait(KIND, name, "ConfigMissing")["message"])
    configured("Sea")
    rig.wait(KIND, name, "Ready")
    assert (greeted(rig, name)["greeting"], greeted(rig, name)["place"]) == ("Ahoy", "Sea")
    rig.secret(name, greeting="Servus")
    until(lambda: (greeted(rig, name) or {}).get("greeting") == "Servus", "the new Secret")
    configured("Alm")
    until(lambda: (greeted(rig, name) or {}).get("place") == "Alm", "the new ConfigMap")
    rig.wait(KIND, name, "Ready")
    versions, looks = owned(rig, name), reconciled()
    until(lambda: reconciled() >= looks + 3, "three more looks")
    assert owned(rig, name) == versions  # who looks often writes nothing all the same


def test_what_others_change_of_its_objects_is_as_it_was_again(rig: Rig, name: str) -> None:
    instance(rig, name)
    rig.wait(KIND, name, "Ready")
    container = {"name": "mcp", "image": "localhost/greeter:2"}
    strategic = {"spec": {"replicas": 3, "template": {"spec": {"containers": [container]}}}}
    rig.kubectl("patch", "deployment", name, "-p", json.dumps(strategic))
    patch(rig, "service", name, spec={"selector": {"mcp.example.com/instance": "another"}})
    patch(rig, "networkpolicy", name, spec={"ingress": [{}]})
    patch(rig, "serviceaccount", name, automountServiceAccountToken=True)

    def back() -> bool:
        deployment, service, network, account = (rig.get(kind, name) or {} for kind in OWNED)
        spec = deployment["spec"]
        image = spec["template"]["spec"]["containers"][0]["image"]
        return (
            (spec["replicas"], image) == (1, "localhost/greeter:1")
            and service["spec"]["selector"] == {"mcp.example.com/instance": name}
            and len(network["spec"]["ingress"][0]["from"]) == 1
            and account["automountServiceAccountToken"] is False
        )

    until(back, "what the spec says")
    rig.wait(KIND, name, "Ready")
    assert greeted(rig, name)["version"] == "1"


def test_what_others_delete_of_its_objects_comes_back(rig: Rig, name: str) -> None:
    """A Service that is made anew has another address here, which is approved like any other."""
    instance(rig, name)
    rig.wait(KIND, name, "Ready")
    before = owned(rig, name)
    assert len(before) == len(OWNED)
    for kind in OWNED:
        rig.kubectl("delete", kind, name, "--wait=false")
    until(lambda: len(owned(rig, name)) == 4 and not before.items() & owned(rig, name).items())
    said = rig.wait(KIND, name, "Quarantined")
    assert f"0 tools can be called; {name}_greet waits" in said["message"]
    pins = f"/api/v2/pins/{rig.namespace}.{name}"
    held = rig.house.ask("GET", pins)[1]
    assert rig.house.ask("POST", f"{pins}/approve", {"digest": held["digest"]})[0] == 200
    rig.wait(KIND, name, "Ready")
    assert greeted(rig, name)["version"] == "1"


def test_objects_of_others_are_neither_taken_nor_touched(rig: Rig, name: str) -> None:
    rig.kubectl("create", "deployment", name, "--image=localhost/other:1", "--replicas=0")
    rig.kubectl("create", "service", "clusterip", name, "--tcp=80")
    until(lambda: (rig.get("deployment", name) or {}).get("status", {}).get("observedGeneration"))
    before = owned(rig, name)
    instance(rig, name)
    said = rig.wait(KIND, name, "OwnershipConflict")["message"]
    assert f"there is a Service {name} already" in said
    rig.kubectl("delete", "service", name)
    until(lambda: "is a Deployment" in rig.wait(KIND, name, "OwnershipConflict")["message"])
    assert owned(rig, name) == {"deployment": before["deployment"]}
    rig.kubectl("delete", "deployment", name)
    rig.wait(KIND, name, "Ready")
    assert greeted(rig, name)["version"] == "1"


def test_a_new_version_s_tools_are_seen_and_what_nobody_approved_is_said(
    rig: Rig, name: str
) -> None:
    instance(rig, name)
    rig.wait(KIND, name, "Ready")
    instance(rig, name, version="2")

    def both() -> bool:
        assert greeted(rig, name) is not None  # one version or the other, at any time
        return (rig.condition(KIND, name) or {}).get("reason") == "Quarantined"

    until(both, "the tool that is new")
    said = rig.wait(KIND, name, "Quarantined")
    waits = f"1 tool can be called; {name}_bow waits until somebody approves"
    assert (said["status"], waits in said["message"]) == ("True", True)
    assert greeted(rig, name)["version"] == "2"
    assert "quarantined" in rig.house.call(f"{name}_bow")["error"]
    instance(rig, name, version="2", env=[{"name": "VERSION", "value": "3"}])

    def changed() -> Any:
        one = rig.condition(KIND, name) or {}
        return one if one.get("reason") == "Quarantined" and one["status"] == "False" else None

    assert f"{name}_greet waits" in until(changed, "no tool that is approved")["message"]


def test_what_it_made_and_registered_goes_with_it_and_another_stays(rig: Rig, name: str) -> None:
    instance(rig, name)
    instance(rig, f"{name}-2")
    rig.wait(KIND, name, "Ready")
    rig.wait(KIND, f"{name}-2", "Ready")
    assert greeted(rig, name)["pod"].startswith(f"{name}-")
    rig.kubectl("delete", KIND, f"{name}-2", "--timeout=60s")
    assert rig.house.registered(f"{rig.namespace}.{name}-2") is None
    until(lambda: owned(rig, f"{name}-2") == {}, "its objects are gone")
    assert greeted(rig, name)["version"] == "1"
    assert len(owned(rig, name)) == len(OWNED)


def test_what_cannot_be_is_said_and_nothing_is_made(rig: Rig, name: str) -> None:
    long = name + "x" * 45
    instance(rig, long, prefix="long")
    said = rig.wait(KIND, long, "InvalidSpec")["message"]
    assert "is longer than the 45 characters" in said
    assert owned(rig, long) == {}
    rig.kubectl("delete", KIND, long, "--timeout=60s")
    refused = rig.access.run_kubectl(
        *("create", "-f", "-", f"--namespace={rig.namespace}"),
        input=json.dumps(
            {
                "apiVersion": "mcp.example.com/v1alpha1",
                "kind": "MCPToolInstance",
                "metadata": {"name": "1.x"},
                "spec": {"image": "x"},
            }
        ),
    )
    assert "metadata.name" in refused.stderr
    instance(rig, name, resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})
    said = rig.wait(KIND, name, "Refused")["message"]
    assert "must be less than or equal to cpu limit" in said


def test_the_secret_with_the_operators_key_goes_to_no_pod(rig: Rig, name: str) -> None:
    rig.secret("operator-key", key="x")
    env = [{"name": "KEY", "secretKeyRef": {"name": "operator-key", "key": "key"}}]
    instance(rig, name, env=env)
    assert "the operator's own key" in rig.wait(KIND, name, "InvalidSpec")["message"]
    assert owned(rig, name) == {}
