"""Many tools by a search, over the official SDK's client in both eras; and how they are ranked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import mcp_types as types
import pytest
from mcp import MCPError

from pilotage.domain.call import Effect, Outcome, Report, ToolCall, ToolResult
from pilotage.domain.errors import BadInput
from pilotage.server import search
from pilotage.tool.tool import Tool
from server.conftest import House, make_app, running
from server.test_mcp import connected, era


def many(count: int) -> Iterator[Tool]:
    """Tools of another owner, one of which does something of its own."""

    async def run(call: ToolCall, _: Report) -> ToolResult:
        return ToolResult(Outcome.SUCCEEDED, {"called": call.tool, "with": dict(call.arguments)})

    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    for number in range(count):
        text = f"Plain thing number {number}. It does what things do, and things do a lot."
        yield Tool(f"thing_{number:03}", text, text, Effect.READ, schema, None, run)
    text = "Weather report. Tells whether it will rain in a city tomorrow."
    yield Tool("forecast", text, text, Effect.READ, schema, None, run)
    text = "Erases the weather of a city."
    yield Tool("flood", text, text, Effect.DESTROY, schema, None, run)


@pytest.fixture
async def crowd(tmp_path: Path) -> AsyncIterator[House]:
    (tmp_path / "root").mkdir()
    app = make_app(tmp_path / "home", tmp_path / "root")
    for tool in many(100):
        app.registry.add(tool)
    try:
        async with running(app) as house:
            yield house
    finally:
        app.close()


@era
async def test_of_many_tools_some_are_listed_and_the_others_found_and_called(
    crowd: House, mode: str
) -> None:
    async with connected(crowd, crowd.key("developer"), mode) as client:
        listed = [tool.name for tool in (await client.list_tools()).tools]
        assert len(listed) == 40
        assert {"call_tool", "search_tools", "echo"} <= set(listed)
        assert listed == sorted(listed)
        found = await client.call_tool("search_tools", {"query": "will it rain?", "limit": 2})
        assert found.structured_content is not None
        best = found.structured_content["tools"][0]
        assert (best["name"], best["effect"]) == ("forecast", "read")
        assert best["inputSchema"]["required"] == ["city"]
        content = found.content[0]
        assert isinstance(content, types.TextContent)
        assert json.loads(content.text) == found.structured_content
        call = {"name": "forecast", "arguments": {"city": "Ulm"}}
        answer = await client.call_tool("call_tool", call)
        assert answer.structured_content is not None
        assert answer.structured_content["called"] == "forecast"
        assert answer.structured_content["with"] == {"city": "Ulm"}
        plain = await client.call_tool("forecast", {"city": "Ulm"})
        assert plain.structured_content == answer.structured_content
    await crowd.app.audit.settled()
    assert {call.tool for call in crowd.app.audit.calls(limit=10)} == {"forecast"}


@era
async def test_call_tool_may_what_the_tool_may_and_no_more(crowd: House, mode: str) -> None:
    async with connected(crowd, crowd.key("developer"), mode) as client:
        for arguments, says in (
            ({"name": "flood", "arguments": {"city": "Ulm"}}, "no rule lets key:"),
            ({"name": "forecast", "arguments": {"town": "Ulm"}}, "forecast: "),
            ({"name": "forecast", "arguments": "Ulm"}, "name or arguments do not fit"),
            ({"name": "forecast", "argument": {}}, "unknown argument 'argument'"),
            ({"name": "call_tool", "arguments": {}}, "is not called by it"),
        ):
            answer = await client.call_tool("call_tool", arguments)
            assert answer.is_error is True
            assert isinstance(answer.content[0], types.TextContent)
            assert says in answer.content[0].text
        with pytest.raises(MCPError, match="Unknown tool: nowhere"):
            await client.call_tool("call_tool", {"name": "nowhere"})
        hidden = await client.call_tool("search_tools", {"query": "flood weather"})
        assert hidden.structured_content is not None
        names = [tool["name"] for tool in hidden.structured_content["tools"]]
        assert names == ["forecast"], "what may not be called is not found"
    await crowd.app.audit.settled()
    denied = crowd.app.audit.calls(limit=20, tool="flood")
    assert [call.outcome for call in denied] == ["denied"]
    assert crowd.app.audit.calls(limit=20, tool="call_tool") == []


@era
async def test_few_tools_are_all_listed_and_nothing_is_searched(house: House, mode: str) -> None:
    async with connected(house, house.key("developer"), mode) as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        for name in search.NAMES:
            with pytest.raises(MCPError, match=f"Unknown tool: {name}"):
                await client.call_tool(name, {"query": "x", "name": "echo"})
    assert listed == set(house.app.registry.entries) - {"wreck"}


async def test_the_same_key_sees_the_same_list_on_every_connection(crowd: House) -> None:
    """And in the same order, whatever was asked for on the connection before."""
    for role in ("developer", "viewer"):
        key = crowd.key(role)
        lists = []
        for mode in ("legacy", "2026-07-28", "legacy"):
            async with connected(crowd, key, mode) as client:
                if role == "developer":
                    await client.call_tool("search_tools", {"query": "forecast"})
                lists.append([tool.name for tool in (await client.list_tools()).tools])
                lists.append([tool.name for tool in (await client.list_tools()).tools])
        assert all(each == lists[0] for each in lists)
        assert len(lists[0]) == (40 if role == "developer" else 0)


def names(query: str, tools: list[Tool]) -> list[str]:
    return [tool.name for tool in search.rank(tools, query)]


def test_the_best_fit_comes_first_whichever_words_it_is_said_in() -> None:
    tools = list(many(20))
    base = tools[0]
    tools += [
        replace(base, name="deployPreview", summary="Show what would change", description=""),
        replace(base, name="k8s_deployer", summary="Roll out a release", description=""),
    ]
    assert names("rain", tools) == ["forecast"]
    assert names("weather city", tools) == ["flood", "forecast"]
    assert names("preview", tools) == ["deployPreview"]
    assert names("releases", tools) == ["k8s_deployer"]
    assert names("thing_007", tools)[0] == "thing_007"
    assert names("xylophone", tools) == []
    assert names("", tools) == sorted(tool.name for tool in tools)
    assert search.rank([], "anything") == []


def test_found_tools_come_by_the_page() -> None:
    tools, seen, cursor = list(many(10)), [], "0"
    while cursor:
        answer = search.found(tools, {"query": "thing", "limit": 4, "cursor": cursor})
        assert answer.structured_content is not None
        seen += [tool["name"] for tool in answer.structured_content["tools"]]
        assert answer.structured_content["total"] == 10
        cursor = answer.structured_content.get("next_cursor", "")
    assert seen == [f"thing_{number:03}" for number in range(10)]
    for wrong in ({}, {"query": 1}, {"query": "x" * 401}, {"query": "", "limit": 21},
                  {"query": "", "limit": True}, {"query": "", "cursor": "-1"},
                  {"query": "", "page": 1}):  # fmt: skip
        with pytest.raises(BadInput):
            search.found(tools, wrong)
