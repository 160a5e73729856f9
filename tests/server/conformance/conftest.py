"""The official conformance suite, a npm package that wants Node 22."""

from __future__ import annotations

from pathlib import Path

import pytest

from npm import installed

SUITE = "0.2.0-alpha.12"


@pytest.fixture(scope="session")
def suite() -> Path:
    """The folder with the suite and its Node."""
    return installed(f"conformance-{SUITE}", f"@modelcontextprotocol/conformance@{SUITE}")
