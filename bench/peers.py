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
CONTEXTFORGE = "1.1.0"
KOPF = "1.45.2"
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
    python = _environment(f"fastmcp-{FASTMCP}", [f"fastmcp=={FASTMCP}"], sys.executable)
    return None if python is None else [python, str(HERE / "calls_peer.py")]


def contextforge() -> list[str] | None:
    """The command of ContextForge with a server behind it, which bench/forge_peer.py starts; None,
    and why is printed, where it cannot be had."""
    name = f"mcp-contextforge-gateway-{CONTEXTFORGE}"
    found = _newer_python()
    if found is None:
        print(f"ContextForge {CONTEXTFORGE} is left out: it needs Python 3.12 or 3.13, not found")
        return None
    python = _environment(name, [f"mcp-contextforge-gateway=={CONTEXTFORGE}"], found)
    return None if python is None else [python, str(HERE / "forge_peer.py")]


def kopf() -> list[str] | None:
    """The command of an operator made with kopf; None, and why is printed, where it cannot be."""
    wanted = [f"kopf=={KOPF}", "aiohttp"]
    python = _environment(f"kopf-{KOPF}", wanted, sys.executable)
    return None if python is None else [python, str(HERE / "reconcile_kopf.py")]


def _newer_python() -> str | None:
    """A Python that ContextForge runs on, of pyenv (whose shims may lead nowhere) or of PATH."""
    versions = sorted(Path.home().glob(".pyenv/versions/3.1[23].*/bin"))
    path = os.pathsep.join([*map(str, versions), os.environ.get("PATH", "")])
    return next(filter(None, (shutil.which(f"python3.{n}", path=path) for n in (12, 13))), None)


def _environment(name: str, wanted: list[str], base: str) -> str | None:
    """The python of an environment that has what is wanted, made if need be."""
    home = cache() / name
    python = home / "env" / "bin" / "python"
    ready = home / "ready"
    if not ready.exists():
        uv = shutil.which("uv") or HERE.parent / ".uv" / "bin" / "uv"
        home.mkdir(parents=True, exist_ok=True)
        (home / "overrides.txt").write_text(OVERRIDES, "ascii")
        install = ["--override", str(home / "overrides.txt"), *wanted, *LOOP]
        try:
            subprocess.run(
                [uv, "venv", "--quiet", "--clear", "--python", base, home / "env"], check=True
            )
            subprocess.run(
                [uv, "pip", "install", "--quiet", "--python", python, *install], check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{name} is left out: it could not be installed: {error}")
            return None
        ready.touch()
    return str(python)
