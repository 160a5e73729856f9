"""Runs as tools, by the official SDK's client: small pages, stable ids, and the same rights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client

from server.conftest import House
from server.run_tools import run_house
from server.test_mcp import connected, era
from server.test_runs import WAITS, at_rest


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with run_house(tmp_path) as house:
        yield house


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error is False, answer.content
    assert answer.structured_content is not None
    return answer.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error is True
    assert isinstance(answer.content[0], types.TextContent)
    return answer.content[0].text


@era
async def test_a_run_is_started_followed_and_approved(house: House, mode: str) -> None:
    async with connected(house, house.key("operator"), mode) as client:
        started = await call(client, "run_start", pipeline=WAITS, key="k")
        run = started["run"]
        assert (await call(client, "run_start", pipeline=WAITS, key="k"))["run"] == run
        await at_rest(house, run)
        stands = await call(client, "run_status", run=run)
        assert (stands["state"], stands["waiting"]) == ("waiting", ["a"])
        assert "run_approve" in stands["hint"]
        listed = await call(client, "run_list", state="waiting")
        assert [one["run"] for one in listed["runs"]] == [run]
        await call(client, "run_approve", run=run, reason="seen")
        await at_rest(house, run)
        lines, after = [], -1
        while after is not None:
            page = await call(client, "run_logs", run=run, after=after, limit=3)
            lines += page["lines"]
            after = page["next"]
        assert "seen" in next(one["line"] for one in lines if "approved" in one["line"])
        assert lines[-1]["line"] == "run succeeded"
        last = await call(client, "run_logs", run=run, tail=True, limit=1)
        assert last["lines"] == lines[-1:]
        assert "has ended" in await refused(client, "run_cancel", run=run)


@era
async def test_the_rights_are_those_of_the_other_doors(house: House, mode: str) -> None:
    async with connected(house, house.key("ci"), mode) as mine:
        run = (await call(mine, "run_start", pipeline=WAITS))["run"]
        await at_rest(house, run)
        assert "runs:approve" in await refused(mine, "run_approve", run=run)
        assert (await call(mine, "run_status", run=run))["state"] == "waiting"
    async with connected(house, house.key("ci"), mode) as theirs:
        assert (await call(theirs, "run_list"))["runs"] == []
        for tool in ("run_status", "run_logs", "run_cancel", "run_approve", "run_resume"):
            assert f"there is no run {run}" in await refused(theirs, tool, run=run)
    async with connected(house, house.key("developer"), mode) as reader:
        tools = {tool.name: tool.annotations for tool in (await reader.list_tools()).tools}
        reads = {name for name, said in tools.items() if said and said.read_only_hint}
        assert {name for name in tools if name.startswith("run_")} & reads == {
            "run_list", "run_status", "run_logs",
        }  # fmt: skip
        assert (await call(reader, "run_status", run=run))["run"] == run
        assert "runs:approve" in await refused(reader, "run_cancel", run=run)


async def test_all_that_lint_finds_is_said(house: House) -> None:
    bad = "name: p\nsteps:\n- {name: a, tool: say, params: {x: 1}}\n- {name: a, tool: nowhere}\n"
    async with connected(house, house.key("developer"), "2026-07-28") as client:
        said = await refused(client, "run_start", pipeline=bad)
    assert "twice" in said or "'a'" in said
    assert len(said.splitlines()) > 2


async def test_a_step_neither_starts_a_run_nor_approves_its_own(house: House) -> None:
    inner = {"name": "i", "steps": [{"name": "a", "tool": "run_start", "params": {}}]}
    inner["steps"][0]["params"] = {"pipeline": "name: p\nsteps: [{name: a, tool: say}]"}  # type: ignore[index]
    async with connected(house, house.key("operator"), "2026-07-28") as client:
        run = (await call(client, "run_start", pipeline=inner))["run"]
        await at_rest(house, run)
        stands = await call(client, "run_status", run=run)
        assert stands["steps"][0]["outcome"] == "denied"
        assert len((await call(client, "run_list"))["runs"]) == 1
