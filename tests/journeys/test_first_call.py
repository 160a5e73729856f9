"""The tour of examples/07-first-call does what its guide says."""

from __future__ import annotations

import subprocess

import pytest

from journeys.tours import toured


@pytest.fixture(scope="module")
def tour() -> subprocess.CompletedProcess[str]:
    return toured("07-first-call", "curl")


def test_a_tool_is_called_over_rest_over_mcp_and_at_the_terminal(
    tour: subprocess.CompletedProcess[str],
) -> None:
    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert "tools: 200" in tour.stdout
    assert '{"success":true,"outcome":"succeeded","runs":[],"next":null}' in tour.stdout
    assert "{'success': True, 'outcome': 'succeeded', 'runs': [], 'next': None}" in tour.stdout
    assert tour.stdout.count('"role.developer.read"') == 3


def test_who_is_refused_is_told_why(tour: subprocess.CompletedProcess[str]) -> None:
    assert tour.stdout.count("exit 2") == 2
    assert "hint:  known: run\n" in tour.stderr
    assert "hint:  set MCP_API_KEY" in tour.stderr
