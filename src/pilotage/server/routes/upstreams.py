"""How the MCP servers behind us stand, and what of theirs was not taken in."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI

from pilotage.app import App
from pilotage.server.routes.permission import may
from pilotage.upstream.federation import Standing


@dataclass(frozen=True, slots=True)
class Refusal:
    """A tool that is not taken in, and why."""

    tool: str
    why: str


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """`state` is ready, unavailable or waiting (not reached yet); `version` is of the protocol."""

    name: str
    owner: str
    state: str
    why: str
    version: str
    tools: list[str]
    refused: list[Refusal]


@dataclass(frozen=True, slots=True)
class UpstreamList:
    """By name."""

    upstreams: list[UpstreamView]


def add(api: FastAPI, app: App) -> None:
    @api.get("/api/v2/upstreams", tags=["tools"], dependencies=[may(app, "tools:approve")])
    def upstreams() -> UpstreamList:
        """Every upstream MCP server, of the settings file and registered."""
        return UpstreamList([_view(one) for one in app.others.federation.standings()])


def _view(one: Standing) -> UpstreamView:
    return UpstreamView(
        one.name,
        one.owner,
        one.state,
        one.why,
        one.version,
        list(one.tools),
        [Refusal(tool, why) for tool, why in one.refused],
    )
