"""The official conformance suite, a npm package that wants Node 22; both are installed once, into
the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from pilotage import config

SUITE = "0.2.0-alpha.12"
NODE = "22.23.3"


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
