"""The tool server goes away, fails, hangs and forgets; objects come and go meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.access import Access

from operator_faults import faulty
from operator_rig import House, Rig, rigged, until

BUILT_IN = {"builtin": "security_scanner"}


@pytest.fixture
def still(installed: Access, namespace: str, tmp_path: Path) -> Iterator[Rig]:
    """A rig whose operator is not started yet."""
    with rigged(installed, namespace, tmp_path) as made:
        yield made


def test_a_server_that_is_away_is_said_and_everything_is_registered_once_it_is_back(
    rig: Rig,
) -> None:
    rig.apply("MCPTool", "before", BUILT_IN)
    rig.wait("mcptool", "before", "Ready")
    rig.house.stop(kill=True)
    said = rig.wait("mcptool", "before", "ServerUnreachable")  # nobody can call it now
    assert said["status"] == "Unknown"
    rig.apply("MCPTool", "during", BUILT_IN)
    said = rig.wait("mcptool", "during", "ServerUnreachable")
    assert (said["status"], rig.house.url in said["message"]) == ("Unknown", True)
    rig.house.start()
    for name in ("before", "during"):
        rig.wait("mcptool", name, "Ready")
    assert rig.house.registered(f"{rig.namespace}.before") is not None


def test_a_server_that_has_forgotten_everything_is_told_everything_again(rig: Rig) -> None:
    names = ("one", "two", "three")
    for name in names:
        rig.apply("MCPTool", name, BUILT_IN)
    for name in names:
        rig.wait("mcptool", name, "Ready")
    rig.house.stop()
    shutil.rmtree(rig.house.home)
    keys = rig.house.keys
    rig.house = House(rig.house.home, rig.house.settings, rig.house.port)  # new: nothing, no keys
    rig.operators.pop().stop()
    assert rig.house.keys != keys
    rig.house.start()
    rig.operate()
    for name in names:
        until(lambda name=name: rig.house.registered(f"{rig.namespace}.{name}"), name)


@pytest.mark.parametrize("how", ["fail", "garbage", "hang"])
def test_a_server_that_fails_is_said_and_not_hammered(still: Rig, how: str) -> None:
    with faulty(how) as server:
        still.server = f"http://127.0.0.1:{server.server_port}"
        still.operate()
        for number in range(20):
            still.apply("MCPTool", f"tool-{number}", BUILT_IN)
        said = still.wait("mcptool", "tool-0", "ServerUnreachable")
        assert said["status"] == "Unknown"
        still.wait("mcptool", "tool-19", "ServerUnreachable")
        assert server.asked < 20  # twenty objects wait, and one of them asks


def test_an_object_whose_server_is_away_can_be_deleted_by_force(rig: Rig) -> None:
    rig.apply("MCPTool", "stuck", BUILT_IN)
    rig.wait("mcptool", "stuck", "Ready")
    rig.house.stop(kill=True)
    rig.kubectl("delete", "mcptool", "stuck", "--wait=false")
    said = rig.wait("mcptool", "stuck", "Terminating")
    assert "not unregistered" in said["message"]
    rig.kubectl("annotate", "mcptool", "stuck", "mcp.example.com/force-delete=true")
    until(lambda: rig.get("mcptool", "stuck") is None, "its end")
    rig.house.start()
    name = f"{rig.namespace}.stuck"  # what was left there is taken away
    until(lambda: rig.house.registered(name) is None, "the sweep")


def test_what_is_registered_for_an_object_that_was_wrenched_away_is_taken_away(rig: Rig) -> None:
    """Its finalizer was removed by hand while no operator ran: nobody told the server."""
    rig.apply("MCPTool", "wrenched", BUILT_IN)
    rig.apply("MCPTool", "stays", BUILT_IN)
    rig.wait("mcptool", "wrenched", "Ready")
    rig.wait("mcptool", "stays", "Ready")
    rig.operators.pop().stop(kill=True)
    patch = '-p={"metadata":{"finalizers":null}}'
    rig.kubectl("patch", "mcptool", "wrenched", "--type=merge", patch)
    rig.kubectl("delete", "mcptool", "wrenched")
    rig.operate()
    until(lambda: rig.house.registered(f"{rig.namespace}.wrenched") is None, "the sweep")
    assert rig.house.registered(f"{rig.namespace}.stays") is not None


def test_what_somebody_has_changed_or_removed_at_the_server_comes_back(rig: Rig) -> None:
    """Drift: the cluster says what there is."""
    rig.apply("MCPTool", "mine", BUILT_IN)
    rig.wait("mcptool", "mine", "Ready")
    name = f"{rig.namespace}.mine"
    assert rig.house.ask("DELETE", f"/api/v2/tools/{name}")[0] == 204
    until(lambda: rig.house.registered(name), "its return")
