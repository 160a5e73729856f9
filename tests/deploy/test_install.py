"""The chart, installed with our own image on a node that runs it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import manifests
import pytest
import yaml
from cluster.error import PartMissing
from cluster.handle import Cluster

sys.path.insert(0, str(manifests.ROOT / "deploy/image"))

import build

SYSTEM, TEAM = "mcp-system", "team-a"
LONG = 180.0
OPERATOR = {"watchNamespaces": [SYSTEM, "default"]}
"""It leaves the namespace TEAM to others."""
SERVER = {"kubernetes": {"namespaces": ["default"]}}


class Release:
    """What `helm install` has made, and who looks at it."""

    def __init__(self, cluster: Cluster, helm: Path) -> None:
        self.cluster, self._helm = cluster, helm

    def helm(self, *argv: str) -> str:
        env = {**os.environ, **self.cluster.environment}
        done = subprocess.run([self._helm, *argv], env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stderr}\n{self.told()}"
        return done.stdout

    def install(self, verb: str, namespace: str, **values: Any) -> str:
        """With --wait: it returns when all pods are ready."""
        given = {"image": {"pullPolicy": "Never"}, **values}
        more = [f"--set-json={key}={json.dumps(value)}" for key, value in given.items()]
        where = f"--namespace={namespace}"
        return self.helm(
            verb, "pilotage", str(manifests.CHART), where, "--wait", f"--timeout={LONG:.0f}s", *more
        )

    def kubectl(self, *argv: str, namespace: str = SYSTEM, input: str | None = None) -> str:
        return self.cluster.kubectl(f"--namespace={namespace}", *argv, input=input)

    def told(self) -> str:
        """What the pods say, for who looks at a failure."""
        texts = [self.kubectl("get", "pods,events,pvc", "-o=wide")]
        for name in ("pilotage", "mcp-operator"):
            argv = ("logs", f"--selector=app.kubernetes.io/name={name}", "--all-containers")
            texts.append(self.cluster.run_kubectl(*argv, f"--namespace={SYSTEM}").stdout)
        return "\n".join(texts)[-6_000:]

    def key(self, namespace: str = SYSTEM) -> str:
        found = self.kubectl(
            "get", "secret", "pilotage-operator-key", "-o=json", namespace=namespace
        )
        return base64.b64decode(json.loads(found)["data"]["key"]).decode()

    def tool(self, name: str, namespace: str, builtin: str = "run_list") -> None:
        """An MCPTool, once it is Ready."""
        body = {
            "apiVersion": "mcp.example.com/v1alpha1",
            "kind": "MCPTool",
            "metadata": {"name": name},
            "spec": {"builtin": builtin},
        }
        self.kubectl("apply", "-f", "-", namespace=namespace, input=json.dumps(body))
        ready = ("wait", "--for=condition=Ready", f"mcptool/{name}", f"--timeout={LONG:.0f}s")
        try:
            self.kubectl(*ready, namespace=namespace)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.told()}") from None

    def call(
        self, tool: str, arguments: Mapping[str, Any] = {}, namespace: str = SYSTEM
    ) -> dict[str, Any]:
        """At the server of a namespace, over TLS, by the Service's name, with a person's key."""
        inside = ("exec", "pilotage-0", "--container=server", "--")
        name = f"me-{time.monotonic_ns()}"
        made = (*inside, "pilotage", "keys", "create", name, "--role", "developer")
        key = self.kubectl(*made, namespace=namespace).strip()
        url = f"MCP_SERVER_URL=https://pilotage.{namespace}.svc:8080"
        asked = ("env", url, f"MCP_API_KEY={key}", "pilotage", "call", tool)
        words = (f"--json={json.dumps(dict(arguments))}",)
        where = f"--namespace={namespace}"  # a call that failed has its answer, and an exit code
        done = self.cluster.run_kubectl(where, *inside, *asked, *words)
        assert done.stdout, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture(scope="module")
def release(
    own_node_cluster: Cluster, helm_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Release:
    """Installed in one go, in a namespace of restricted pods, with the state on a volume."""
    try:
        archive = build.image()
    except PartMissing as missing:
        pytest.skip(f"no image here: {missing.what}: {missing.hint}")
    own_node_cluster.import_image(archive)
    made = Release(own_node_cluster, helm_program)
    made.kubectl("apply", "-f", "-", input=json.dumps(_volume(tmp_path_factory.mktemp("state"))))
    for name in (SYSTEM, TEAM):
        if name != SYSTEM or made.cluster.run_kubectl("get", "namespace", name).returncode:
            made.kubectl("create", "namespace", name)
        made.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    made.install("install", SYSTEM, operator=OPERATOR, server=SERVER)
    return made


def _volume(folder: Path) -> dict[str, Any]:
    """A disk of the node."""
    here = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
    spec = {
        "capacity": {"storage": "5Gi"},
        "accessModes": ["ReadWriteOnce"],
        "local": {"path": str(folder)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "state"},
        "spec": spec,
    }


def until(true: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + LONG
    while not (found := true()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.5)
    return found


def test_one_install_brings_up_a_server_and_two_operators(release: Release) -> None:
    pods = json.loads(release.kubectl("get", "pods", "-o=json"))["items"]
    assert len(pods) == 3
    for pod in pods:
        assert [one["restartCount"] for one in pod["status"]["containerStatuses"]] == [0]
    release.tool("runs", "default")
    assert release.call("default.runs")["outcome"] == "succeeded"


def test_the_key_is_in_the_secret_and_nowhere_else(release: Release) -> None:
    key = release.key()
    assert key.startswith("plt_")
    for what in ("manifest", "values", "notes"):
        assert key not in release.helm("get", what, "pilotage", f"--namespace={SYSTEM}")
    assert key not in release.told()
    account = f"--as=system:serviceaccount:{SYSTEM}:mcp-operator"
    for verb in ("get", "list"):
        done = release.cluster.run_kubectl(
            "auth", "can-i", verb, "secrets", account, f"--namespace={SYSTEM}"
        )
        assert done.stdout.strip() == "no"


def test_tools_of_the_server_reach_the_namespaces_that_they_are_given_and_no_others(
    release: Release,
) -> None:
    release.tool("cluster", "default", builtin="k8s_resource_manager")
    words = {"resource_type": "services", "action": "list"}
    told = release.call("default.cluster", {**words, "namespace": SYSTEM})
    assert told["outcome"] == "failed"
    assert "is forbidden" in told["error"]
    told = release.call("default.cluster", {**words, "namespace": "default"})
    assert told["outcome"] == "succeeded", told
    assert '"name": "kubernetes"' in json.dumps(told)


def test_an_upgrade_brings_new_settings_and_leaves_key_and_tools(release: Release) -> None:
    release.tool("kept", "default")
    key = release.key()
    before = release.kubectl("get", "pod", "pilotage-0", "-o=jsonpath={.metadata.uid}")
    release.install(
        "upgrade",
        SYSTEM,
        operator=OPERATOR,
        server={**SERVER, "settings": {"limits": {"key": {"rate": "600/minute"}}}},
    )
    assert before != release.kubectl("get", "pod", "pilotage-0", "-o=jsonpath={.metadata.uid}")
    inside = ("exec", "pilotage-0", "--container=server", "--", "cat")
    assert "600/minute" in release.kubectl(*inside, "/var/lib/pilotage/config.yaml")
    assert release.key() == key
    assert release.call("default.kept")["outcome"] == "succeeded"


def test_a_key_that_was_taken_out_of_the_secret_is_renewed_and_the_operators_find_it(
    release: Release,
) -> None:
    old = release.key()
    gone = json.dumps([{"op": "remove", "path": "/data/key"}])
    release.kubectl("patch", "secret", "pilotage-operator-key", "--type=json", f"-p={gone}")
    release.kubectl("rollout", "restart", "statefulset/pilotage")
    release.kubectl("rollout", "status", "statefulset/pilotage", f"--timeout={LONG:.0f}s")
    assert release.key() != old
    release.tool("later", "default")  # by an operator that has started again, by itself
    assert release.call("default.later")["outcome"] == "succeeded"


def test_a_namespace_has_a_server_and_an_operator_of_its_own_and_makes_nothing_elsewhere(
    release: Release,
) -> None:
    def everywhere() -> set[str]:
        kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,namespaces"
        return set(release.cluster.kubectl("get", kinds, "-o=name").split())

    before = everywhere()
    said = release.install(
        "install",
        TEAM,
        scope="namespace",
        crds={"install": False},
        server={"persistence": {"enabled": False}},
    )
    assert "Approvals that stand in MCPPipelineRuns are refused" in said
    assert everywhere() == before
    release.tool("runs", TEAM)
    assert release.call(f"{TEAM}.runs", namespace=TEAM)["outcome"] == "succeeded"


def test_what_is_uninstalled_leaves_the_declarations_and_the_state(release: Release) -> None:
    release.tool("stays", "default")
    release.helm("uninstall", "pilotage", f"--namespace={SYSTEM}", "--wait")
    assert "stays" in release.kubectl("get", "mcptools", namespace="default")
    claims = yaml.safe_load(release.kubectl("get", "pvc", "-o=json"))["items"]
    assert [one["status"]["phase"] for one in claims] == ["Bound"]
    until(lambda: "pilotage-0" not in release.kubectl("get", "pods"), "the end of the pod")

    release.install("install", SYSTEM, operator=OPERATOR, server=SERVER)
    assert release.call("default.stays")["outcome"] == "succeeded"

    release.cluster.kubectl("delete", "mcp", "--all", "--all-namespaces", f"--timeout={LONG:.0f}s")
    release.helm("uninstall", "pilotage", f"--namespace={SYSTEM}", "--wait")
    crds = str(manifests.ROOT / "deploy/crds")
    release.cluster.kubectl("delete", "-k", crds, f"--timeout={LONG:.0f}s")
