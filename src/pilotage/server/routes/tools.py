"""What tools there are, and what the policy says of them to who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request

from pilotage.app import App
from pilotage.domain.call import Answer, Principal
from pilotage.server.http import BY
from pilotage.server.routes.permission import may
from pilotage.tool.tool import Tool


@dataclass(frozen=True, slots=True)
class ToolView:
    """One tool. `may` is what the policy says to who asks: allow, ask or deny."""

    name: str
    summary: str
    description: str
    effect: str
    may: Answer
    idempotent: bool
    timeout: float
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Tools:
    tools: list[ToolView]


def add(api: FastAPI, app: App) -> None:
    def view(tool: Tool, by: Principal) -> ToolView:
        decision = app.policy.decide(by, tool.name, tool.effect)
        return ToolView(
            tool.name,
            tool.summary,
            tool.description,
            tool.effect.value,
            decision.answer,
            tool.idempotent,
            tool.timeout,
            tool.input_schema,
            tool.output_schema,
        )

    @api.get("/api/v2/tools", tags=["tools"], dependencies=[may(app, "tools:read")])
    def tools(request: Request) -> Tools:
        """All tools, by name."""
        return Tools([view(tool, request.scope[BY]) for tool in app.registry.tools()])

    @api.get("/api/v2/tools/{name}", tags=["tools"], dependencies=[may(app, "tools:read")])
    def one_tool(name: str, request: Request) -> ToolView:
        """One tool."""
        return view(app.registry.find(name).tool, request.scope[BY])
