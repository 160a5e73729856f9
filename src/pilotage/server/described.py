"""Tools and answers in the words of MCP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mcp_types as types
import msgspec

from pilotage.domain.call import Effect, Kept, Outcome, ToolResult
from pilotage.domain.errors import Busy, NeedsApproval, PilotageError
from pilotage.server.http import encode, retry_after, usable_key
from pilotage.tool.answer import answer
from pilotage.tool.tool import Tool

_SUCCEEDED = Outcome.SUCCEEDED  # looked up at an enum, it is slow
OWN = "io.pilotage"
META = "io.pilotage/approval"
"""Where a call names its approval, and an answer the one that is needed."""
KEY = "io.pilotage/idempotency-key"
OURS = {
    "success": {"type": "boolean"},
    "outcome": {"type": "string"},
    "ignored_arguments": {"type": "array", "items": {"type": "string"}},
    "warnings": {"type": "array", "items": {"type": "string"}},
}
"""What tool/answer.py puts beside the tool's own fields."""


def tool(tool: Tool) -> types.Tool:
    """A tool as tools/list shows it; one of another server as that lists it."""
    if tool.wire is not None:
        return types.Tool.model_validate(tool.wire)
    return types.Tool(
        name=tool.name,
        title=tool.summary or None,
        description=tool.description or None,
        input_schema=dict(tool.input_schema),
        output_schema=_output(tool.output_schema),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.effect is Effect.READ,
            destructive_hint=tool.effect is Effect.DESTROY,
            idempotent_hint=tool.idempotent,
        ),
    )


def of_handshakes(tool: types.Tool) -> types.Tool:
    """The same as the eras of the handshake may list it: there an output schema is one of an
    object, and a list in which any other stands is none at all."""
    schema = tool.output_schema
    if schema is None or schema.get("type") == "object":
        return tool
    return tool.model_copy(update={"output_schema": None})


def _output(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The schema of the whole answer. What is no object has become one, under `result`."""
    if schema is None:
        return None
    if schema.get("type") != "object":
        definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
        inner = {k: v for k, v in schema.items() if k != "$defs"}
        schema = {"type": "object", "properties": {"result": inner}, **definitions}
    return {**schema, "properties": {**schema.get("properties", {}), **OURS}}


def result(result: ToolResult, promised: bool) -> types.CallToolResult:
    """An answer as tools/call gives it: its own blocks, or its JSON as text, and as structure.

    A failure has no structure where the tool promised a shape (`promised`): clients check it.
    """
    body = answer(result)
    blocks: list[dict[str, Any]] = [dict(block) for block in result.content]
    if not result.succeeded:
        blocks.insert(0, _text(_sentence(result.error or result.outcome.value, result.hint)))
    if not result.content and (result.succeeded or result.value):
        blocks.append(_text(encode(body).decode()))
    if result.warnings:
        blocks.append(_text("\n".join(f"warning: {one}" for one in result.warnings)))
    structured = None if promised and not result.succeeded else body
    made = {"content": blocks, "structuredContent": structured, "isError": not result.succeeded}
    if result.kept is not None:
        made["_meta"] = kept(result.kept)
    return types.CallToolResult.model_validate(made)


def plain(result: ToolResult) -> bytes | None:
    """The members that `result` makes of a success that has nothing to say but its value, as JSON;
    None for any other end, and for what JSON has no words for."""
    if result.outcome is not _SUCCEEDED or result.content or result.warnings or result.kept:
        return None
    try:
        content = encode(answer(result))
        text = encode(content.decode())
    except (TypeError, ValueError):
        return None
    return b"".join(
        (
            b'"content":[{"type":"text","text":',
            text,
            b'}],"isError":false,"structuredContent":',
            content,
        )
    )


def kept(kept: Kept) -> dict[str, Any]:
    """What says in `_meta` that an answer was there already, and its age in seconds."""
    return {f"{OWN}/{kept.how}": True, f"{OWN}/age": int(kept.seconds)}


def marked(wire: bytes, kept: Kept) -> bytes:
    """The same said of an answer of another server."""
    member = msgspec.json.decode(b"{" + wire + b"}")
    if isinstance(member.get("result"), dict):
        own = _kept_of(member["result"].get("_meta"), kept)
        return encode({"result": {**member["result"], "_meta": own}})[1:-1]
    return wire


def _kept_of(meta: Any, one: Kept) -> dict[str, Any]:
    return {**(meta if isinstance(meta, dict) else {}), **kept(one)}


def key(params: Mapping[str, Any] | None) -> str | None:
    """The idempotency key that a call names in `_meta`. BadInput for one that is not usable."""
    meta = (params or {}).get("_meta")
    found = meta.get(KEY) if isinstance(meta, Mapping) else None
    return None if found is None else usable_key(found)


def refusal(error: PilotageError) -> types.CallToolResult:
    """A call that was decided against before anything ran."""
    block = types.TextContent(type="text", text=_sentence(error.what, error.hint))
    meta: dict[str, Any] = {}
    if isinstance(error, NeedsApproval):
        meta = {META: dict(error.approval)}
    if isinstance(error, Busy):
        meta = {f"{OWN}/retry-after": retry_after(error)}
    return types.CallToolResult.model_validate(
        {"content": [block], "isError": True, **({"_meta": meta} if meta else {})}
    )


def _sentence(error: str, hint: str | None) -> str:
    return f"{error}\n{hint}" if hint else error


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
