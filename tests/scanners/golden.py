"""Recorded reports and what must be read from them.

`python -m scanners.golden NAME` (in tests/) runs the real scanner on its sample and records anew:
report (standard output), log (standard error), expected.json (what the parser reads, to be checked
by eye before it is committed).
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from pilotage import shelf
from pilotage.scan.scanner import Parsed, Raw, Scanner
from scanners.looking import look, plant
from scanners.samples import SAMPLES

HERE = Path(__file__).parent
ROOT = "/stage"


def recorded(name: str) -> Raw:
    """The recorded run of a scanner over its sample, staged at /stage."""
    folder = HERE / name
    report, log = (folder / "report.json").read_bytes(), (folder / "log.txt").read_bytes()
    return Raw(json.loads((folder / "expected.json").read_bytes())["exit"], report, log, root=ROOT)


def expected(name: str) -> Any:
    return json.loads((HERE / name / "expected.json").read_bytes())


def plain(raw: Raw, parsed: Parsed) -> Any:
    """What was read, as JSON values, without what has its default."""
    read = sorted(parsed.read) if isinstance(parsed.read, frozenset) else parsed.read
    findings = [
        {key: value for key, value in msgspec.to_builtins(finding).items() if value}
        for finding in parsed.findings
    ]
    unread = [[item.path, item.why] for item in parsed.unread]
    seen = {"exit": raw.exit, "read": read, "unread": unread, "findings": findings}
    return json.loads(json.dumps(seen))


async def record(scanner: Scanner) -> None:
    kept: list[Raw] = []
    with tempfile.TemporaryDirectory() as source:
        await look(scanner, plant(Path(source), SAMPLES[scanner.name]), kept)
    [raw] = kept
    stdout, stderr = (
        data.replace(raw.root.encode(), ROOT.encode()) for data in (raw.stdout, raw.stderr)
    )
    anew = Raw(raw.exit, stdout, stderr, root=ROOT)
    folder = HERE / scanner.name
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_bytes(stdout)
    (folder / "log.txt").write_bytes(stderr)
    seen = plain(anew, scanner.passes[0].parse(anew))
    (folder / "expected.json").write_text(json.dumps(seen, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        asyncio.run(record(shelf.parts("pilotage.scanners", Scanner)[wanted]))
