"""The fast path of tools/call answers as the SDK does: the same odd requests go to both."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from pilotage.domain.call import Effect, Outcome, Report, ToolCall, ToolResult
from pilotage.tool.tool import Tool
from server import odd_requests
from server.conftest import House
from server.odd_requests import GOOD, HEADERS, Odd

SEED = int(os.environ.get("PILOTAGE_TEST_SEED", "7"))
MIXED = int(os.environ.get("PILOTAGE_TEST_MIXED", "300"))
ON_PURPOSE = {
    "a value that JSON does not have": "pydantic writes NaN, which is no JSON; we write null",
}
"""Where the two differ, and why."""

VALUES: dict[str, Any] = {
    "nested": {"none": None, "list": [None, 1, -0.0, 1e22, 0.1, 2**64, "\u2028\x00\U0001f600"]},
    "none": None,
    "success": "said by the tool",
    "error": "a field of the tool",
}


def _tool(name: str, result: ToolResult, **properties: Any) -> Tool:
    async def run(_: ToolCall, __: Report) -> ToolResult:
        return result

    schema = {"type": "object", "properties": properties}
    return Tool(name, name, name, Effect.READ, schema, None, run)


TEXT = {"type": "text", "text": "a block"}
MORE_TOOLS = (
    _tool(
        "routed",
        ToolResult(Outcome.SUCCEEDED, {"went": True}),
        region={"type": "string", "x-mcp-header": "Region"},
        text={"type": "string"},
    ),
    _tool("blocks", ToolResult(Outcome.SUCCEEDED, {"a": 1}, content=(TEXT,))),
    _tool("nothing", ToolResult(Outcome.SUCCEEDED)),
    _tool("mixed", ToolResult(Outcome.SUCCEEDED, VALUES)),
    _tool("not_a_number", ToolResult(Outcome.SUCCEEDED, {"n": float("nan")})),
)


@pytest.fixture
def full(house: House) -> House:
    for tool in MORE_TOOLS:
        house.app.registry.add(tool)
    return house


@dataclass(frozen=True)
class Answered:
    """What a client sees: the status, the headers that mean something, the body as JSON if it is
    JSON."""

    status: int
    headers: dict[str, str]
    body: Any


class Line:
    """One connection, kept while the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, raw: bytes) -> Answered:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(raw)
        try:
            answered = await _read(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            answered = Answered(0, {}, "the connection ended")
        if answered.status == 0 or answered.headers.pop("connection", "") == "close":
            self.close()
        return answered

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def _read(reader: asyncio.StreamReader) -> Answered:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
    body = b""
    if headers.pop("transfer-encoding", "") == "chunked":
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.pop("content-length", "0")))
    headers.pop("date")
    if "mcp-session-id" in headers:
        headers["mcp-session-id"] = "a new one"
    try:
        shown = json.loads(body)
    except ValueError:
        shown = body
    return Answered(int(first.split()[1]), headers, shown)


async def through(house: House, requests: Iterable[Odd], key: str) -> list[Answered]:
    line = Line(int(house.url.rsplit(":", 1)[1]))
    try:
        async with asyncio.timeout(300):
            return [await line.ask(request.raw(key)) for request in requests]
    finally:
        line.close()


async def recorded(house: House, count: int) -> list[tuple[Any, ...]]:
    """The newest calls of the audit, oldest first."""
    await house.app.audit.settled()
    found = house.app.audit.calls(limit=count)[::-1]
    return [(c.tool, c.principal, c.via, c.outcome, c.decision, c.rule, c.error) for c in found]


async def by_both(house: House, requests: list[Odd], key: str) -> tuple[int, list[str]]:
    """How many of these requests the fast path answered, and how the two differ."""
    limit = 2 * len(requests) + 10
    fast = house.front.fast
    before, told = fast.answered, len(await recorded(house, limit))
    ours = await through(house, requests, key)
    answered, rows = fast.answered - before, (await recorded(house, limit))[told:]
    house.front.fast = house.front._protocol  # type: ignore[assignment]
    try:
        theirs = await through(house, requests, key)
    finally:
        house.front.fast = fast
    theirs_rows = (await recorded(house, limit))[told + len(rows) :]
    assert fast.answered - before == answered, "the SDK's own path ran in the second pass"
    # A group of the audit has what opens before what has ended, so that the order may differ.
    assert Counter(rows) == Counter(theirs_rows), "each request called the same tools, and was recorded the same"
    pairs = zip(requests, ours, theirs, strict=True)
    return answered, [f"{r.what}:\n  {a}\n  {b}" for r, a, b in pairs if a != b]


@pytest.mark.parametrize("part", ["bodies", "texts", "heads", "tools", "mixed"])
async def test_odd_requests_are_answered_as_the_sdk_answers_them(full: House, part: str) -> None:
    made = {
        "bodies": odd_requests.bodies,
        "texts": odd_requests.texts,
        "heads": odd_requests.heads,
        "tools": odd_requests.tools,
        "mixed": lambda: odd_requests.mixed(SEED, MIXED),
    }
    requests = list(made[part]())
    answered, differences = await by_both(full, requests, full.key("developer"))
    assert not differences, f"seed {SEED}:\n" + "\n".join(differences[:20])
    assert 0 < answered < len(requests), "some are plain, most are not"
