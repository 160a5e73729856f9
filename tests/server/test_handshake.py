"""tools/call in a session of the handshake eras: past the SDK, all is as with the SDK.

A test "by" both runs once more with each request going to the SDK.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pilotage.domain.call import Effect, Outcome, Progress, Report, ToolCall, ToolResult
from pilotage.server.sessions import IDLE_SECONDS
from pilotage.tool.tool import Tool
from server import odd_requests
from server.conftest import House
from server.odd_requests import HANDSHAKE, Odd
from server.test_fast import MORE_TOOLS, Answered, Line, by_both, recorded
from server.test_mcp import connected
from waiting import LONG, until

SEED = int(os.environ.get("PILOTAGE_TEST_SEED", "7"))
MIXED = int(os.environ.get("PILOTAGE_TEST_MIXED", "300"))
VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", HANDSHAKE)
CANCELLED = {"code": -32800, "message": "Request cancelled"}
FOR_THE_SDK = {"io.modelcontextprotocol/x": 1}
"""In `_meta`: nothing that means anything, but the fast path does not know that."""
by = pytest.mark.parametrize("way", ["fast", "sdk"])


@dataclass
class Told:
    """One client with a session."""

    house: House
    key: str
    version: str = HANDSHAKE
    id: str = ""
    lines: list[Line] = field(default_factory=list)

    async def ask(self, body: Any, *, method: str = "POST", **headers: str) -> Answered:
        """One request, on a line of its own."""
        given = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": self.version,
            **({"Mcp-Session-Id": self.id} if self.id else {}),
            **headers,
        }
        raw = Odd("", tuple(given.items()), json.dumps(body).encode(), method).raw(self.key)
        line = Line(int(self.house.url.rsplit(":", 1)[1]))
        self.lines.append(line)
        try:
            async with asyncio.timeout(LONG):
                return await line.ask(raw)
        finally:
            line.close()

    async def call(self, name: str, id: Any = 1, meta: Any = None, **arguments: Any) -> Answered:
        params = {"name": name, "arguments": arguments, **({"_meta": meta} if meta else {})}
        return await self.ask(
            {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
        )

    async def cancel(self, id: Any, **headers: str) -> int:
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}
        return (await self.ask(note, **headers)).status

    async def end(self) -> int:
        return (await self.ask(None, method="DELETE")).status


async def initialized(told: Told, about: dict[str, Any]) -> str:
    """The id of a session that a client asks for; if it is let in is another question."""
    params = {"protocolVersion": told.version, "capabilities": {}, **about}
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    head = {"Authorization": f"Bearer {told.key}", "Accept": "application/json, text/event-stream"}
    url = told.house.url + "/mcp"
    async with told.house.session.post(url, json=body, headers=head) as answer:
        assert await answer.read()
        return answer.headers["Mcp-Session-Id"]


async def opened(house: House, key: str = "", version: str = HANDSHAKE) -> Told:
    """A session whose client is initialized."""
    told, before = Told(house, key or house.key("developer"), version), sessions(house)
    told.id = await initialized(told, {"clientInfo": {"name": "test", "version": "1"}})
    assert (await told.ask({"jsonrpc": "2.0", "method": "notifications/initialized"})).status == 202
    await until(lambda: sessions(house) > before)
    return told


def sessions(house: House) -> int:
    return house.front._protocol.open["sessions"]


def go(house: House, way: str) -> None:
    """From now on this way."""
    house.front._mcp = house.front.fast if way == "fast" else house.front._protocol


def fast_calls(house: House) -> int:
    return house.front.handshake.called


@pytest.mark.parametrize("part", ["bodies", "texts", "heads", "tools", "mixed", "sessions"])
async def test_odd_requests_in_a_session_are_answered_as_the_sdk_answers_them(
    house: House, part: str
) -> None:
    for tool in MORE_TOOLS:
        house.app.registry.add(tool)
    told = await opened(house)
    made = {
        "bodies": odd_requests.bodies,
        "texts": odd_requests.texts,
        "heads": odd_requests.heads,
        "tools": odd_requests.tools,
        "mixed": lambda: odd_requests.mixed(SEED, MIXED),
    }
    if part == "sessions":
        requests = list(odd_requests.sessions(told.id))
    else:
        odd = [odd_requests.in_session(one, told.id) for one in made[part]()]
        # the one is a stream without an end, the other ends the session
        requests = [one for one in odd if one.method not in ("GET", "DELETE")]
    answered, differences = await by_both(house, requests, told.key, house.front.handshake)
    assert not differences, f"seed {SEED}:\n" + "\n".join(differences[:20])
    assert 0 < answered < len(requests), "some are plain, some are not"


@pytest.mark.parametrize("version", VERSIONS)
async def test_each_handshake_era_has_its_fast_path(house: House, version: str) -> None:
    told = await opened(house, version=version)
    (answer,) = (await told.call("echo", "an id", text="hi")).body
    assert answer["id"] == "an id"
    assert answer["result"]["structuredContent"]["said"] == "hi"
    assert "resultType" not in answer["result"]
    assert fast_calls(house) == 1


async def test_the_official_client_is_answered_beside_the_sdk_and_told_of_progress(
    house: House,
) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with connected(house, house.key("developer"), "legacy") as client:
        assert (await client.call_tool("echo", {"text": "hi"})).is_error is False
        arguments = {"seconds": 0.2}
        answer = await client.call_tool("slow", arguments, progress_callback=heard)
        assert answer.is_error is False
    assert told == [(step, 5, f"step {step}") for step in range(1, 6)]
    assert fast_calls(house) == 2


@by
@pytest.mark.parametrize("named", [7, "7"])
async def test_a_cancelled_call_ends_its_tool_and_is_answered_so(
    house: House, tmp_path: Path, way: str, named: Any
) -> None:
    told, mark = await opened(house), tmp_path / "mark"
    go(house, way)
    calling = asyncio.create_task(told.call("slow", 7, seconds=600, mark=str(mark)))
    other = asyncio.create_task(told.call("slow", 8, seconds=600))
    await until(mark.exists)
    await until(lambda: house.app.gateway.running == 2)
    assert await told.cancel("no such id") == 202
    assert await told.cancel(named) == 202
    assert (await calling).body == [{"jsonrpc": "2.0", "id": 7, "error": CANCELLED}]
    assert mark.read_text("utf-8") == "cleaned up"
    assert [call[3] for call in await recorded(house, 2)] in (
        ["cancelled", None],
        [None, "cancelled"],
    )
    assert not other.done()
    await told.cancel(8)
    await other
    assert (await told.call("echo", 7, text="the id is free again")).status == 200
    assert fast_calls(house) == (3 if way == "fast" else 0)


@by
async def test_a_cancel_that_is_refused_cancels_nothing(
    house: House, tmp_path: Path, way: str
) -> None:
    told, file = await opened(house), tmp_path / "file"
    go(house, way)
    calling = asyncio.create_task(told.call("waits", 7, file=str(file)))
    await until(lambda: house.app.gateway.running == 1)
    assert await told.cancel(7, Accept="application/json") == 406
    file.touch()
    assert (await calling).body[0]["result"]["isError"] is False


@by
async def test_progress_is_told_while_the_call_runs(house: House, tmp_path: Path, way: str) -> None:
    file = tmp_path / "file"

    async def run(_: ToolCall, report: Report) -> ToolResult:
        report(Progress("so far", 1))
        await until(file.exists)
        return ToolResult(Outcome.SUCCEEDED)

    house.app.registry.add(Tool("tells", "", "", Effect.READ, {"type": "object"}, None, run))
    told = await opened(house)
    go(house, way)
    params = {"name": "tells", "arguments": {}, "_meta": {"progressToken": "a token"}}
    head = {
        "Authorization": f"Bearer {told.key}",
        "Accept": "application/json, text/event-stream",
        "Mcp-Session-Id": told.id,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with house.session.post(house.url + "/mcp", json=body, headers=head) as answer:
        async with asyncio.timeout(LONG):
            news = await answer.content.readuntil(b"\r\n\r\n")
        file.touch()
        end = await answer.content.readuntil(b"\r\n\r\n")
    told_so = {"progressToken": "a token", "progress": 1, "message": "so far"}
    note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": told_so}
    assert json.loads(news.partition(b"data: ")[2]) == note
    assert json.loads(end.partition(b"data: ")[2])["result"]["isError"] is False


@by
async def test_the_end_of_a_session_ends_its_calls(house: House, tmp_path: Path, way: str) -> None:
    told, mine = await opened(house), await opened(house)
    mark, file = tmp_path / "mark", tmp_path / "file"
    go(house, way)
    calling = asyncio.create_task(told.call("slow", 1, seconds=600, mark=str(mark)))
    elsewhere = asyncio.create_task(mine.call("waits", 1, file=str(file)))
    await until(mark.exists)
    await until(lambda: house.app.gateway.running == 2)
    assert await told.end() == 200
    answer = await calling
    assert (answer.status, answer.body) == (200, b""), "a stream that ends without an answer"
    await until(lambda: mark.read_text("utf-8") == "cleaned up")
    assert (await told.call("echo", text="hi")).status == 404
    file.touch()
    assert (await elsewhere).body[0]["result"]["isError"] is False


@by
async def test_a_server_that_stops_ends_the_calls_and_their_streams(
    house: House, tmp_path: Path, way: str
) -> None:
    told, mark = await opened(house), tmp_path / "mark"
    go(house, way)
    calling = asyncio.create_task(told.call("slow", 3, seconds=600, mark=str(mark)))
    await until(mark.exists)
    await house.front.drain(0.05)
    assert mark.read_text("utf-8") == "cleaned up", "it was waited for"
    assert not (await calling).body


@by
async def test_a_client_that_goes_away_ends_nothing(house: House, tmp_path: Path, way: str) -> None:
    told, file = await opened(house), tmp_path / "file"
    go(house, way)
    calling = asyncio.create_task(told.call("waits", file=str(file)))
    await until(lambda: house.app.gateway.running == 1)
    told.lines[-1].close()
    await asyncio.wait({calling})
    await asyncio.sleep(0.2)  # a server that did end it would have by now
    assert house.app.gateway.running == 1
    file.touch()
    await until(lambda: house.app.gateway.running == 0)
    assert (await recorded(house, 1))[0][3] == "succeeded"


async def test_what_runs_or_listens_keeps_its_session_from_being_idle(
    house: House, tmp_path: Path
) -> None:
    calls, listens, rests = [await opened(house) for _ in range(3)]
    file = tmp_path / "file"
    calling = asyncio.create_task(calls.call("waits", file=str(file)))
    await until(lambda: house.app.gateway.running == 1)
    head = {
        "Authorization": f"Bearer {listens.key}",
        "Accept": "text/event-stream",
        "Mcp-Session-Id": listens.id,
    }
    async with house.session.get(house.url + "/mcp", headers=head) as stream:
        assert stream.status == 200
        protocol = house.front._protocol
        await protocol.end_idle(time.monotonic() + IDLE_SECONDS - 1)
        assert (await rests.call("echo", text="hi")).status == 200
        await protocol.end_idle(time.monotonic() + IDLE_SECONDS + 1)
        assert (await rests.call("echo", text="hi")).status == 404
        assert (await listens.call("echo", text="hi")).status == 200
        assert (await calls.call("echo", 2, text="hi")).status == 200
        file.touch()
        assert (await calling).status == 200
        await protocol.end_idle(time.monotonic() + IDLE_SECONDS + 1)
        assert (await calls.call("echo", text="hi")).status == 404
        assert (await listens.call("echo", text="hi")).status == 200
    await until(lambda: sessions(house) == 1)


@by
async def test_with_a_session_of_another_nobody_gets_anywhere(
    house: House, tmp_path: Path, way: str
) -> None:
    told, file = await opened(house), tmp_path / "file"
    thief = Told(house, house.key("administrator"), id=told.id)
    go(house, way)
    calling = asyncio.create_task(told.call("waits", 5, file=str(file)))
    await until(lambda: house.app.gateway.running == 1)
    before = fast_calls(house)
    assert (await thief.call("echo", text="hi")).status == 404
    assert await thief.cancel(5) == 404
    assert await thief.end() == 404
    assert (house.app.gateway.running, fast_calls(house)) == (1, before)
    file.touch()
    assert (await calling).body[0]["result"]["isError"] is False
    assert (await told.call("echo", text="still mine")).status == 200


async def test_of_two_calls_with_one_id_each_is_answered_and_the_newer_cancelled(
    house: House, tmp_path: Path
) -> None:
    told, file, mark = await opened(house), tmp_path / "file", tmp_path / "mark"
    older = asyncio.create_task(told.call("waits", 1, file=str(file)))
    await until(lambda: house.app.gateway.running == 1)
    newer = asyncio.create_task(told.call("slow", "1", seconds=600, mark=str(mark)))
    await until(mark.exists)
    assert (await told.call("echo", 1, text="a third")).body[0]["result"]["isError"] is False
    await told.cancel(1)
    assert (await newer).body == [{"jsonrpc": "2.0", "id": "1", "error": CANCELLED}]
    await told.cancel(1)
    assert not older.done(), "who has the id is who came last"
    file.touch()
    assert (await older).body[0]["result"]["isError"] is False
    assert fast_calls(house) == 3


async def test_a_call_has_its_answer_though_the_sdk_has_its_id_in_use(
    house: House, tmp_path: Path
) -> None:
    told, file, mark = await opened(house), tmp_path / "file", tmp_path / "mark"
    held = asyncio.create_task(told.call("waits", 1, FOR_THE_SDK, file=str(file)))
    await until(lambda: house.app.gateway.running == 1)
    beside = asyncio.create_task(told.call("slow", 1, seconds=600, mark=str(mark)))
    await until(mark.exists)
    assert (await told.call("echo", 1, text="hi")).body[0]["result"]["isError"] is False
    assert fast_calls(house) == 2
    file.touch()
    assert (await held).body[0]["result"]["isError"] is False
    await told.cancel(1)
    assert (await beside).body == [{"jsonrpc": "2.0", "id": 1, "error": CANCELLED}]


@by
@pytest.mark.parametrize("token", [None, 9])
async def test_a_call_that_fails_late_is_told_in_one_stream(
    house: House, token: int | None, way: str
) -> None:
    """Its progress, then the words of the SDK."""
    told = await opened(house)
    go(house, way)
    meta = None if token is None else {"progressToken": token}
    answer = await told.call("fails_quickly", 4, meta, how="timeout")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["mcp-session-id"]
    (end,) = answer.body
    assert end["id"] == 4
    assert end["result"]["isError"] is True
    assert "took longer than 0.2 s" in end["result"]["content"][0]["text"]


async def test_a_client_may_call_from_its_initialize_on(house: House) -> None:
    told = Told(house, house.key("developer"))
    told.id = await initialized(told, {"clientInfo": {"name": "test", "version": "1"}})
    assert (await told.call("echo", text="hi")).body[0]["result"]["isError"] is False
    assert fast_calls(house) == 1


@by
async def test_a_session_whose_client_was_not_let_in_calls_nothing_and_ends_too(
    house: House, way: str
) -> None:
    told = Told(house, house.key("developer"))
    told.id = await initialized(told, {"clientInfo": "nobody"})
    go(house, way)
    assert (await told.call("echo", text="hi")).body[0]["error"]["code"] == -32602
    assert fast_calls(house) == 0
    async with asyncio.timeout(LONG):
        while (answer := await told.call("echo", text="hi")).status == 200:
            await asyncio.sleep(0.01)  # the request before is about to be over
            await house.front._protocol.end_idle(time.monotonic() + IDLE_SECONDS + 1)
    assert answer.status == 404
