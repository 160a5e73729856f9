"""The fast path of tools/call answers as the SDK does: the same odd requests go to both."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pilotage.domain.call import Effect, Outcome, Report, ToolCall, ToolResult
from pilotage.server.fast import Fast
from pilotage.server.handshake import Handshake
from pilotage.tool.tool import Tool
from server import odd_requests
from server.conftest import House
from server.odd_requests import GOOD, HEADERS, Odd
from server.test_mcp import connected
from waiting import LONG, until

SEED = int(os.environ.get("PILOTAGE_TEST_SEED", "7"))
MIXED = int(os.environ.get("PILOTAGE_TEST_MIXED", "300"))
ON_PURPOSE = {
    "raw": "bytes are base64 in the text and in the structure; by the SDK, in the text alone",
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
    _tool("raw", ToolResult(Outcome.SUCCEEDED, {"bytes": b"abc"})),
    _tool("half_a_pair", ToolResult(Outcome.SUCCEEDED, {"text": "\ud800"})),
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
        return await self.more(reader)

    async def more(self, reader: asyncio.StreamReader) -> Answered:
        """The next answer."""
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
    headers.pop("x-request-id", None)  # another one for each
    if "mcp-session-id" in headers:
        headers["mcp-session-id"] = "a new one"
    return Answered(int(first.split()[1]), headers, _shown(body))


def _shown(body: bytes) -> Any:
    """As JSON, if it is JSON; of a stream of events, each."""
    try:
        if body.startswith((b"event: ", b": ping")):
            lines = body.decode().split("\r\n")
            return [json.loads(one[len("data: ") :]) for one in lines if one.startswith("data: ")]
        return json.loads(body)
    except ValueError:
        return body


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


async def by_both(
    house: House, requests: list[Odd], key: str, path: Fast | Handshake | None = None
) -> tuple[int, list[str]]:
    """How many of these requests the fast path answered, and how the two differ."""
    limit = 2 * len(requests) + 10
    fast = path or house.front.fast
    before, told = fast.answered, len(await recorded(house, limit))
    ours = await through(house, requests, key)
    answered, rows = fast.answered - before, (await recorded(house, limit))[told:]
    house.front._mcp = house.front._protocol
    try:
        theirs = await through(house, requests, key)
    finally:
        house.front._mcp = house.front.fast
    theirs_rows = (await recorded(house, limit))[told + len(rows) :]
    assert fast.answered - before == answered, "the SDK's own path ran in the second pass"
    # A group of the audit has what opens before what has ended, so that the order may differ.
    assert Counter(rows) == Counter(theirs_rows), (
        "each request called the same tools, and was recorded the same"
    )
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


def _ask(name: str, id: int = 1, **arguments: Any) -> Odd:
    headers = (*HEADERS[:-1], ("Mcp-Name", name))
    params = {**GOOD["params"], "name": name, "arguments": arguments}
    return Odd(name, headers, json.dumps({**GOOD, "id": id, "params": params}).encode())


async def test_where_the_two_differ_it_is_on_purpose(full: House) -> None:
    requests = [_ask(name) for name in ON_PURPOSE]
    _, found = await by_both(full, requests, full.key("developer"))
    assert [one.split(":")[0] for one in found] == list(ON_PURPOSE)
    ours, theirs = found[0].split("\n")[1:]
    assert ours.count("YWJj") == 2
    assert theirs.count("YWJj") == 1


async def test_the_official_client_is_answered_by_the_fast_path(house: House) -> None:
    async with connected(house, house.key("developer"), "2026-07-28") as client:
        for _ in range(3):
            assert (await client.call_tool("echo", {"text": "hi"})).is_error is False
    assert house.front.fast.answered == 3


async def test_a_tool_that_changes_is_looked_at_again(full: House) -> None:
    registry, key = full.app.registry, full.key("developer")
    registry.remove("nothing")
    registry.add(_tool("nothing", ToolResult(Outcome.SUCCEEDED, {"new": 1})))
    assert (await by_both(full, [_ask("nothing")], key)) == (1, [])
    registry.remove("nothing")
    text = {"type": "string", "x-mcp-header": "Text"}
    registry.add(_tool("nothing", ToolResult(Outcome.SUCCEEDED), text=text))
    requests = [_ask("nothing", text="needs a header")]
    assert (await by_both(full, requests, key)) == (0, [])
    assert (await through(full, requests, key))[0].body["error"]["code"] == -32020
    registry.remove("nothing")
    assert (await through(full, requests, key))[0].body["error"]["code"] == -32602


async def test_who_goes_away_ends_its_call(house: House, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    line = Line(int(house.url.rsplit(":", 1)[1]))
    request = _ask("slow", seconds=60, mark=str(mark)).raw(house.key("developer"))
    asking = asyncio.create_task(line.ask(request))
    await until(mark.exists)
    line.close()
    await until(lambda: mark.read_text("utf-8") == "cleaned up")
    await asking
    await until(lambda: house.app.gateway.running == 0)
    assert (await recorded(house, 1))[0][3] == "cancelled"


@pytest.mark.parametrize("tool", ["waits", "fails_late"])
async def test_an_answer_that_takes_long_becomes_an_event_stream(
    full: House, tmp_path: Path, tool: str
) -> None:
    full.front.fast._commit_after = 0.0
    file = tmp_path / "now"

    async def run(_: ToolCall, __: Report) -> ToolResult:
        await until(file.exists)
        return ToolResult(Outcome.FAILED, {}, "it broke", "mend it")

    schema = {"type": "object", "properties": {"file": {"type": "string"}}}
    late = Tool("fails_late", "", "", Effect.READ, schema, None, run)
    full.app.registry.add(late)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(full.url.rsplit(":", 1)[1]))
    writer.write(_ask(tool, 5, file=str(file)).raw(full.key("developer")))
    async with asyncio.timeout(LONG):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        file.touch()
        body = await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    assert head.startswith("http/1.1 200")
    assert "content-type: text/event-stream" in head
    frame = next(part for part in body.split(b"\r\n") if part.startswith(b"data: "))
    message = json.loads(frame.removeprefix(b"data: "))
    assert b"event: message\r\n" in body
    assert message["id"] == 5
    assert message["result"]["isError"] is (tool == "fails_late")
    text = message["result"]["content"][0]["text"]
    assert text == "it broke\nmend it" if tool == "fails_late" else "done" in text
