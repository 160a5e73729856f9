"""The API server goes away, others write the same objects, and the CRDs are changed: with the whole
operator, by its own rights."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.handle import Cluster

from operator_rig import ROOT, Rig, install, rigged, until

GROUP = "mcp.example.com"
CRD = ROOT / "deploy/crds/mcptools.yaml"
SCAN, CHECK = {"builtin": "security_scanner"}, {"builtin": "code_quality_checker"}


@pytest.fixture
def own_rig(own_control_plane: Cluster, tmp_path: Path) -> Iterator[Rig]:
    """With an API server of its own, to be stopped."""
    install(own_control_plane)
    own_control_plane.kubectl("create", "namespace", "shop")
    with rigged(own_control_plane, "shop", tmp_path) as made:
        made.operate()
        yield made


def stands(rig: Rig, name: str, builtin: str) -> None:
    """The server has it as the object says now, and the status says so of the newest generation."""
    rig.wait("mcptool", name, "Ready")
    view = rig.house.registered(f"{rig.namespace}.{name}")
    assert view is not None
    assert view["definition"]["tool"] == builtin


def test_an_api_server_that_is_killed_and_comes_back_is_followed_again(
    own_rig: Rig, own_control_plane: Cluster
) -> None:
    own_rig.apply("MCPTool", "before", SCAN)
    stands(own_rig, "before", "security_scanner")
    own_control_plane.kill()
    own_control_plane.start()
    own_rig.apply("MCPTool", "before", CHECK)
    own_rig.apply("MCPTool", "after", SCAN)
    stands(own_rig, "before", "code_quality_checker")
    stands(own_rig, "after", "security_scanner")
    assert not own_rig.operators[0].ended
    own_rig.kubectl("delete", "mcptool", "before", "--timeout=60s")
    assert own_rig.house.registered("shop.before") is None


def test_a_later_version_of_the_crd_is_served_beside_while_the_operator_runs(own_rig: Rig) -> None:
    """v1beta1, which is stored from now on, with a word more; no conversion is needed."""
    own_rig.apply("MCPTool", "old", SCAN)
    stands(own_rig, "old", "security_scanner")
    crd: dict[str, Any] = yaml.safe_load(CRD.read_text())
    (alpha,) = crd["spec"]["versions"]
    beta = yaml.safe_load(yaml.safe_dump(alpha))
    beta["name"], alpha["storage"] = "v1beta1", False
    beta["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["note"] = {
        "type": "string"
    }
    crd["spec"]["versions"].append(beta)
    own_rig.access.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump(crd))
    meta = {"name": "new", "namespace": own_rig.namespace}
    spec = {**SCAN, "note": "of the later version"}
    made = {"apiVersion": f"{GROUP}/v1beta1", "kind": "MCPTool", "metadata": meta, "spec": spec}

    def applied() -> bool:
        argv = ("apply", "-f", "-")  # until the API server serves it
        done = own_rig.access.run_kubectl(*argv, input=yaml.safe_dump(made))
        return done.returncode == 0

    until(applied, "v1beta1")
    stands(own_rig, "new", "security_scanner")
    own_rig.apply("MCPTool", "old", CHECK)
    stands(own_rig, "old", "code_quality_checker")


@contextmanager
def storm(rig: Rig, name: str) -> Iterator[list[int]]:
    """Somebody else writes the same object all the while; how often is counted."""
    over, count = threading.Event(), [0]

    def write() -> None:
        while not over.is_set():
            rig.kubectl("annotate", "mcptool", name, f"storm={count[0]}", "--overwrite")
            count[0] += 1

    threads = [threading.Thread(target=write) for _ in range(3)]
    for one in threads:
        one.start()
    try:
        yield count
    finally:
        over.set()
        for one in threads:
            one.join()


def test_while_others_write_the_same_object_each_change_arrives(rig: Rig) -> None:
    rig.apply("MCPTool", "busy", SCAN)
    with storm(rig, "busy") as count:
        for spec in (CHECK, SCAN, CHECK):
            patch = f'-p={{"spec":{{"builtin":"{spec["builtin"]}"}}}}'
            rig.kubectl("patch", "mcptool", "busy", "--type=merge", patch)
            stands(rig, "busy", spec["builtin"])
        until(lambda: count[0] >= 10, "a storm")
    rig.kubectl("delete", "mcptool", "busy", "--timeout=60s")
    assert rig.house.registered(f"{rig.namespace}.busy") is None


def test_a_change_that_comes_while_the_server_still_thinks_is_the_last_word(rig: Rig) -> None:
    rig.apply("MCPTool", "slow", SCAN)
    stands(rig, "slow", "security_scanner")
    rig.house.program.freeze()
    try:
        rig.kubectl("patch", "mcptool", "slow", "--type=merge", '-p={"spec":{"suspend":true}}')
        rig.kubectl(
            "patch", "mcptool", "slow", "--type=merge",
            '-p={"spec":{"suspend":false,"builtin":"code_quality_checker"}}',
        )  # fmt: skip
    finally:
        rig.house.program.thaw()
    stands(rig, "slow", "code_quality_checker")


def test_what_is_suspended_and_resumed_at_once_can_be_called(rig: Rig) -> None:
    """The status of the first change need not be in our cache when the second comes."""
    rig.apply("MCPTool", "brief", SCAN)
    stands(rig, "brief", "security_scanner")
    for _ in range(8):
        for on in ("true", "false"):
            patch = f'-p={{"spec":{{"suspend":{on}}}}}'
            rig.kubectl("patch", "mcptool", "brief", "--type=merge", patch)
        stands(rig, "brief", "security_scanner")
