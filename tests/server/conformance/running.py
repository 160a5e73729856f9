"""Run one requirement set of the suite, and read what came of each scenario."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

Results = dict[str, list[dict[str, Any]]]
"""The checks of each scenario that ran."""
TOOLS = tuple(
    f"tools-call-{kind}"
    for kind in (
        "simple-text",
        "image",
        "audio",
        "embedded-resource",
        "mixed-content",
        "error",
        "with-progress",
    )
)
"""Scenarios about what a tool may answer."""


def run(suite: Path, address: str, revision: str, out: Path) -> Results:
    modules = suite / "node_modules"
    subprocess.run(
        [
            modules / ".bin" / "node",
            modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js",
            *("server", "--url", f"{address}/mcp", "--requirements", revision, "-o", out),
        ],
        capture_output=True,
        timeout=300,
    )
    return {
        path.parent.name[len("server-") : -len("-2026-11-24T19-30-58-303Z")]: json.loads(
            path.read_bytes()
        )
        for path in out.glob("server-*/checks.json")
    }


def failures(results: Results, scenario: str) -> dict[str, str]:
    """What failed of a scenario, which must have run and passed at least one check."""
    assert scenario in results, f"did not run; ran: {sorted(results)}"
    checks = results[scenario]
    assert any(check["status"] == "SUCCESS" for check in checks)
    return {
        check["id"]: check.get("errorMessage", "")
        for check in checks
        if check["status"] in ("FAILURE", "WARNING")
    }
