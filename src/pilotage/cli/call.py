"""Call one tool and print its answer as JSON."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from pilotage import config
from pilotage.cli import terminal
from pilotage.cli.door import Door, arguments_of, open_door
from pilotage.domain.call import Outcome, Progress
from pilotage.domain.errors import NeedsApproval, NotFound
from pilotage.domain.text import visible
from pilotage.tool.roots import roots

PATIENCE = 60.0
"""Seconds of one request that waits for a person."""


def register(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("tool", metavar="TOOL")
    value = "one argument; V is JSON where it reads as JSON, else text; repeatable"
    add("--arg", action="append", default=[], metavar="K=V", help=value)
    add("--json", metavar="OBJECT", help="all arguments as one JSON object")
    add("--idempotency-key", metavar="KEY", help="the same for each attempt at the same work")
    add("--approval", metavar="ID", help="the approval that lets this call run")
    add("--wait", action="store_true", help="where it needs a person, wait for one")
    root = "a tool that runs here may read and write in it; repeatable"
    add("--root", action="append", default=[], metavar="DIR", help=root)


def run(arguments: argparse.Namespace) -> int:
    given = arguments_of(arguments)
    settings = config.read(file=arguments.settings)

    async def call() -> dict[str, Any]:
        async with open_door(settings, roots(*arguments.root, base=".")) as door:
            try:
                return await _call(door, arguments, given)
            except NotFound as error:
                if door.app is None or arguments.tool in door.app.registry.entries:
                    raise
                here = "one of " + ", ".join(sorted(door.app.registry.entries))
                raise NotFound(error.what, here) from None

    answer = asyncio.run(call())
    print(terminal.as_json(answer))
    for warning in answer.get("warnings", ()):
        print(visible(f"warning: {warning}"), file=sys.stderr)
    if answer["success"]:
        return 0
    return 3 if answer.get("outcome") == Outcome.UNAVAILABLE else 1


async def _call(
    door: Door, arguments: argparse.Namespace, given: Mapping[str, Any]
) -> dict[str, Any]:
    """With --wait, until a person has spoken or the approval has expired."""
    approval, patience = arguments.approval, 0.0
    while True:
        key = arguments.idempotency_key
        try:
            return await door.call(arguments.tool, given, _tell, key, approval, patience)
        except NeedsApproval as waits:
            if not arguments.wait:
                raise
            if not patience:
                mend = f"somebody else: pilotage approvals approve {waits.approval['id']}"
                print(visible(f"{waits.what}; {mend}"), file=sys.stderr, flush=True)
            approval, patience = waits.approval["id"], PATIENCE


def _tell(news: Progress) -> None:
    text = "".join(c if c.isprintable() else " " for c in news.message)
    print(f"  {text}", file=sys.stderr, flush=True)
