"""Where the command line's calls go: to a server if one is named, else to this process."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from pilotage.app import App, local_principal
from pilotage.config import Settings
from pilotage.domain.call import Progress, Report, silent
from pilotage.domain.errors import BadInput
from pilotage.tool.answer import answer
from pilotage.tool.roots import Roots

if TYPE_CHECKING:
    from pilotage.ci.client import Client


@dataclass(frozen=True, slots=True)
class Door:
    """One of the two is there. Nothing falls back from one to the other."""

    app: App | None
    client: Client | None

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        report: Report = silent,
        idempotency_key: str | None = None,
        approval: str | None = None,
        patience: float = 0,
    ) -> dict[str, Any]:
        """The answer of a tool (see tool/answer.py); that it was there already is reported. A
        refusal is raised as a PilotageError; that a person must approve only after `patience`
        seconds."""
        more = (report, idempotency_key, approval, patience)
        if self.client is not None:
            return await self.client.call(tool, arguments, *more)
        assert self.app is not None
        result = await self.app.call(tool, arguments, local_principal(), "cli", *more)
        if result.kept is not None:
            report(Progress(result.kept.said))
        return answer(result)

    async def tools(self, owner: str | None = None) -> list[dict[str, Any]]:
        """All tools, by name, or those of one owner: see ToolView."""
        if self.client is not None:
            query = {} if owner is None else {"owner": owner}
            return list((await self.client.get("/api/v2/tools", **query))["tools"])
        assert self.app is not None
        views = self.app.others.shown.all(local_principal(), owner)
        return [msgspec.to_builtins(view) for view in views]

    async def tool(self, name: str) -> dict[str, Any]:
        """One of them. Raises NotFound."""
        if self.client is not None:
            return await self.client.get(f"/api/v2/tools/{quote(name, safe='')}")
        assert self.app is not None
        shown = self.app.others.shown.one(name, local_principal())
        view: dict[str, Any] = msgspec.to_builtins(shown)
        return view


@asynccontextmanager
async def open_door(settings: Settings, roots: Roots) -> AsyncIterator[Door]:
    """The server of `mcp.serverUrl`; where that is empty, an app of our own, as who runs this."""
    if settings.text("mcp.serverUrl"):
        from pilotage.ci.client import Client  # here, for aiohttp: 90 ms that a local run can save

        async with Client(settings) as client:
            yield Door(None, client)
        return
    app = App(settings, roots)
    app.person_here = True
    try:
        await app.reach()
        yield Door(app, None)
    finally:
        await app.leave()
        app.close()


def arguments_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What --arg and --json say."""
    if arguments.json is not None:
        if arguments.arg:
            raise BadInput("--json and --arg exclude each other")
        try:
            value = json.loads(arguments.json)
        except ValueError as error:
            raise BadInput(f"--json: {error}") from None
        if not isinstance(value, dict):
            raise BadInput("--json is no object")
        return value
    given: dict[str, Any] = {}
    for pair in arguments.arg:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise BadInput(f"--arg {pair!r} is not K=V")
        try:
            given[name] = json.loads(text)
        except ValueError:
            given[name] = text
    return given
