"""The server under test: the real gateway and the real doors, with the tools that the suite wants.

Prints its address. Whoever reaches it needs no key, since the suite has none.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from base64 import b64encode
from pathlib import Path
from struct import pack
from typing import Any

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Effect, Outcome, Report, ToolCall, ToolResult
from pilotage.server import serve
from pilotage.tool.registry import Registry
from pilotage.tool.roots import roots
from pilotage.tool.tool import Call, Tool, tool
from pilotage.upstream.changes import News
from pilotage.upstream.federation import Federation


def _png() -> bytes:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixel = chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    return b"\x89PNG\r\n\x1a\n" + header + pixel + chunk(b"IEND", b"")


def _wav() -> bytes:
    """One sample of silence."""
    form = pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
    body = b"WAVEfmt " + pack("<I", len(form)) + form + b"data" + pack("<I", 1) + b"\x80\x00"
    return b"RIFF" + pack("<I", len(body)) + body


IMAGE = {"type": "image", "data": b64encode(_png()).decode(), "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": b64encode(_wav()).decode(), "mimeType": "audio/wav"}


def _shown(*blocks: dict[str, Any]) -> ToolResult:
    return ToolResult(Outcome.SUCCEEDED, content=blocks)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _resource(uri: str, kind: str, text: str) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}}


@tool(Effect.READ)
async def test_simple_text() -> ToolResult:
    """Answers with a text."""
    return _shown(_text("This is a simple text response for testing."))


@tool(Effect.READ)
async def test_image_content() -> ToolResult:
    """Answers with an image."""
    return _shown(IMAGE)


@tool(Effect.READ)
async def test_audio_content() -> ToolResult:
    """Answers with a sound."""
    return _shown(AUDIO)


@tool(Effect.READ)
async def test_embedded_resource() -> ToolResult:
    """Answers with a resource."""
    text = "This is an embedded resource content."
    return _shown(_resource("test://embedded-resource", "text/plain", text))


@tool(Effect.READ)
async def test_multiple_content_types() -> ToolResult:
    """Answers with three kinds of content."""
    mixed = _resource(
        "test://mixed-content-resource", "application/json", '{"test":"data","value":123}'
    )
    return _shown(_text("Multiple content types test:"), IMAGE, mixed)


@tool(Effect.READ)
async def test_error_handling() -> ToolResult:
    """Always fails."""
    return ToolResult(Outcome.FAILED, error="This tool intentionally returns an error for testing")


@tool(Effect.READ)
async def test_tool_with_progress(*, here: Call) -> ToolResult:
    """Tells how far it is, three times."""
    for done in (0, 50, 100):
        here.tell(f"{done} of 100", done, 100)
        await asyncio.sleep(0.05)
    return _shown(_text("done"))


@tool(Effect.WRITE)
async def test_trigger_tool_change(*, registry: Registry) -> ToolResult:
    """Changes the list of tools."""
    name = "test_added"
    known = {each.name for each in registry.tools()}
    if name in known:
        registry.remove(name)
    else:
        registry.add(_schema_tool(name, {"type": "object"}))
    return _shown(_text("changed"))


@tool(Effect.WRITE)
async def test_trigger_prompt_change(*, federation: Federation) -> ToolResult:
    """Tells that the list of prompts has changed, as a server behind us does."""
    federation.told(None, News("prompts"))
    return _shown(_text("changed"))


@tool(Effect.READ)
async def test_logging_tool() -> ToolResult:
    """Would log, if this server sent log messages; it must not send any."""
    return _shown(_text("logged nothing"))


@tool(Effect.READ)
async def greet(name: str) -> ToolResult:
    """Greets, and is never a task."""
    return _shown(_text(f"Hello, {name}!"))


@tool(Effect.READ, tasks="optional")
async def slow_compute(seconds: float, label: str = "") -> ToolResult:
    """Takes so long."""
    await asyncio.sleep(seconds)
    return _shown(_text(f"computed {label}"))


@tool(Effect.READ, tasks="required")
async def failing_job() -> ToolResult:
    """Fails after a moment."""
    await asyncio.sleep(1)
    return ToolResult(Outcome.FAILED, error="This job fails")


@tool(Effect.READ, tasks="optional")
async def protocol_error_job() -> ToolResult:
    """Is cut off from within."""
    await asyncio.sleep(0.3)
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)
    return _shown(_text("not reached"))


async def _ask(here: Call, *fields: str) -> list[str]:
    """What the person at the client says to each question, all asked at once."""
    peer = here.call.peer
    assert peer is not None
    assert peer.ask is not None
    forms = [
        {
            "message": f"{field}?",
            "mode": "form",
            "requestedSchema": {"type": "object", "properties": {field: {"type": "string"}}},
        }
        for field in fields
    ]
    said = await asyncio.gather(*(peer.ask("elicitation/create", form) for form in forms))
    return [str(each.get("content")) for each in said]


@tool(Effect.READ, tasks="optional")
async def confirm_delete(filename: str, *, here: Call) -> ToolResult:
    """Asks before it would delete."""
    said = await _ask(here, "confirm")
    return _shown(_text(f"{filename}: {said[0]}"))


@tool(Effect.READ, tasks="optional")
async def multi_input(*, here: Call) -> ToolResult:
    """Asks two things at once."""
    return _shown(_text(", ".join(await _ask(here, "name", "confirm"))))


MIRRORED: dict[str, Any] = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    "required": ["region"],
}
KEYWORDS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def _schema_tool(name: str, schema: dict[str, Any]) -> Tool:
    """A tool with a schema that is written by hand."""

    async def run(call: ToolCall, _: Report) -> ToolResult:
        return ToolResult(Outcome.SUCCEEDED, dict(call.arguments))

    text = "Tool with JSON Schema 2020-12 features"
    return Tool(name, text, text, Effect.READ, schema, None, run)


TOOLS = (
    test_simple_text,
    test_image_content,
    test_audio_content,
    test_embedded_resource,
    test_multiple_content_types,
    test_error_handling,
    test_tool_with_progress,
    test_logging_tool,
    greet,
    slow_compute,
    failing_job,
    protocol_error_job,
    confirm_delete,
    multi_input,
)


def main() -> None:
    home = Path(os.environ["PILOTAGE_HOME"])
    settings = config.read(environment={"PILOTAGE_HOME": str(home), "HOME": str(home)})
    app = App(settings, roots(home), TOOLS)
    services = {**app.services, Registry: app.registry, Federation: app.others.federation}
    app.registry.add(test_trigger_tool_change.bind(services))
    app.registry.add(test_trigger_prompt_change.bind(services))
    app.registry.add(_schema_tool("json_schema_2020_12_tool", KEYWORDS))
    app.registry.add(_schema_tool("test_mirrored_header", MIRRORED))
    try:
        options = serve.Options(port=0, insecure_local=True)
        serve.serve(app, options, lambda address, _: print(address, flush=True))
    finally:
        app.close()


if __name__ == "__main__":
    main()
