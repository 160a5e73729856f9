"""Pipelines and runs as the tests of the operator write them."""

from __future__ import annotations

import json
from typing import Any

from operator_rig import Rig, until


def scan(name: str, rig: Rig, **more: Any) -> dict[str, Any]:
    """A step that scans a folder that is not there: it fails, at once and for certain."""
    params = {"source_path": str(rig.folder / "nowhere")}
    return {"name": name, "tool": "security_scanner", "params": params, **more}


def good(name: str, **more: Any) -> dict[str, Any]:
    """A step that succeeds."""
    return {"name": name, "tool": "run_list", "params": {}, **more}


def pipeline(rig: Rig, name: str, *steps: dict[str, Any], **more: Any) -> None:
    rig.apply("MCPPipeline", name, {"steps": list(steps), **more})
    until(lambda: rig.get("mcppipeline", name), name)


def run(rig: Rig, name: str, of: str, **more: Any) -> None:
    rig.apply("MCPPipelineRun", name, {"pipelineRef": {"name": of}, **more})


def ended(rig: Rig, name: str) -> dict[str, Any]:
    def over() -> Any:
        found = rig.get("mcppipelinerun", name)
        return found and found.get("status", {}).get("completionTime") and found["status"]

    status: dict[str, Any] = until(over, f"the end of {name}")
    return status


def waits(rig: Rig, name: str) -> list[dict[str, Any]]:
    def open_ones() -> Any:
        found = rig.get("mcppipelinerun", name)
        return found and found.get("status", {}).get("waiting")

    found: list[dict[str, Any]] = until(open_ones, f"a question of {name}")
    return found


def say(rig: Rig, name: str, entry: dict[str, Any], user: str = "") -> str:
    """Write an approval as a user of the cluster; what kubectl said."""
    patch = json.dumps([{"op": "add", "path": "/spec/approvals/-", "value": entry}])
    argv = ["patch", "mcppipelinerun", name, "--type=json", f"-p={patch}"]
    extra = [f"--as={user}", "--as-group=system:masters"] if user else []
    done = rig.access.run_kubectl(*argv, *extra, f"--namespace={rig.namespace}")
    return done.stdout + done.stderr
