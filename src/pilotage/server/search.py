"""Many tools by two: `search_tools` finds them, `call_tool` calls one, as that tool.

A list of hundreds of tools fills a model's context before it has read a word. Where somebody may
call more than `mcp.tools.listed`, tools/list shows the first of them, the house's own before those
of others, and these two. What is listed depends on the policy and on the tools, never on the
connection. Both exist at this door only: the gateway decides, audits and counts a call of
`call_tool` as a call of the tool that it names.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mcp_types as types

from pilotage.domain.errors import BadInput
from pilotage.server import described
from pilotage.server.http import encode
from pilotage.tool.tool import Tool

SEARCH, CALL = NAMES = "search_tools", "call_tool"
PAGE, LARGEST_PAGE = 5, 20
QUERY_LIMIT = 400
_K, _B = 1.2, 0.75
"""The usual constants of BM25: how soon repeating a word stops to count, and how much a text's
length does."""
_WEIGHTS = (("name", 4), ("summary", 2), ("description", 1))
_WORD = re.compile(r"[^\W_]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_READS = types.ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True)

SEARCH_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "query": {
            "type": "string",
            "maxLength": QUERY_LIMIT,
            "description": "what the tool should do, in a few words; empty: all tools by name",
        },
        "limit": {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": PAGE},
        "cursor": {"type": "string", "description": "next_cursor of the answer before"},
    },
    "required": ["query"],
    "additionalProperties": False,
}
CALL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "of a tool that search_tools has found"},
        "arguments": {"type": "object", "description": "that fit the tool's input schema"},
    },
    "required": ["name"],
    "additionalProperties": False,
}


def listed(tools: Sequence[Tool], most: int) -> list[types.Tool]:
    """The tools of a principal as tools/list shows them: all, or the first of them and the two."""
    if len(tools) <= most:
        return [described.tool(tool) for tool in tools]
    first = sorted(tools, key=lambda tool: (tool.owner != "", tool.name))[: max(most - 2, 0)]
    shown = [described.tool(tool) for tool in first]
    return sorted([*shown, *_meta(len(tools))], key=lambda tool: tool.name)


def schema(name: str) -> dict[str, Any] | None:
    """The input schema of one of the two."""
    return {SEARCH: SEARCH_SCHEMA, CALL: CALL_SCHEMA}.get(name)


def _meta(total: int) -> list[types.Tool]:
    return [
        types.Tool(
            name=SEARCH,
            title="Find a tool",
            description=f"Not every tool is listed here: {total} can be called. This finds them by "
            "what they do, the best first, with their input schemas; call_tool calls one.",
            input_schema=SEARCH_SCHEMA,
            annotations=_READS,
        ),
        types.Tool(
            name=CALL,
            title="Call a tool by its name",
            description="Calls a tool that search_tools has found, as if it were called itself: "
            "the same permission, the same arguments, the same answer.",
            input_schema=CALL_SCHEMA,
            annotations=types.ToolAnnotations(read_only_hint=False),
        ),
    ]


def named(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The tool that a call of `call_tool` means, and its arguments. Raises BadInput."""
    name, given = arguments.get("name"), arguments.get("arguments", {})
    unknown = sorted(set(arguments) - {"name", "arguments"})
    if not isinstance(name, str) or not isinstance(given, dict) or unknown:
        what = f"unknown argument {unknown[0]!r}" if unknown else "name or arguments do not fit"
        raise BadInput(f"{CALL}: {what}", '{"name": "TOOL", "arguments": {...}}')
    if name in (SEARCH, CALL):
        raise BadInput(f"{CALL}: {name} is not called by it", "call it itself")
    return name, given


def found(tools: Sequence[Tool], arguments: Mapping[str, Any]) -> types.CallToolResult:
    """The answer of `search_tools` over the tools of a principal. Raises BadInput."""
    query, limit, start = _asked(arguments)
    ranked = rank(tools, query)
    page = ranked[start : start + limit]
    body: dict[str, Any] = {"total": len(ranked), "tools": [_row(tool) for tool in page]}
    if start + limit < len(ranked):
        body["next_cursor"] = str(start + limit)
    text = encode({"success": True, "outcome": "succeeded", **body}).decode()
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content={"success": True, "outcome": "succeeded", **body},
    )


def _asked(arguments: Mapping[str, Any]) -> tuple[str, int, int]:
    unknown = sorted(set(arguments) - set(SEARCH_SCHEMA["properties"]))
    query, limit = arguments.get("query"), arguments.get("limit", PAGE)
    cursor = arguments.get("cursor", "") or "0"
    if unknown:
        raise BadInput(f"{SEARCH}: unknown argument {unknown[0]!r}")
    if not isinstance(query, str) or len(query) > QUERY_LIMIT:
        raise BadInput(f"{SEARCH}: query is no text of at most {QUERY_LIMIT} characters")
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= LARGEST_PAGE:
        raise BadInput(f"{SEARCH}: limit is no number from 1 to {LARGEST_PAGE}")
    if not isinstance(cursor, str) or not re.fullmatch(r"[0-9]{1,6}", cursor):
        raise BadInput(f"{SEARCH}: the cursor is not one of ours", "begin without one")
    return query, limit, int(cursor)


def _row(tool: Tool) -> dict[str, Any]:
    shown = described.tool(tool).model_dump(by_alias=True, mode="json", exclude_none=True)
    return {key: shown[key] for key in ("name", "description", "inputSchema") if key in shown} | {
        "effect": tool.effect.value
    }


@dataclass(frozen=True, slots=True)
class _Document:
    tool: Tool
    words: Counter[str]
    length: int


def rank(tools: Iterable[Tool], query: str) -> list[Tool]:
    """The tools that hold a word of the query, the best first (BM25; a word in the name counts
    four times); all, by name, where the query has no words."""
    asked = set(_words(query))
    documents = [_document(tool) for tool in sorted(tools, key=lambda tool: tool.name)]
    if not asked or not documents:
        return [each.tool for each in documents]
    mean = sum(each.length for each in documents) / len(documents) or 1.0
    rarity = {}
    for word in asked:
        holding = sum(word in each.words for each in documents)
        rarity[word] = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))

    def score(each: _Document) -> float:
        total = 0.0
        for word in asked & each.words.keys():
            count = each.words[word]
            total += (
                rarity[word] * count * (_K + 1) / (count + _K * (1 - _B + _B * each.length / mean))
            )
        return total

    scored = [(score(each), each.tool) for each in documents]
    best = sorted((row for row in scored if row[0] > 0), key=lambda row: (-row[0], row[1].name))
    return [tool for _, tool in best]


def _document(tool: Tool) -> _Document:
    counts: Counter[str] = Counter()
    for field, weight in _WEIGHTS:
        for word in _words(getattr(tool, field)):
            counts[word] += weight
    return _Document(tool, counts, counts.total())


def _words(text: str) -> list[str]:
    """In lower case, snake_case and camelCase taken apart, without the s of a plural."""
    parts = (part.lower() for part in _WORD.findall(_HUMP.sub(" ", text)))
    return [p[:-1] if len(p) > 3 and p.endswith("s") and not p.endswith("ss") else p for p in parts]
