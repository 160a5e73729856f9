"""List the scanners, install them, or check that each finds its planted weakness."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from pilotage import config, shelf
from pilotage.cli.scan import Live
from pilotage.domain.errors import BadInput, PilotageError, Unavailable
from pilotage.domain.text import visible
from pilotage.scan.control import Controls
from pilotage.scan.environment import Environments
from pilotage.scan.orchestrate import Scans
from pilotage.scan.scanner import Scanner


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
    return asyncio.run(_do(arguments.act, chosen, scans))


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


async def _do(act: str, chosen: list[Scanner], scans: Scans) -> int:
    """Exit code 3 where one cannot be installed or does not find its planted weakness."""
    live = Live(quiet=False)
    if act == "check" and (why := await scans.no_sandbox()):
        print(f"without a sandbox: {visible(why)}", file=sys.stderr)
    broken = 0
    for scanner in chosen:
        try:
            if act == "install":
                installed = await scans.environments.ensure(scanner, live.tell)
                told = {"": f"ready, version {installed.version}, {installed.source}"}
                wrong = {}
            else:
                wrong = await scans.check(scanner, live.tell)
                told = {name: why or "finds its planted weakness" for name, why in wrong.items()}
        except PilotageError as error:
            if not isinstance(error, Unavailable):
                raise
            told, wrong = {"": str(error)}, {"": str(error)}
        for name, text in told.items():
            bad = bool(wrong.get(name))
            broken += bad
            print(f"{'BAD ' if bad else 'ok  '} {scanner.name} {name}".rstrip() + f": {text}")
    return 3 if broken else 0
