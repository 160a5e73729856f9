"""What the account of a cluster needs for a deployment and its way back: the chart's default rules,
on a real node."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.handle import Cluster

from cluster_desk import Desk, desk_at
from deployed_web import settings, web

DEPLOY = "k8s_deployer"
ROOT = Path(__file__).resolve().parents[3]


def rules() -> list[dict[str, Any]]:
    """As the chart gives them to the server in each namespace that is named."""
    values = yaml.safe_load((ROOT / "deploy/chart/values.yaml").read_text())
    found: list[dict[str, Any]] = values["server"]["kubernetes"]["rules"]
    return found


def account(access: Cluster, namespace: str, given: list[dict[str, Any]], file: Path) -> None:
    """Write the kubeconfig of a new account with these rights."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "tools", "namespace": namespace},
        "rules": given,
    }
    space = f"--namespace={namespace}"
    access.kubectl("create", "-f", "-", input=json.dumps(role))
    access.kubectl("create", "serviceaccount", "tools", space)
    bound = ["--role=tools", f"--serviceaccount={namespace}:tools"]
    access.kubectl("create", "rolebinding", "tools", *bound, space)
    token = access.kubectl("create", "token", "tools", space).strip()
    config = yaml.safe_load(access.kubeconfig.read_text())
    one = next(each for each in config["contexts"] if each["name"] == "admin")
    one["context"]["user"] = "tools"
    config["users"] = [{"name": "tools", "user": {"token": token}}]
    file.write_text(yaml.safe_dump({**config, "contexts": [one]}))


@pytest.fixture(params=["as in the chart", "no delete"])
async def limited(
    request: pytest.FixtureRequest,
    node_cluster: Cluster,
    node_namespace: str,
    web_images: None,
    tmp_path: Path,
) -> AsyncIterator[tuple[Desk, bool]]:
    """A desk of such an account, and whether it may delete pods."""
    whole = request.param == "as in the chart"
    given = rules()
    if not whole:
        given = [one for one in given if (one["resources"], one["verbs"]) != (["pods"], ["delete"])]
    file = tmp_path / "limited.kubeconfig"
    account(node_cluster, node_namespace, given, file)
    bounds = {"kubeconfig": str(file)}
    async with desk_at(node_cluster, node_namespace, tmp_path / "desk", **bounds) as made:
        yield made, whole


async def test_a_stateful_set_comes_back_or_it_is_said_what_keeps_it(
    limited: tuple[Desk, bool],
) -> None:
    desk, whole = limited
    labels = {"app": "s"}
    stateful = web(replicas=1)
    stateful |= {"kind": "StatefulSet", "metadata": {"name": "s"}}
    stateful["spec"] |= {"serviceName": "s", "selector": {"matchLabels": labels}}
    stateful["spec"]["template"]["metadata"] = {"labels": labels}
    path = desk.write(settings(a="1"), stateful)
    first = await desk.call(DEPLOY, manifest_path=path, image_tag="1")
    assert first.succeeded, first
    bad = await desk.call(DEPLOY, manifest_path=path, image_tag="none")
    assert "ErrImageNeverPull" in str(bad.error)
    assert bad.value["rolled_back"] is whole, bad
    if whole:
        ready = desk.there("statefulset", "s")["status"]["readyReplicas"]
        assert (ready, "not up again" in str(bad.error)) == (1, False)
        return
    assert "its pods that never became ready keep it from coming up" in str(bad.error)
    assert f"kubectl delete pod s-0 -n {desk.namespace}" in str(bad.error)
    assert "is not rolled out after" not in str(bad.error), "nobody waited for it"
