"""Peers that a bench compares with, each in an environment of its own, never in ours.

An environment is made once, by uv, under ~/.cache/pilotage/bench, by name and version.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FASTMCP = "4.1.6"
LOOP = ("uvicorn", "uvloop", "httptools")
"""What it would run without, slower."""
OVERRIDES = "certifi>=2026.7\n"
"""FastMCP wants a certifi that the index does not have yet; it has nothing to do with speed."""


def cache() -> Path:
    """Where environments of peers are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pilotage" / "bench"


def fastmcp() -> list[str] | None:
    """The command of FastMCP's server, installed if need be; None, and why is printed, where it
    cannot be."""
    home = cache() / f"fastmcp-{FASTMCP}"
    python = home / "env" / "bin" / "python"
    ready = home / "ready"
    if not ready.exists():
        uv = shutil.which("uv") or HERE.parent / ".uv" / "bin" / "uv"
        home.mkdir(parents=True, exist_ok=True)
        (home / "overrides.txt").write_text(OVERRIDES, "ascii")
        install = ["--override", str(home / "overrides.txt"), f"fastmcp=={FASTMCP}", *LOOP]
        try:
            subprocess.run(
                [uv, "venv", "--quiet", "--clear", "--python", sys.executable, home / "env"],
                check=True,
            )
            subprocess.run(
                [uv, "pip", "install", "--quiet", "--python", python, *install], check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"FastMCP {FASTMCP} is left out: it could not be installed: {error}")
            return None
        ready.touch()
    return [str(python), str(HERE / "calls_peer.py")]
