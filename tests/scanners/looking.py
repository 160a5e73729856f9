"""Run one pass for real, as the engine does: stage, locked environment, parse. Without the sandbox,
so that what the flags and the stage do not stop shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pilotage.config import cache_folder
from pilotage.domain.call import silent
from pilotage.domain.scan import ScannerRun
from pilotage.scan.environment import Environments
from pilotage.scan.run_pass import Ground, run_pass
from pilotage.scan.scanner import Parsed, Raw, Scanner
from pilotage.scan.stage import stage


def plant(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


async def look(scanner: Scanner, folder: Path, kept: list[Raw] | None = None) -> ScannerRun:
    """The first pass over a stage of `folder`. `kept` gets what the program left behind."""
    each = scanner.passes[0]

    def parse(raw: Raw) -> Parsed:
        if kept is not None:
            kept.append(raw)
        return each.parse(raw)

    installed = await Environments(cache_folder(os.environ)).ensure(scanner, silent)
    async with stage(folder) as copy:
        ground = Ground(copy.path, copy.files, sandboxed=False)
        return copy.restore(await run_pass(scanner, replace(each, parse=parse), installed, ground))
