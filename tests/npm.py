"""Programs from npm that tests run: installed once, with a Node of their own, into the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from pilotage import config

NODE = "node@22.23.3"


def installed(name: str, *packages: str) -> Path:
    """The folder with these packages. Skips where there is no npm; in CI that is a failure."""
    folder = config.cache_folder(os.environ) / name
    if folder.exists():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        if os.environ.get("CI"):
            pytest.fail(f"npm is missing, and CI must run {name}")
        pytest.skip(f"npm is missing, which installs {name}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as made:
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", made, NODE, *packages]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        try:
            Path(made).rename(folder)
        except OSError:  # another run was first
            assert folder.exists()
    return folder
