"""What a tool says of itself, as it is pinned, and how two of them differ."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from pilotage.domain.pattern import pattern
from pilotage.domain.text import visible
from pilotage.tool.tool import Tool

_SELECTOR = pattern("[\u180b-\u180f\ufe00-\ufe0f]")  # drawn as nothing, yet kept by `visible`
_KNOWN = frozenset(
    ("name", "title", "description", "inputSchema", "outputSchema", "annotations", "_meta")
)
_WORDS = {
    "inputSchema": "input schema",
    "outputSchema": "output schema",
    "annotations": "annotations",
    "more": "other fields",
}


def surface(tool: Tool) -> dict[str, Any]:
    """All that callers are shown of a tool, in the words of MCP, its effect, and where its calls
    go; `more` is what else another server says of it (icons), but for `_meta`, which is not for
    models. What it does not say is left out, so that null and absent are the same."""
    said = {
        "name": tool.name,
        "title": tool.summary,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
        "annotations": tool.annotations,
        "effect": tool.effect.value,
        "effects": tool.actions.effects if tool.actions else None,
        "target": tool.target,
        "more": {k: v for k, v in (tool.wire or {}).items() if k not in _KNOWN} or None,
    }
    return {key: value for key, value in said.items() if value not in (None, "")}


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The parts that differ, in words: "description and input schema"."""
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    words = [_WORDS.get(key, key) for key in keys]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "nothing"


def diff(old: str | None, new: str) -> str:
    """A unified diff of two surfaces in canonical JSON, `old` None where nothing was approved.

    Each part on a line of its own; what a terminal obeys or hides is spelled out.
    """
    before = _lines(old) if old is not None else []
    lines = difflib.unified_diff(before, _lines(new), "approved", "seen", lineterm="")
    return "\n".join(lines)


def _lines(text: str) -> list[str]:
    """A text of many lines is shown as a list of them: a sentence put in stands out."""
    shown = json.dumps(_apart(json.loads(text)), indent=2, ensure_ascii=False)
    return [_spelled(line) for line in shown.split("\n")]


def _apart(value: Any) -> Any:
    if isinstance(value, str) and "\n" in value:
        lines = value.split("\n")
        return [f"(a text of {len(lines)} lines)", *lines]
    if isinstance(value, dict):
        return {key: _apart(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_apart(item) for item in value]
    return value


def _spelled(line: str) -> str:
    indent = len(line) - len(line.lstrip(" "))
    text = visible(line[indent:])
    return " " * indent + _SELECTOR.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
