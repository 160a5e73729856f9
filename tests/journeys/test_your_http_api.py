"""The tour of examples/04-your-http-api does what its guide says."""

from __future__ import annotations

import json
import subprocess

import pytest

from journeys.tours import toured

TOKEN = "demo-token-of-the-help-desk"


@pytest.fixture(scope="module")
def tour() -> subprocess.CompletedProcess[str]:
    return toured("04-your-http-api", "curl")


def test_the_tour_ends_well(tour: subprocess.CompletedProcess[str]) -> None:
    assert tour.returncode == 0, tour.stdout + tour.stderr
    assert "the chain holds" in tour.stdout


def test_both_ways_register_and_both_ways_call(tour: subprocess.CompletedProcess[str]) -> None:
    lines = tour.stdout.splitlines()
    assert "ticket_show is ready" in lines
    assert "ticket_note: 201" in lines
    shown = next(json.loads(line) for line in lines if line.startswith('{"success":true'))
    assert (shown["status"], shown["result"]["title"]) == (200, "The login page is slow")
    assert '"It is the database."' in tour.stdout


def test_what_is_refused_says_why(tour: subprocess.CompletedProcess[str]) -> None:
    assert "exit 2" in tour.stdout
    assert "ticket_show: id: " in tour.stderr
    assert "/tickets/{id} answered 404: " in tour.stdout
    assert "ticket_note is disabled" in tour.stdout + tour.stderr


def test_the_token_shows_nowhere(tour: subprocess.CompletedProcess[str]) -> None:
    assert TOKEN not in tour.stdout + tour.stderr
