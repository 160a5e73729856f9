"""Folders of advisories for osv."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/01-first-gate/advisories"


@pytest.fixture
def advisories(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ten advisories of the demo, as the user's own folder."""
    monkeypatch.setenv("PILOTAGE_ADVISORIES", str(EXAMPLE))
    return EXAMPLE
