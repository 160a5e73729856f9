"""Two operators of one cluster: one acts, and the other goes on when it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.access import Access
from cluster.program import Program

from operator_rig import Rig, rigged, until

FLAGS = (
    "--leader-elect", "--leader-election-namespace", "mcp-system",
    "--leader-elect-lease-duration", "4", "--leader-elect-renew-deadline", "3",
    "--leader-elect-retry-period", "0.5",
)  # fmt: skip
BUILT_IN = {"builtin": "security_scanner"}


@pytest.fixture
def pair(installed: Access, namespace: str, tmp_path: Path) -> Iterator[Rig]:
    """Two operators, each with a key of its own at the server, so that each writer is known."""
    with rigged(installed, namespace, tmp_path) as rig:
        for name in ("one", "two"):
            rig.house.keys[name] = rig.house.key("cluster", name)
            rig.operate(*FLAGS, name=name, environment={"MCP_API_KEY": rig.house.keys[name]})
        yield rig


def writer(rig: Rig, tool: str) -> str:
    """By whose key a tool was registered."""
    rig.apply("MCPTool", tool, BUILT_IN)
    rig.wait("mcptool", tool, "Ready")
    entries = rig.house.ask("GET", "/api/v2/audit?event=tool.registered&limit=100")[1]["entries"]
    (by,) = [one["principal"] for one in entries if one["tool"] == f"{rig.namespace}.{tool}"]
    return str(by).removeprefix("key:")


def named(rig: Rig, name: str) -> Program:
    return next(one for one in rig.operators if one.name == name)


@pytest.mark.parametrize("how", ["killed", "stopped", "frozen"])
def test_the_other_goes_on_and_they_never_both_write(pair: Rig, how: str) -> None:
    first = writer(pair, "before")
    other = {"one": "two", "two": "one"}[first]
    leader = named(pair, first)
    if how == "frozen":
        leader.freeze()
    else:
        leader.stop(kill=how == "killed")
    assert writer(pair, "after") == other
    if how == "frozen":
        leader.thaw()
        until(lambda: leader.ended, "its end: it leads no more")
        assert writer(pair, "later") == other
