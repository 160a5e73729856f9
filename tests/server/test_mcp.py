"""The official SDK's client against our server, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from server.conftest import House, running
from server.tools import echo, note
from waiting import LONG, until

ERAS = {"legacy": "2025-11-25", "2026-07-28": "2026-07-28"}
era = pytest.mark.parametrize("mode", list(ERAS))


@asynccontextmanager
async def connected(
    house: House, key: str, mode: str, request_id: str = "", **more: Any
) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        headers = {"Authorization": f"Bearer {key}"}
        if request_id:
            headers["X-Request-Id"] = request_id
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=LONG))
        transport = streamable_http_client(house.url + "/mcp", http_client=http)
        yield await stack.enter_async_context(Client(transport, mode=mode, **more))


@era
async def test_tools_are_listed_and_called_in_both_eras(house: House, mode: str) -> None:
    async with connected(house, house.key("developer"), mode) as client:
        assert client.protocol_version == ERAS[mode]
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools) == sorted(tools)
        assert "wreck" not in tools, "a developer may not call what destroys"
        annotations = tools["echo"].annotations
        assert annotations is not None
        assert annotations.read_only_hint is True
        answer = await client.call_tool("echo", {"text": "hi", "times": 2})
        assert answer.is_error is False
        assert answer.structured_content == {
            "success": True,
            "outcome": "succeeded",
            "said": "hi hi",
        }
        assert isinstance(answer.content[0], types.TextContent)
        assert json.loads(answer.content[0].text) == answer.structured_content
    await house.app.audit.settled()
    calls = house.app.audit.calls(limit=1)
    assert (calls[0].tool, calls[0].via, calls[0].outcome) == ("echo", "mcp", "succeeded")


@era
async def test_an_unknown_tool_is_an_error_of_the_protocol(house: House, mode: str) -> None:
    async with connected(house, house.key("developer"), mode) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("nowhere", {})
        assert caught.value.error.code == types.INVALID_PARAMS
        assert "nowhere" in caught.value.error.message


@era
async def test_bad_arguments_a_denial_and_a_failure_are_answers_that_a_model_can_read(
    house: House, mode: str
) -> None:
    async with connected(house, house.key("developer"), mode) as client:
        bad = await client.call_tool("echo", {"text": 5})
        denied = await client.call_tool("wreck", {"text": "all"})
        failed = await client.call_tool("fails", {"how": "answer"})
    for answer, words in (
        (bad, "echo: text: the value is not of type"),
        (denied, "no rule lets key:"),
        (failed, "it did not work\ntry harder"),
    ):
        assert answer.is_error is True
        assert isinstance(answer.content[0], types.TextContent)
        assert answer.content[0].text.startswith(words)
    assert failed.structured_content is not None
    assert failed.structured_content["checked"] == 3


@era
async def test_an_argument_that_does_not_count_is_said_in_words(house: House, mode: str) -> None:
    async with connected(house, house.key("developer"), mode) as client:
        answer = await client.call_tool("lenient", {"text": "hi", "txt": "ho"})
    assert answer.is_error is False
    assert isinstance(answer.content[-1], types.TextContent)
    said = "unknown argument 'txt' is ignored; did you mean 'text'?"
    assert answer.content[-1].text == f"warning: {said}"
    assert answer.structured_content is not None
    assert answer.structured_content["warnings"] == [said]


@era
async def test_progress_of_a_long_call_arrives_before_its_result(house: House, mode: str) -> None:
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        heard.append((done, total, message))

    async with connected(house, house.key("developer"), mode) as client:
        answer = await client.call_tool("slow", {"seconds": 0.3}, progress_callback=hear)
        assert answer.is_error is False
    assert heard == [(step, 5.0, f"step {step}") for step in range(1, 6)]


@era
async def test_a_cancelled_call_ends_its_tool_which_cleans_up_first(
    house: House, mode: str, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    async with connected(house, house.key("developer"), mode) as client:
        call = asyncio.create_task(client.call_tool("slow", {"seconds": 30, "mark": str(mark)}))
        await until(mark.exists)
        call.cancel()
        await until(lambda: mark.read_text("utf-8") == "cleaned up")
        await house.app.audit.settled()
        assert house.app.audit.calls(limit=1)[0].outcome == "cancelled"
        assert (await client.call_tool("echo", {"text": "still here"})).is_error is False


async def test_a_change_of_the_tools_is_told_to_a_client_of_the_handshake_era(
    house: House,
) -> None:
    told = asyncio.Event()

    async def hear(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.set()

    key = house.key("developer")
    async with connected(house, key, "legacy", message_handler=hear) as client:
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.tools.list_changed is True
        async with asyncio.timeout(LONG):
            while not told.is_set():  # its stream for such messages opens on its own
                house.app.registry.remove("note")
                await asyncio.sleep(0.2)
                if not told.is_set():
                    house.app.registry.add(note.bind(house.app.services))
        assert "note" not in {tool.name for tool in (await client.list_tools()).tools}


async def test_a_change_of_the_tools_is_told_to_a_client_that_listens(house: House) -> None:
    async with connected(house, house.key("developer"), "auto") as client:
        assert client.server_capabilities.tools is not None
        assert client.server_capabilities.tools.list_changed is True
        async with client.listen(tools_list_changed=True) as changes:
            house.app.registry.remove("note")
            async with asyncio.timeout(LONG):
                async for change in changes:
                    assert type(change).__name__ == "ToolsListChanged"
                    break
            house.app.registry.add(
                echo.__class__("again", echo.effect, echo.function, False, False, 60).bind(
                    house.app.services
                )
            )
            async with asyncio.timeout(LONG):
                async for _ in changes:
                    break
        assert "again" in {tool.name for tool in (await client.list_tools()).tools}


async def test_a_viewer_sees_no_tool_that_it_may_not_call(house: House) -> None:
    async with connected(house, house.key("viewer"), "2026-07-28") as client:
        assert (await client.list_tools()).tools == []
    key = house.key("developer", tools=("echo",))
    async with connected(house, key, "2026-07-28") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["echo"]


async def post(house: House, key: str, body: Any, **headers: str) -> tuple[int, str, Any]:
    given = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, text/event-stream",
        **headers,
    }
    async with house.session.post(house.url + "/mcp", json=body, headers=given) as answer:
        return answer.status, await answer.text(), answer.headers


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


async def test_a_session_is_not_found_by_who_did_not_open_it(house: House) -> None:
    mine, theirs = house.key("developer"), house.key("developer")
    status, _, headers = await post(house, mine, INITIALIZE)
    assert status == 200
    session = {"Mcp-Session-Id": headers["mcp-session-id"], "MCP-Protocol-Version": "2025-11-25"}
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert (await post(house, mine, ping, **session))[0] == 200
    assert (await post(house, theirs, ping, **session))[0] == 404


@pytest.mark.parametrize("key", ["", "plt_wrong"])
async def test_without_a_good_key_nothing_is_spoken(house: House, key: str) -> None:
    status, text, headers = await post(house, key, INITIALIZE)
    assert status == 401
    assert headers["www-authenticate"].startswith("Bearer")
    assert json.loads(text)["success"] is False
    await house.app.audit.settled()
    entry = house.app.audit.list(limit=1)[0]
    assert (entry.event, entry.body["via"]) == ("refused", "mcp")


async def test_a_foreign_host_or_origin_is_refused(house: House) -> None:
    key = house.key("developer")
    assert (await post(house, key, INITIALIZE, Host="evil.example"))[0] == 421
    assert (await post(house, key, INITIALIZE, Origin="https://evil.example"))[0] == 403
    assert (await post(house, key, INITIALIZE, Origin="http://localhost:5"))[0] == 200


async def test_the_sdk_may_be_asked_without_a_key_only_where_that_was_allowed(
    house: House, tmp_path: Path
) -> None:
    from pilotage.domain.call import Principal

    anybody = Principal("local:anybody", frozenset({"developer"}))
    async with running(house.app, anybody) as open_house:
        async with Client(open_house.url + "/mcp", mode="2026-07-28") as client:
            assert (await client.call_tool("echo", {"text": "hi"})).is_error is False
        assert (await post(open_house, "plt_wrong", INITIALIZE))[0] == 401
