"""List the tools that can be called, here or at the server of mcp.serverUrl; show one."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from pilotage import config
from pilotage.cli.door import open_door
from pilotage.domain.text import visible
from pilotage.tool.roots import roots


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|show")
    listing = verbs.add_parser("list", help="name, effect, and what each does")
    listing.add_argument("--json", action="store_true", help="all that is known of each")
    show = verbs.add_parser("show", help="what one does, and its arguments as JSON Schema")
    show.add_argument("name", metavar="TOOL")


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)

    async def ask() -> list[dict[str, Any]]:
        async with open_door(settings, roots()) as door:
            if arguments.verb == "show":
                return [await door.tool(arguments.name)]
            return await door.tools()

    tools = asyncio.run(ask())
    if arguments.verb == "show":
        print("\n".join(map(visible, _shown(tools[0]))))
    elif arguments.json:
        print(json.dumps(tools, indent=2))
    else:
        width = max((len(tool["name"]) for tool in tools), default=0)
        for tool in tools:
            print(visible(f"{tool['name']:<{width}}  {tool['effect']:<7}  {tool['summary']}"))
    return 0


def _shown(tool: dict[str, Any]) -> list[str]:
    about = f"{tool['name']}: {tool['effect']}, at most {tool['timeout']:g} s a call"
    schema = json.dumps(tool["input_schema"], indent=2)
    return [about, "", *tool["description"].splitlines(), "", *schema.splitlines()]
