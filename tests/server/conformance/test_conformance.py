"""The official conformance suite, for the scenarios that are about what we do.

Each requirement set runs once, whole; each listed scenario is then a test. One that did not run
fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.conformance.running import TOOLS, Results, failures, run

TASKS = tuple(
    f"tasks-{about}"
    for about in (
        "lifecycle",
        "capability-negotiation",
        "wire-fields",
        "request-state-removal",
        "request-headers",
        "required-task-error",
        "dispatch-and-envelope",
        "mrtr-input",
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
        *TASKS,
    ),
}
NOT_OURS = {
    "sep-2575-server-rejects-undeclared-capability": "no tool asks a client for a capability",
    "sep-2575-missing-capability-http-400": "no tool asks a client for a capability",
    "sep-2575-http-server-no-independent-requests-on-stream": "no tool asks a client anything",
}
"""Checks that the suite calls "not testable" without a tool of a kind that we do not have."""


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


@pytest.fixture(scope="session")
def results(
    suite: Path, address: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Results]:
    """For each requirement set, the checks of each scenario that ran."""
    out = tmp_path_factory.mktemp
    return {one: run(suite, address, one, out("conformance")) for one in SCENARIOS}


def fast_calls(address: str, era: str) -> float:
    """How many calls of an era took the fast path."""
    where = address.removesuffix("/mcp") + "/metrics"
    with urllib.request.urlopen(where) as answer:
        text = answer.read().decode()
    found = re.findall(rf'pilotage_mcp_fast_calls_total{{era="{era}"\S+ (\S+)', text)
    return sum(map(float, found))


@pytest.mark.parametrize(
    ("revision", "scenario"),
    [(revision, name) for revision, names in SCENARIOS.items() for name in names],
)
def test_the_scenario_ran_and_passed(
    results: dict[str, Results], revision: str, scenario: str
) -> None:
    failed = failures(results[revision], scenario)
    for name in NOT_OURS.keys() & failed.keys():
        assert failed.pop(name).startswith("Not testable"), name
    assert failed == {}


@pytest.mark.parametrize("era", ["modern", "handshake"])
def test_the_calls_of_both_eras_took_the_fast_path(
    results: dict[str, Results], address: str, era: str
) -> None:
    assert results
    plain = [name for name in TOOLS if name != "tools-call-with-progress"]
    assert fast_calls(address, era) >= len(plain)
