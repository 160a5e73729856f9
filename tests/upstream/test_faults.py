"""Servers that misbehave: killed, hung, flooding, lying, changing in mid-call."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pilotage.domain.call import Outcome
from pilotage.domain.errors import Busy, PilotageError, Unavailable
from pilotage.tool.registry import State
from pilotage.upstream import connection as connections
from upstream.house import Parts, federated
from upstream.mcp_server import CLASSIC, MODERN, TEXT, Asked, said, serving, tool
from waiting import until

era = pytest.mark.parametrize("spoken", [MODERN, CLASSIC])


async def fails(parts: Parts, name: str = "echo") -> str:
    with pytest.raises(PilotageError) as caught:
        await parts.call(name, text="x")
    return caught.value.what


@era
async def test_a_killed_server_makes_its_tools_unavailable_and_they_come_back_by_themselves(
    tmp_path: Path, spoken: str
) -> None:
    async with (
        serving(eras=(spoken,)) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        port = server.port
        await server.stop()
        while parts.state("echo") is State.READY:
            with pytest.raises(PilotageError):
                await parts.call("echo", text="x")
        assert parts.state("echo") is State.UNAVAILABLE
        why = parts.registry.all["echo"].why
        assert "the upstream up" in why
        assert str(port) in why
        with pytest.raises(Unavailable):
            parts.registry.find("echo")
        assert parts.standing("up").state == "unavailable"
        server.sessions.clear()
        await server.start(port)
        await parts.until_state("echo", State.READY)
        assert (await parts.call("echo", text="back")).succeeded


async def test_a_server_that_is_down_at_the_start_is_found_when_it_is_there(tmp_path: Path) -> None:
    async with serving() as server:
        port = server.port
        await server.stop()
        async with federated(tmp_path, up={"url": server.url}) as parts:
            assert parts.standing("up").state == "unavailable"
            await server.start(port)
            await parts.until_state("echo", State.READY)


async def test_one_lost_answer_opens_nothing_three_in_a_row_do(tmp_path: Path) -> None:
    async def dying(asked: Asked) -> Any:
        if asked.arguments["text"] == "die":
            return web.Response(status=502)
        return said("fine")

    async with (
        serving(answer=dying) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        for text in ("die", "die", "live", "die", "die"):
            call = parts.call("echo", text=text)
            if text == "die":
                with pytest.raises(Unavailable):
                    await call
            else:
                assert (await call).succeeded
        assert parts.state("echo") is State.READY
        with pytest.raises(Unavailable):
            await parts.call("echo", text="die")
        assert parts.state("echo") is State.UNAVAILABLE
        await parts.until_state("echo", State.READY)


async def test_too_many_requests_is_busy_and_no_outage(tmp_path: Path) -> None:
    async def busy(_: Asked) -> Any:
        return web.Response(status=429)

    async with serving(answer=busy) as server, federated(tmp_path, up={"url": server.url}) as parts:
        for _ in range(5):
            with pytest.raises(Busy):
                await parts.call("echo", text="x")
        assert parts.state("echo") is State.READY


async def test_a_slow_tool_times_out_alone_and_a_hung_server_goes_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "PROBE_SECONDS", 0.2)
    hung = False

    async def slow(_: Asked) -> Any:
        await asyncio.Event().wait()

    async def discover(_: Asked) -> Any:
        if hung:
            await asyncio.Event().wait()
        return {"supportedVersions": [MODERN], "capabilities": {}}

    extra = {"server/discover": discover}
    async with serving(answer=slow, extra=extra) as server, serving(tools=[tool("b")]) as other:
        ups: dict[str, Any] = {
            "up": {"url": server.url, "timeout": 0.2},
            "other": {"url": other.url},
        }
        async with federated(tmp_path, **ups) as parts:
            result = await parts.call("echo", text="x")
            assert result.outcome is Outcome.TIMED_OUT
            await until(lambda: sum(m["method"] == "server/discover" for _, m in server.seen) > 1)
            assert parts.state("echo") is State.READY
            hung = True
            assert (await parts.call("echo", text="x")).outcome is Outcome.TIMED_OUT
            await parts.until_state("echo", State.UNAVAILABLE)
            assert (await parts.call("b", text="x")).succeeded


async def test_a_slow_server_holds_up_no_other_and_its_queue_is_bounded(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(_: Asked) -> Any:
        await gate.wait()
        return said("at last")

    async with serving(answer=slow) as server, serving(tools=[tool("b")]) as other:
        ups: dict[str, Any] = {
            "up": {"url": server.url, "parallel": 2},
            "other": {"url": other.url},
        }
        async with federated(tmp_path, **ups) as parts:
            calls = [asyncio.create_task(parts.call("echo", text="x")) for _ in range(4)]
            await until(lambda: sum(m["method"] == "tools/call" for _, m in server.seen) == 2)
            with pytest.raises(Busy):
                await parts.call("echo", text="x")
            assert (await parts.call("b", text="x")).succeeded
            gate.set()
            assert all([(await call).succeeded for call in calls])


@pytest.mark.parametrize("how", ["json", "announced", "events", "endless line"])
async def test_a_flood_is_cut_at_the_limit(tmp_path: Path, how: str) -> None:
    sent = 0

    async def flooding(asked: Asked) -> Any:
        nonlocal sent
        if how == "json":
            return said("x" * 50_000)
        if how == "announced":
            return web.Response(body=b"{}", headers={"Content-Length": "999999999"})
        line = "x" * 1_000
        while True:
            sent += len(line)
            params = {"level": "info", "data": line}
            if how == "endless line":
                params["data"] = "x" * 40_000
            await asked.tell(
                {"jsonrpc": "2.0", "method": "notifications/message", "params": params}
            )

    async with (
        serving(answer=flooding) as server,
        federated(tmp_path, up={"url": server.url, "result_limit": 10_000}) as parts,
    ):
        assert "more than" in await fails(parts)
        assert parts.state("echo") is State.READY, "too much is an answer, not an outage"


async def test_too_many_tools_make_the_server_unavailable_with_the_reason(tmp_path: Path) -> None:
    many = [tool(f"t{number}") for number in range(20)]
    async with (
        serving(tools=many) as server,
        federated(tmp_path, up={"url": server.url, "tool_limit": 10}) as parts,
    ):
        assert parts.registry.all == {}
        assert "more than 10 tools" in parts.standing("up").why


DEEP: dict[str, Any] = {"type": "object"}
for _ in range(100):
    DEEP = {"type": "object", "properties": {"a": DEEP}}

REFUSED = {
    "no input schema": {"inputSchema": None},
    "not of an object": {"inputSchema": {"type": "string"}},
    "no schema at all": {"inputSchema": {"type": "object", "properties": 5}},
    "another document": {"inputSchema": {"type": "object", "$ref": "https://x.example/s"}},
    "too deep": {"inputSchema": DEEP},
    "a bad promise": {"outputSchema": {"type": "nothing"}},
    "a long description": {"description": "x" * 40_000},
    "huge": {"_meta": {"x": "y" * 300_000}},
    "a bad header": {
        "inputSchema": {**TEXT, "properties": {"text": {"type": "string", "x-mcp-header": "a b"}}}
    },
}


@pytest.mark.parametrize("more", REFUSED.values(), ids=REFUSED)
async def test_a_tool_that_nobody_could_be_given_is_refused_alone(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    async with (
        serving(tools=[{**tool("odd"), **more}, tool("echo")]) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        assert list(parts.registry.all) == ["echo"]
        refused = parts.standing("up").refused
        assert [name for name, _ in refused] == ["odd"]
        assert refused[0][1]


@pytest.mark.parametrize("eras", [(MODERN,), (CLASSIC,)], ids=["modern", "classic"])
async def test_the_answer_to_another_request_is_nobodys(
    tmp_path: Path, eras: tuple[str, ...]
) -> None:
    """It may be what somebody else asked, who has given it up meanwhile."""

    async def late(asked: Asked) -> Any:
        for id in (asked.message["id"] + 1, str(asked.message["id"]), None):
            await asked.tell({"jsonrpc": "2.0", "id": id, "result": said("another's")})
        return said("mine")

    async def wrong(asked: Asked) -> Any:
        body = {"jsonrpc": "2.0", "id": asked.message["id"] + 1, "result": said("another's")}
        return web.json_response(body)

    async with (
        serving(eras=eras, answer=late) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        result = await parts.call("echo", text="x")
        assert result.value == {"content": [{"type": "text", "text": "mine"}]}
        server.answer = wrong
        assert "answers another request" in await fails(parts)


@pytest.mark.parametrize("error", [5, "x", [], {}, {"code": "a", "message": "m"}, {"message": 5}])
async def test_an_error_is_one_that_a_client_knows(tmp_path: Path, error: Any) -> None:
    async def lying(asked: Asked) -> Any:
        body = {"jsonrpc": "2.0", "id": asked.message["id"], "error": error}
        return web.json_response(body)

    async with (
        serving(answer=lying) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        result = await parts.call("echo", text="x")
        assert result.wire is not None
        told = json.loads(b"{" + result.wire + b"}")["error"]
        assert (type(told["code"]), type(told["message"])) == (int, str)


OUT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said("5"), "promised a structured result"),
        (said("5", structuredContent={"n": "five"}), "n: the value is not of type"),
        ([1, 2], "no result of a tool"),
        ({"content": [], "resultType": "task"}, "'task'"),
    ],
)
async def test_a_server_that_lies_about_its_results_has_failed(
    tmp_path: Path, answer: Any, words: str
) -> None:
    async def lying(asked: Asked) -> Any:
        id = asked.message["id"]
        return (
            answer
            if isinstance(answer, dict)
            else web.json_response({"jsonrpc": "2.0", "id": id, "result": answer})
        )

    async with (
        serving(tools=[tool("echo", outputSchema=OUT)], answer=lying) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        if words == "no result of a tool":
            assert words in await fails(parts)
        else:
            result = await parts.call("echo", text="x")
            assert result.outcome is Outcome.FAILED
            assert words in (result.error or "")
            assert result.wire is None, "what it sent is not handed on"
        assert parts.state("echo") is State.READY


async def test_an_error_needs_no_structure(tmp_path: Path) -> None:
    async def failing(_: Asked) -> Any:
        return said("no such thing", isError=True)

    async with (
        serving(tools=[tool("echo", outputSchema=OUT)], answer=failing) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        assert (await parts.call("echo", text="x")).error == "no such thing"


async def test_tools_that_change_in_mid_call_change_after_it(tmp_path: Path) -> None:
    async def changing(_: Asked) -> Any:
        server.tools = [tool("echo", outputSchema=OUT)]
        await server.announce("notifications/tools/list_changed")
        await parts.until_state("echo", State.QUARANTINED)
        return said("as it was", structuredContent={"n": "five"})

    async with (
        serving(answer=changing) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        await until(lambda: bool(server.streams))
        assert (await parts.call("echo", text="x")).succeeded
        with pytest.raises(PilotageError):
            parts.registry.find("echo")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"jsonrpc":"2.0","id":1}', b"\xff" * 9])
async def test_what_is_no_json_rpc_is_an_outage_with_the_reason(
    tmp_path: Path, body: bytes
) -> None:
    async def answering(_: Asked) -> Any:
        return web.Response(body=body, content_type="application/json")

    async with (
        serving(answer=answering) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        for _ in range(3):
            assert "the upstream up" in await fails(parts)
        assert parts.state("echo") is State.UNAVAILABLE


async def test_a_stream_that_ends_without_an_answer_is_told(tmp_path: Path) -> None:
    async def ending(asked: Asked) -> Any:
        await asked.tell({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})

    async with (
        serving(answer=ending) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        assert "broke off" in await fails(parts)


async def test_a_stream_that_is_cut_is_opened_anew_and_the_list_is_read(tmp_path: Path) -> None:
    async with serving() as server, federated(tmp_path, up={"url": server.url}) as parts:
        await until(lambda: bool(server.streams))
        server.tools = [tool("echo"), tool("other")]
        first = server.streams[0]
        server.cut()
        await until(lambda: "other" in parts.registry.all)
        await until(lambda: bool(server.streams) and first not in server.streams)


async def test_a_flood_of_announcements_reads_the_list_a_few_times(tmp_path: Path) -> None:
    async with serving() as server, federated(tmp_path, up={"url": server.url}) as parts:
        await until(lambda: bool(server.streams))
        lists = server.lists
        began = time.monotonic()
        for _ in range(300):
            await server.announce("notifications/tools/list_changed")
        await until(lambda: bool(parts.news))
        passed = time.monotonic() - began
        assert server.lists - lists <= 2 + passed / connections.SETTLE_SECONDS
