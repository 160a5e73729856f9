"""What a local call pays for at its start: nothing of what only a server or others' tools need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys
from pilotage.cli.main import main
code = main(["call", "scan_findings", "--json", "{}"])
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""
HEAVY = ("aiohttp", "mcp", "fastapi", "yarl", "opentelemetry", "importlib.metadata")
OURS = ("pilotage.upstream", "pilotage.wiring.others", "pilotage.tool.pin", "pilotage.tool.plugins")


def test_a_local_call_loads_nothing_of_servers_and_of_others(tmp_path: Path) -> None:
    environment = {**os.environ, "PILOTAGE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    environment = {k: v for k, v in environment.items() if not k.startswith("OTEL_")}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    code, loaded = json.loads(done.stderr.splitlines()[-1])
    assert code in (0, 1, 2), done.stderr
    assert "pilotage.tool.gateway" in loaded
    assert [one for one in loaded if one.split(".")[0] in HEAVY or one in HEAVY] == []
    assert [one for one in loaded if one.startswith(OURS)] == []
