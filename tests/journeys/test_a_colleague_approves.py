"""The tour of examples/06-a-colleague-approves does what its guide says."""

from __future__ import annotations

import subprocess

import pytest

from journeys.tours import toured


@pytest.fixture(scope="module")
def tour() -> subprocess.CompletedProcess[str]:
    return toured("06-a-colleague-approves")


def test_the_tour_ends_well(tour: subprocess.CompletedProcess[str]) -> None:
    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert "the chain holds" in tour.stdout
    assert "5 asked, all as expected" in tour.stdout
    assert tour.stdout.count(" approval.used") == 2


def test_a_call_waits_and_then_runs_once(tour: subprocess.CompletedProcess[str]) -> None:
    assert "branch_delete waits for a person to approve this call" in tour.stderr
    assert tour.stdout.count("exit 5") == 1
    assert tour.stdout.count('"deleted": "old-login"') == 1
    assert tour.stdout.count('"deleted": "old-logout"') == 1
    assert "was used already" in tour.stderr


def test_who_cheats_is_told_why(tour: subprocess.CompletedProcess[str]) -> None:
    assert "key:agent asked for it, and nobody approves its own call" in tour.stderr
    assert "is for other arguments" in tour.stderr
    assert '"deleted": "main"' not in tour.stdout
    assert tour.stdout.count("exit 2") == 3


def test_the_colleague_sees_the_very_call(tour: subprocess.CompletedProcess[str]) -> None:
    assert 'arguments  {"name": "old-login"}' in tour.stdout
    assert "asked by   key:agent over rest" in tour.stdout
