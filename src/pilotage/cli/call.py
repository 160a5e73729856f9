"""Call one tool and print its answer as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

from pilotage import config
from pilotage.cli.door import arguments_of, open_door
from pilotage.domain.call import Outcome, Progress
from pilotage.domain.errors import NotFound
from pilotage.domain.text import visible
from pilotage.tool.roots import roots


def register(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("tool", metavar="TOOL")
    value = "one argument; V is JSON where it reads as JSON, else text; repeatable"
    add("--arg", action="append", default=[], metavar="K=V", help=value)
    add("--json", metavar="OBJECT", help="all arguments as one JSON object")
    add("--idempotency-key", metavar="KEY", help="the same for each attempt at the same work")
    root = "a tool that runs here may read and write in it; repeatable"
    add("--root", action="append", default=[], metavar="DIR", help=root)


def run(arguments: argparse.Namespace) -> int:
    given = arguments_of(arguments)
    settings = config.read(file=arguments.settings)

    async def call() -> dict[str, Any]:
        async with open_door(settings, roots(*arguments.root, base=".")) as door:
            try:
                return await door.call(arguments.tool, given, _tell, arguments.idempotency_key)
            except NotFound as error:
                if door.app is None or arguments.tool in door.app.registry.entries:
                    raise
                here = "one of " + ", ".join(sorted(door.app.registry.entries))
                raise NotFound(error.what, here) from None

    answer = asyncio.run(call())
    print(json.dumps(answer, indent=2, ensure_ascii=not sys.stdout.isatty()))
    for warning in answer.get("warnings", ()):
        print(visible(f"warning: {warning}"), file=sys.stderr)
    if answer["success"]:
        return 0
    return 3 if answer.get("outcome") == Outcome.UNAVAILABLE else 1


def _tell(news: Progress) -> None:
    text = "".join(c if c.isprintable() else " " for c in news.message)
    print(f"  {text}", file=sys.stderr, flush=True)
