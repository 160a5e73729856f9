"""What a hostile server behind us says, as clients of both eras get it over the wire."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from server.conftest import House
from server.test_federated import fronted
from server.test_tool_safety import AT, Person
from upstream.mcp_server import Server, serving, tool
from waiting import until

NUMBER = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}


async def ready(house: House, name: str = "echo") -> None:
    await until(lambda: name in house.app.registry.entries)


async def test_a_tool_that_is_unavailable_is_said_and_is_no_bug_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as server, fronted(tmp_path / "h", server) as house:
        await ready(house)
        await server.stop()
        client = Person(house, "developer")
        said: list[Any] = []
        with caplog.at_level(logging.WARNING):
            while "is down" not in str(said):
                said.append(await client.mcp("tools/call", "echo", text="x"))
            said.append(await client.mcp("tools/call", "echo", text="x"))
    assert said[-1]["isError"] is True
    assert not [one for one in caplog.records if one.exc_info], caplog.text


async def test_an_approval_for_a_large_number_is_none_for_its_neighbour(tmp_path: Path) -> None:
    destroys = {"effects": {"*": "destroy"}}
    server = Server(tools=[tool("drop", inputSchema=NUMBER)])
    await server.start()
    async with fronted(tmp_path / "h", server, **destroys) as house:
        await ready(house, "drop")
        asker, colleague = Person(house, "admin"), Person(house, "admin")
        _, told = await asker.call("drop", n=9223372036854775808.0)
        id = told["approval"]["id"]
        assert (await colleague.rest("POST", f"/api/v2/approvals/{id}/approve"))[0] == 200
        status, told = await asker.call("drop", n=9223372036854776000)
        assert (status, told["approval"]["id"] != id) == (403, True)
        assert (await asker.call("drop", n=9223372036854775808.0))[0] == 200
    await server.stop()
