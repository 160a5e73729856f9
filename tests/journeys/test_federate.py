"""The tour of examples/05-federate does what its guide says."""

from __future__ import annotations

import subprocess

import pytest

from journeys.tours import toured


@pytest.fixture(scope="module")
def tour() -> subprocess.CompletedProcess[str]:
    return toured("05-federate")


def test_the_tour_ends_well_and_its_rug_pull_is_caught(
    tour: subprocess.CompletedProcess[str],
) -> None:
    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert "notes is registered; " in tour.stdout
    assert '"notes": 1' in tour.stdout
    assert "team_note_add  quarantined: its description changed" in tour.stdout
    assert "wants a file that holds secrets" in tour.stdout
    assert "exit 1\nexit 2" in tour.stdout
    assert "hint:  pilotage tools diff team_note_add" in tour.stderr
    assert '"notes": 2' in tour.stdout, "the call that was refused never reached the server"
    assert "tool.restored" in tour.stdout
    assert "the chain holds" in tour.stdout
