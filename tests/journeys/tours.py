"""Run the tour of an example as its guide says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def toured(example: str) -> subprocess.CompletedProcess[str]:
    """What the tour of `examples/EXAMPLE` printed, with nothing of ours in its environment."""
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PILOTAGE_", "MCP_"))}
    return subprocess.run(
        ["bash", f"examples/{example}/tour.sh"],
        cwd=ROOT,
        env={**kept, "PATH": programs},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
