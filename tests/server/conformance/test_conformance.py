"""The official conformance suite, for the scenarios that are about what we do.

Each requirement set runs once, whole; each listed scenario is then a test. One that did not run
fails. The suite is a npm package and wants Node 22; both are installed once, into the cache.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotage import config

SUITE = "0.2.0-alpha.12"
NODE = "22.23.3"
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
SCENARIOS = {
    "2025-11-25": (
        "server-initialize",
        "ping",
        "tools-list",
        *TOOLS,
        "server-sse-multiple-streams",
        "dns-rebinding-protection",
        "server-session-lifecycle",
        "json-schema-2020-12",
    ),
    "2026-07-28": (
        "server-stateless",
        "tools-list",
        *TOOLS,
        "server-sse-multiple-streams",
        "dns-rebinding-protection",
        "json-schema-2020-12",
        "http-header-validation",
        "http-custom-header-server-validation",
    ),
}
NOT_OURS = {
    "sep-2575-server-rejects-undeclared-capability": "no tool asks a client for a capability",
    "sep-2575-missing-capability-http-400": "no tool asks a client for a capability",
    "sep-2575-http-server-no-independent-requests-on-stream": "no tool asks a client anything",
}
"""Checks that the suite calls "not testable" without a tool of a kind that we do not have."""


@pytest.fixture(scope="session")
def suite() -> Path:
    """The folder with the suite and its Node."""
    folder = config.cache_folder(os.environ) / f"conformance-{SUITE}"
    if folder.exists():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        if os.environ.get("CI"):
            pytest.fail("npm is missing, and CI must run the conformance suite")
        pytest.skip("npm is missing, which installs the conformance suite")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as made:
        packages = [f"node@{NODE}", f"@modelcontextprotocol/conformance@{SUITE}"]
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", made, *packages]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        try:
            Path(made).rename(folder)
        except OSError:  # another run was first
            assert folder.exists()
    return folder


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    env = {
        **os.environ,
        "PILOTAGE_HOME": str(tmp_path_factory.mktemp("home")),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-m", "server.conformance.program"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(60)


Results = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def results(
    suite: Path, address: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Results]:
    """For each requirement set, the checks of each scenario that ran."""
    found: dict[str, Results] = {}
    modules = suite / "node_modules"
    for revision in SCENARIOS:
        out = tmp_path_factory.mktemp("conformance")
        subprocess.run(
            [
                modules / ".bin" / "node",
                modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js",
                *("server", "--url", f"{address}/mcp", "--requirements", revision, "-o", out),
            ],
            capture_output=True,
            timeout=300,
        )
        found[revision] = {
            path.parent.name[len("server-") : -len("-2026-11-24T19-30-58-303Z")]: json.loads(
                path.read_bytes()
            )
            for path in out.glob("server-*/checks.json")
        }
    return found


@pytest.mark.parametrize(
    ("revision", "scenario"),
    [(revision, name) for revision, names in SCENARIOS.items() for name in names],
)
def test_the_scenario_ran_and_passed(
    results: dict[str, Results], revision: str, scenario: str
) -> None:
    assert scenario in results[revision], f"did not run; ran: {sorted(results[revision])}"
    checks = results[revision][scenario]
    assert any(check["status"] == "SUCCESS" for check in checks)
    failed = {
        check["id"]: check.get("errorMessage", "")
        for check in checks
        if check["status"] in ("FAILURE", "WARNING")
    }
    for name in NOT_OURS.keys() & failed.keys():
        assert failed.pop(name).startswith("Not testable"), name
    assert failed == {}
