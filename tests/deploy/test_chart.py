"""The chart as Helm renders it: golden files, what it refuses, whose rights it gives."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import manifests
import pytest
import yaml
from cluster.error import ClusterError

Object = dict[str, Any]
Render = Callable[..., list[Object]]
ROOT = manifests.ROOT


def of(objects: list[Object], kind: str, name: str = "") -> list[Object]:
    return [one for one in objects if one["kind"] == kind and name in ("", one["metadata"]["name"])]


def pods(objects: list[Object]) -> list[Object]:
    return [one["spec"]["template"]["spec"] for one in objects if "template" in one.get("spec", {})]


def test_the_chart_lints(helm_program: Path) -> None:
    for values in manifests.SETS:
        file = f"--values={manifests.VALUES / values}.yaml"
        argv = [str(helm_program), "lint", "--strict", str(manifests.CHART), file]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        assert "0 chart(s) failed" in done.stdout
        assert "WARNING" not in done.stdout


def test_the_golden_files_and_the_kustomize_bases_are_what_the_chart_renders(
    helm_program: Path,
) -> None:
    assert manifests.stale() == [], "look at the difference, then: checks/manifests.py"


def test_a_packaged_chart_has_in_it_what_the_folder_has_by_links(
    helm_program: Path, tmp_path: Path
) -> None:
    argv = [str(helm_program), "package", str(manifests.CHART), f"--destination={tmp_path}"]
    subprocess.run(argv, check=True, capture_output=True)
    (package,) = tmp_path.glob("*.tgz")
    where = f"--namespace={manifests.NAMESPACE}"
    argv = [str(helm_program), "template", "pilotage", str(package), where]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.stdout == manifests.rendered("default")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("operator.replica=3", "additional properties 'replica' not allowed"),
        ("sever.port=80", "additional properties 'sever' not allowed"),
        ("scope=cluser", "value must be one of 'cluster', 'namespace'"),
        ("server.tls.mode=secret", "/server/tls/secretName"),
        ("server.enabled=false", "/operator/serverUrl"),
        (
            "scope=namespace,server.enabled=false,operator.serverUrl=https://a.example,"
            "operator.keySecret=key",
            "operator.clusterName says what the server calls this cluster",
        ),
        ("server.roles.guest.effect={read}", "'effect' not allowed"),
        ("operator.secretNamespaces={Shop}", "does not match pattern"),
        ("server.roles.cluster=null", "missing property 'cluster'"),
    ],
)
def test_a_value_that_means_nothing_is_refused(helm_program: Path, given: str, said: str) -> None:
    with pytest.raises(ClusterError) as refused:
        manifests.rendered("default", f"--set={given}")
    assert said in str(refused.value)


def test_services_are_open_to_tools_under_the_domain_of_the_cluster(helm_program: Path) -> None:
    made = manifests.rendered("default", "--set=operator.clusterDomain=corp.example")
    assert "'*.svc.corp.example'" in made
    assert "cluster.local" not in made


def test_tools_are_given_no_wildcards_and_no_rights_over_rights(helm_program: Path) -> None:
    good = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}
    for wrong in (
        {"apiGroups": ["*"]},
        {"resources": ["*"]},
        {"verbs": ["*"]},
        {"verbs": ["escalate"]},
        {"verbs": ["bind"]},
        {"verbs": ["impersonate"]},
    ):
        rules = json.dumps([{**good, **wrong}])
        with pytest.raises(ClusterError):
            manifests.rendered("default", f"--set-json=server.kubernetes.rules={rules}")


@pytest.mark.parametrize("values", manifests.SETS)
def test_no_rule_is_a_wildcard_or_gives_rights_and_no_cluster_wide_one_reads_secrets(
    render: Render, values: str
) -> None:
    objects = render(values)
    roles = of(objects, "ClusterRole") + of(objects, "Role")
    assert roles
    for role in roles:
        for rule in role["rules"]:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not any("*" in word for word in words), role
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), role
            assert "rbac.authorization.k8s.io" not in rule["apiGroups"], role
    everywhere = {one["roleRef"]["name"] for one in of(objects, "ClusterRoleBinding")}
    for role in of(objects, "ClusterRole"):
        if role["metadata"]["name"] in everywhere:
            assert not [rule for rule in role["rules"] if "secrets" in rule["resources"]]
    for role in of(objects, "Role"):  # who may read any Secret of a namespace is asked for by name
        if role["metadata"]["name"] != "mcp-operator-secrets":
            for rule in role["rules"]:
                assert "secrets" not in rule["resources"] or rule["resourceNames"]


def test_a_namespace_only_install_makes_nothing_of_the_clusters_own(render: Render) -> None:
    objects = render("namespace-only", namespace="team-a")
    assert {one["metadata"].get("namespace") for one in objects} == {"team-a"}
    (operator,) = of(objects, "Deployment")
    args = operator["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {"--refuse-approvals", "--watch-namespaces=$(NAMESPACE)"} <= set(args)
    assert "--refuse-approvals" not in str(of(render("default"), "Deployment"))
    (without,) = of(render("default", "--set=approvals.policy=false"), "Deployment")
    assert "--refuse-approvals" in str(without)


def test_namespaces_of_secrets_are_bound_one_by_one(render: Render) -> None:
    def bound(objects: list[Object]) -> set[str]:
        found = of(objects, "RoleBinding", "mcp-operator-secrets")
        return {one["metadata"]["namespace"] for one in found}

    assert bound(render("default")) == set()
    assert bound(render("default", "--set=operator.secretNamespaces={a,b}")) == {"a", "b"}
    assert bound(render("namespace-only")) == set(), "the operator's own key is there"
    watched = f"--set=operator.watchNamespaces={{{manifests.NAMESPACE},shop}}"
    assert bound(render("namespace-only", watched)) == {"shop"}


@pytest.mark.parametrize("values", manifests.SETS)
def test_every_container_is_restricted_and_has_a_token_only_where_it_uses_one(
    render: Render, values: str
) -> None:
    objects = render(values)
    for account in of(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    tokens = set()
    for pod in pods(objects):
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsUser"] == 65532
        for one in [*pod.get("initContainers", []), *pod["containers"]]:
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
            mounted = [mount["name"] for mount in one["volumeMounts"]]
            if pod["automountServiceAccountToken"] or "token" in mounted:
                tokens.add(one["name"])
    assert tokens == {"key", "operator"} | ({"server"} if values == "everything" else set())


@pytest.mark.parametrize("values", manifests.SETS)
def test_no_key_stands_in_a_manifest(render: Render, values: str) -> None:
    for secret in of(render(values), "Secret"):
        assert "data" not in secret
        assert "stringData" not in secret


KUBERNETES_OWN = (".conditions[]", ".ingressFrom[]", ".egressTo[]", ".tolerations[]")
"""Whoever knows Kubernetes knows what is in these."""


def untold(path: str, schema: dict[str, Any]) -> Iterator[str]:
    """The fields of which `kubectl explain` could say nothing."""
    for name, field in (schema.get("properties") or {}).items():
        here = f"{path}.{name}"
        if "description" not in field:
            yield here
        yield from untold(here, field)
        for below in ("items", "additionalProperties"):
            if isinstance(field.get(below), dict):
                yield from untold(f"{here}[]", field[below])


@pytest.mark.parametrize("file", sorted(one.name for one in (ROOT / "deploy/crds").glob("*.yaml")))
def test_kubectl_explains_each_field(file: str) -> None:
    crd = yaml.safe_load((ROOT / "deploy/crds" / file).read_text())
    for version in crd["spec"]["versions"]:
        fields = version["schema"]["openAPIV3Schema"]["properties"]
        for part in ("spec", "status"):
            found = untold("", {"properties": {part: fields[part]}})
            assert [one for one in found if not any(name in one for name in KUBERNETES_OWN)] == []


def test_the_crds_are_those_of_deploy_crds_under_the_group_that_is_set(render: Render) -> None:
    own = {
        one["metadata"]["name"]: one
        for path in (ROOT / "deploy/crds").glob("*.yaml")
        for one in yaml.safe_load_all(path.read_text())
    }
    found = of(render("default"), "CustomResourceDefinition")
    for one in found:
        kept = one["metadata"].pop("annotations")
        assert kept == {"helm.sh/resource-policy": "keep"}
    assert {one["metadata"]["name"]: one for one in found} == own
    listed = yaml.safe_load((ROOT / "deploy/crds/Kustomization").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "deploy/crds").glob("*.yaml"))

    text = manifests.rendered("everything")
    assert "tools.example.org_" not in text
    assert "mcp.example.com" not in text
    assert {
        one["spec"]["group"] for one in of(render("everything"), "CustomResourceDefinition")
    } == {"tools.example.org"}
    gone = of(render("default", "--set=crds.keep=false"), "CustomResourceDefinition")
    assert not any("annotations" in one["metadata"] for one in gone)


def test_the_operators_rights_are_those_that_its_tests_run_under(render: Render) -> None:
    folder = ROOT / "deploy/kustomize/operator"
    own = [
        one
        for name in ("rbac", "approvals")
        for one in yaml.safe_load_all((folder / f"{name}.yaml").read_text())
    ]
    objects = render("default")
    assert [one for one in own if one not in objects] == []

    readable = f"--set=operator.secretNamespaces={{{manifests.NAMESPACE}}}"
    here = render("namespace-only", readable)
    for role in of(own, "ClusterRole"):
        (narrow,) = of(here, "Role", role["metadata"]["name"])
        kept = [rule for rule in role["rules"] if rule["resources"] != ["namespaces"]]
        assert narrow["rules"] == kept
    (lease,), (narrow,) = of(own, "Role"), of(here, "Role", "mcp-operator-lease")
    assert narrow["rules"] == lease["rules"]


def test_the_roles_are_those_that_ship_with_the_server_and_the_operators() -> None:
    values = yaml.safe_load((ROOT / "deploy/chart/values.yaml").read_text())
    shipped = yaml.safe_load(files("pilotage.policy").joinpath("roles.yaml").read_text())
    roles = values["server"]["roles"]
    assert roles.pop("cluster")["ask"] == ["destroy"]
    assert roles == shipped


def test_what_is_watched_by_prometheus_is_a_port_of_a_service(render: Render) -> None:
    objects = render("everything")
    monitors = of(objects, "ServiceMonitor")
    assert len(monitors) == 2
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        services = [
            one for one in of(objects, "Service") if wanted <= one["metadata"]["labels"].items()
        ]
        (service,) = services
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
        (pod,) = [
            one["spec"]["template"]
            for one in objects
            if service["spec"]["selector"].items()
            <= one.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {}).items()
        ]
        ports = [port["name"] for one in pod["spec"]["containers"] for port in one["ports"]]
        assert service["spec"]["ports"][0]["targetPort"] in ports


def test_who_is_not_named_reaches_nothing(render: Render) -> None:
    objects = render("default")
    rules = {one["metadata"]["name"]: one["spec"] for one in of(objects, "NetworkPolicy")}
    assert rules["mcp-operator"]["ingress"] == []
    (way,) = rules["pilotage"]["ingress"]
    (only,) = way["from"]
    assert only["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"
    for one in rules.values():
        assert one["policyTypes"] == ["Ingress", "Egress"]
    selected = [one["podSelector"]["matchLabels"].items() for one in rules.values()]
    for kind in ("Deployment", "StatefulSet"):
        (workload,) = of(objects, kind)
        labels = workload["spec"]["template"]["metadata"]["labels"].items()
        assert any(wanted <= labels for wanted in selected)
