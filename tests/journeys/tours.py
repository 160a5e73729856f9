"""Run the tour of an example as its guide says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def toured(
    example: str, *needs: str, seconds: float = 300, path: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """What the tour of `examples/EXAMPLE` printed, with nothing of ours in its environment but
    `more` variables, and folders of programs in `path`. Skips where a program that it `needs` is
    not there, which fails CI."""
    for program in needs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing, which the tour {example} needs")
    programs = ":".join(filter(None, (str(Path(sys.executable).parent), path, os.environ["PATH"])))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PILOTAGE_", "MCP_"))}
    return subprocess.run(
        ["bash", f"examples/{example}/tour.sh"],
        cwd=ROOT,
        env={**kept, **more, "PATH": programs},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
