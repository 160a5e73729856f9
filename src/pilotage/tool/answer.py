"""A result as the outside reads it: one JSON object, the same over REST, MCP and the terminal."""

from __future__ import annotations

from typing import Any

from pilotage.domain.call import ToolResult


def answer(result: ToolResult) -> dict[str, Any]:
    """`success` and `outcome`, the tool's own fields, and on failure `error` and `hint`."""
    body: dict[str, Any] = {"success": result.succeeded, "outcome": result.outcome.value}
    body.update(result.value)
    body["success"] = result.succeeded
    if result.error is not None:
        body["error"] = result.error
    if result.hint:
        body["hint"] = result.hint
    if result.ignored:
        body["ignored_arguments"] = list(result.ignored)
    return body
