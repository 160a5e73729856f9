"""The control plane is a real one: it refuses, accepts, controls, and remembers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from cluster.access import Access
from cluster.error import ClusterError
from cluster.handle import Cluster

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gauges.tests.example.com}
spec:
  group: tests.example.com
  scope: Namespaced
  names: {kind: Gauge, plural: gauges, singular: gauge}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [low, high]
            properties: {low: {type: integer}, high: {type: integer}}
            x-kubernetes-validations:
            - {rule: self.low < self.high, message: low must be below high}
"""
GAUGE = """
apiVersion: tests.example.com/v1
kind: Gauge
metadata: {name: %s}
spec: {low: %d, high: %d}
"""
JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: once, image: localhost/none:1}]
"""


@pytest.fixture
def gauges(control_plane: Access) -> Iterator[None]:
    """A resource whose rule is in CEL."""
    name = "crd/gauges.tests.example.com"
    control_plane.kubectl("apply", "-f", "-", input=DEFINITION)
    control_plane.kubectl("wait", "--for=condition=Established", name, "--timeout=60s")
    yield
    control_plane.kubectl("delete", name, "--timeout=60s")


def test_its_version_is_one_that_clients_can_read(control_plane: Access) -> None:
    said = control_plane.run_kubectl("version", "-o", "json")
    assert said.returncode == 0
    assert said.stderr == "" or not isinstance(control_plane, Cluster)  # no skew with our own
    assert json.loads(said.stdout)["serverVersion"]["gitVersion"].startswith("v1.")


@pytest.mark.usefixtures("gauges")
def test_a_rule_in_cel_refuses_and_accepts(control_plane: Access, namespace: str) -> None:
    apply = ["apply", "-f", "-", f"--namespace={namespace}"]
    refused = control_plane.run_kubectl(*apply, input=GAUGE % ("bad", 9, 1))
    assert refused.returncode == 1
    assert "low must be below high" in refused.stderr
    control_plane.kubectl(*apply, input=GAUGE % ("good", 1, 9))
    named = control_plane.kubectl("get", "gauges", "-o", "name", f"--namespace={namespace}")
    assert named.split() == ["gauge.tests.example.com/good"]


def test_a_job_gets_its_pod(control_plane: Access, namespace: str) -> None:
    control_plane.kubectl("apply", "-f", "-", f"--namespace={namespace}", input=JOB)
    pod = ["pod", "--selector=job-name=once", f"--namespace={namespace}", "--timeout=60s"]
    control_plane.kubectl("wait", "--for=create", *pod)


def test_a_deleted_namespace_takes_what_is_in_it(control_plane: Access, namespace: str) -> None:
    control_plane.kubectl("create", "configmap", "note", f"--namespace={namespace}")
    control_plane.kubectl("create", "namespace", f"{namespace}-2")
    control_plane.kubectl("create", "configmap", "note", f"--namespace={namespace}-2")
    control_plane.kubectl("delete", "namespace", f"{namespace}-2", "--timeout=60s")
    left = control_plane.kubectl("get", "configmaps", "--all-namespaces", "-o", "json")
    assert f"{namespace}-2" not in left


def test_the_operators_account_may_do_what_it_is_given_and_no_more(
    control_plane: Access, namespace: str
) -> None:
    get = ["get", "configmaps", f"--namespace={namespace}"]
    refused = control_plane.run_kubectl(*get, context="mcp-operator")
    assert "system:serviceaccount:mcp-system:mcp-operator" in refused.stderr
    assert "Forbidden" in refused.stderr
    bound = ["--clusterrole=view", "--serviceaccount=mcp-system:mcp-operator"]
    control_plane.kubectl("create", "rolebinding", "view", *bound, f"--namespace={namespace}")
    assert control_plane.run_kubectl(*get, context="mcp-operator").returncode == 0
    secrets = ["get", "secrets", f"--namespace={namespace}"]
    assert control_plane.run_kubectl(*secrets, context="mcp-operator").returncode == 1


def test_an_api_server_that_starts_again_has_the_same_address_and_objects(
    own_control_plane: Cluster,
) -> None:
    own_control_plane.kubectl("create", "namespace", "kept")
    own_control_plane.kill()
    with pytest.raises(ClusterError, match="refused"):
        own_control_plane.kubectl("get", "namespace", "kept")
    own_control_plane.start()
    kept = own_control_plane.kubectl("get", "namespace", "kept", "-o", "name")
    assert kept == "namespace/kept\n"


def test_a_frozen_api_server_answers_nobody_until_it_thaws(own_control_plane: Cluster) -> None:
    own_control_plane.freeze()
    asked = own_control_plane.run_kubectl("get", "namespaces", "--request-timeout=2s")
    assert asked.returncode != 0
    own_control_plane.thaw()
    own_control_plane.kubectl("get", "namespaces")


def test_controllers_that_were_stopped_catch_up(own_control_plane: Cluster) -> None:
    own_control_plane.stop("kube-controller-manager")
    own_control_plane.kubectl("create", "namespace", "late")
    own_control_plane.start("kube-controller-manager")
    account = ["serviceaccount/default", "--namespace=late", "--timeout=60s"]
    own_control_plane.kubectl("wait", "--for=create", *account)


def test_a_part_that_is_not_there_is_named_with_those_that_are(own_control_plane: Cluster) -> None:
    with pytest.raises(ClusterError, match="kube-apiserver"):
        own_control_plane.stop("kube-unknown")
