"""A result as the outside reads it: one JSON object, the same over REST, MCP and the terminal."""

from __future__ import annotations

from typing import Any

from pilotage.domain.call import Outcome, ToolResult

_SUCCEEDED = Outcome.SUCCEEDED  # looked up at an enum, it costs as much as all the rest


def answer(result: ToolResult) -> dict[str, Any]:
    """`success` and `outcome`, the tool's own fields, and on failure `error` and `hint`."""
    outcome, value = result.outcome, result.value
    succeeded = outcome is _SUCCEEDED
    body: dict[str, Any] = {"success": succeeded, "outcome": outcome, **value}
    if "success" in value or "outcome" in value:  # a tool does not say how it ended
        body["success"], body["outcome"] = succeeded, outcome
    if result.error is not None:
        body["error"] = result.error
    if result.hint:
        body["hint"] = result.hint
    if result.ignored:
        body["ignored_arguments"] = list(result.ignored)
    if result.warnings:
        body["warnings"] = [*body.get("warnings", ()), *result.warnings]
    return body
