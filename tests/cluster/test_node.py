"""The node runs real pods: they roll out, say something, obey, and answer over a Service."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest
from cluster.handle import Cluster, join
from cluster.images import pack, web_image
from cluster.machine import CGROUPS

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: web
        image: localhost/web:1
        imagePullPolicy: Never
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


@pytest.fixture(scope="module")
def image(node_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """localhost/web:1 on the node."""
    node_cluster.import_image(web_image(tmp_path_factory.mktemp("image") / "web.tar"))


@pytest.fixture
def web(node_cluster: Cluster, node_namespace: str, image: None) -> list[str]:
    """The deployment, rolled out in a namespace that enforces the restricted profile; kubectl's
    words for that namespace."""
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    node_cluster.kubectl("label", "namespace", node_namespace, restricted)
    there = [f"--namespace={node_namespace}"]
    node_cluster.kubectl("apply", "-f", "-", *there, input=WEB)
    node_cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s", *there)
    return there


def test_a_deployment_rolls_out_under_the_restricted_profile(
    node_cluster: Cluster, web: list[str]
) -> None:
    pods = json.loads(node_cluster.kubectl("get", "pods", "-o", "json", *web))["items"]
    assert [one["status"]["phase"] for one in pods] == ["Running", "Running"]


def test_a_service_answers_this_machine_and_a_pod(node_cluster: Cluster, web: list[str]) -> None:
    address = node_cluster.kubectl(
        "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}", *web
    )
    with urllib.request.urlopen(f"http://{address}/", timeout=30) as answer:
        assert answer.read() == b"web 1\n"
    ask = ["exec", "deployment/web", *web, "--", "wget", "-qO-", f"http://{address}/"]
    assert node_cluster.kubectl(*ask) == "web 1\n"


def test_exec_and_logs_reach_the_container(node_cluster: Cluster, web: list[str]) -> None:
    said = node_cluster.kubectl("exec", "deployment/web", *web, "--", "id", "-u")
    assert said == "65532\n"
    logs = node_cluster.kubectl("logs", "--selector=app=web", *web)
    assert "response:200" in logs  # the readiness probe's


def test_a_pod_reaches_the_api_server_by_name_with_its_own_account(
    node_cluster: Cluster, node_namespace: str, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    shutil.copy(node_cluster.kubectl_program, tree / "kubectl")
    archive = pack(tmp_path / "kubectl.tar", "localhost/kubectl:1", tree, command=["/kubectl"])
    node_cluster.import_image(archive)
    pod = ["run", "asks", "--image=localhost/kubectl:1", "--image-pull-policy=Never"]
    restart = ["--restart=Never", "--rm", "--attach", "--quiet", f"--namespace={node_namespace}"]
    by_name = "--env=KUBERNETES_SERVICE_HOST=kubernetes.default.svc"
    asked = node_cluster.kubectl(*pod, *restart, by_name, "--", "auth", "whoami")
    assert f"system:serviceaccount:{node_namespace}:default" in asked


def test_a_pod_reaches_what_a_test_serves(node_cluster: Cluster, web: list[str]) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from the test")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer((node_cluster.address, 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://{node_cluster.address}:{server.server_port}/"
        said = node_cluster.kubectl("exec", "deployment/web", *web, "--", "wget", "-qO-", url)
        server.shutdown()
    assert said == "from the test"


def test_a_bad_version_does_not_roll_out_and_the_good_one_stays(
    node_cluster: Cluster, web: list[str]
) -> None:
    change = "spec: {template: {spec: {containers: [{name: web, image: 'localhost/web:none'}]}}}"
    node_cluster.kubectl("patch", "deployment", "web", f"--patch={change}", *web)
    status = ["rollout", "status", "deployment/web", "--timeout=5s", *web]
    assert node_cluster.run_kubectl(*status).returncode == 1
    node_cluster.kubectl("rollout", "undo", "deployment/web", *web)
    node_cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s", *web)


def traces(cluster: Cluster) -> list[str]:
    """What this machine shows of a node: its cable, routes, rules, mounts, cgroups."""
    number = cluster.address.split(".")[2]
    names = (f"cluster{number}", f"10.88.{number}.", f"10.90.{number}.", str(cluster.folder))
    lists = (["ip", "-o", "link"], ["ip", "route"], ["iptables-save"], ["cat", "/proc/mounts"])
    said = [subprocess.run(argv, capture_output=True, text=True).stdout for argv in lists]
    lines = "".join(said).splitlines()
    cgroups = [str(one) for one in CGROUPS.glob("*/cluster*") if one.name == names[0]]
    return [line for line in lines if any(name in line for name in names)] + cgroups


def test_nothing_of_a_node_is_left(node_cluster: Cluster, tmp_path: Path) -> None:
    """Beside the one that runs: a second cluster, with a pod, comes and goes."""
    with join(tmp_path, node=True) as second:
        assert second.address != node_cluster.address
        second.import_image(web_image(tmp_path / "web.tar"))
        pod = ["run", "one", "--image=localhost/web:1", "--image-pull-policy=Never"]
        second.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
        second.kubectl(*pod)
        second.kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=120s")
        seen = traces(second)
        assert not any("KUBE-" in line or "overlay" in line for line in seen)
        assert len(seen) > 3
    assert traces(second) == []
    assert not second.folder.exists()
