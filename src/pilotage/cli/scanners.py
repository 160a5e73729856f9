"""List the scanners, install them, or check that each finds its planted weakness."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from pilotage import config, shelf
from pilotage.cli import terminal
from pilotage.domain.call import Progress, Report
from pilotage.domain.errors import BadInput, Unavailable
from pilotage.domain.text import visible
from pilotage.scan.control import Controls
from pilotage.scan.environment import Environments
from pilotage.scan.orchestrate import Scans
from pilotage.scan.scanner import Scanner

Row = tuple[str, str, bool, str]
"""Scanner, pass, whether it is bad, and what there is to say."""


def register(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("act", metavar="list|install|check", choices=("list", "install", "check"))
    add("names", metavar="NAME", nargs="*", help="scanners (default: all)")
    add("--json", action="store_true", help="for list: as JSON")


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    scanners = shelf.parts("pilotage.scanners", Scanner)
    for name in arguments.names:
        if name not in scanners:
            raise BadInput(f"there is no scanner {name!r}", "one of " + ", ".join(scanners))
    chosen = [scanners[name] for name in arguments.names or scanners]
    environments = Environments(settings.cache, settings.programs)
    if arguments.act == "list":
        return _list(chosen, environments, as_json=arguments.json)
    scans = Scans(scanners, environments, Controls(settings.cache))
    with terminal.progress() as report:
        rows = asyncio.run(_do(arguments.act, chosen, scans, report))
    for scanner, name, bad, text in rows:
        print(f"{'BAD ' if bad else 'ok  '} {scanner} {name}".rstrip() + f": {text}")
    return 3 if any(bad for _, _, bad, _ in rows) else 0


def _list(chosen: list[Scanner], environments: Environments, *, as_json: bool) -> int:
    rows = [_described(scanner, environments) for scanner in chosen]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        print(f"{row['name']:<10} {row['state']:<24} {', '.join(row['types'])}")
        print(f"           {row['summary']}; {row['url']}")
        for each in row["passes"]:
            reads = ", ".join(each["reads"])
            print(f"             {each['name']}: {reads} (evidence: {each['evidence']})")
        print(f"           from {row['source']}")
    return 0


def _described(scanner: Scanner, environments: Environments) -> dict[str, Any]:
    version = environments.ready(scanner)
    state = "not installed yet" if version is None else f"ready {version}".strip()
    own = environments.own(scanner)
    kinds = {"pip": "PyPI", "npm": "npm"}
    locked = f"{kinds.get(scanner.install.kind)}, locked by scanners/locks/{scanner.install.lock}"
    source = own or (locked if scanner.install.kind != "none" else "pilotage itself")
    return {
        "name": scanner.name,
        "summary": scanner.summary,
        "url": scanner.url,
        "state": state,
        "version": version,
        "source": source,
        "types": list(dict.fromkeys(each.type.value for each in scanner.passes)),
        "passes": [
            {
                "name": each.name,
                "type": each.type.value,
                "reads": list(each.reads) if each.target == "stage" else [each.target],
                "evidence": each.coverage.value,
            }
            for each in scanner.passes
        ],
    }


async def _do(act: str, chosen: list[Scanner], scans: Scans, report: Report) -> list[Row]:
    """Install or check each; one that cannot be installed, or does not find its planted weakness,
    is bad."""
    rows: list[Row] = []
    if act == "check" and (why := await scans.no_sandbox()):
        report(Progress(f"without a sandbox: {why}"))
    for scanner in chosen:
        try:
            if act == "install":
                made = await scans.environments.ensure(scanner, report)
                rows.append(
                    (scanner.name, "", False, f"ready, version {made.version}, {made.source}")
                )
                continue
            for name, wrong in (await scans.check(scanner, report)).items():
                text = visible(wrong) or "finds its planted weakness"
                rows.append((scanner.name, name, bool(wrong), text))
        except Unavailable as error:
            rows.append((scanner.name, "", True, visible(str(error))))
    return rows
