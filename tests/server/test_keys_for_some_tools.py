"""A key for some tools only: what it may do to tools ends where their names do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.conftest import House
from server.test_registration import TOOLS_AT, ask, call, open_house, put, ticket
from upstream.echo import echoing


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "home") as opened:
        yield opened


def refused(answer: tuple[int, Any, str]) -> bool:
    return answer[0] == 403 and "is for the tools scan_* only" in answer[1]["error"]


async def test_a_key_for_some_tools_registers_and_changes_no_other(house: House) -> None:
    admin, scans = house.key("admin"), house.key("admin", tools=("scan_*",), name="scans")
    async with echoing() as echo:
        assert (await put(house, "scan_a", scans, ticket(echo.url)))[0] == 201
        assert (await call(house, "scan_a", scans, id=1))[0] == 200
        assert refused(await put(house, "deploy", scans, ticket(echo.url)))
        assert (await put(house, "deploy", admin, ticket(echo.url)))[0] == 201
        for verb in ("enable", "disable", "approve", "reject"):
            body = {"digest": "0" * 64}
            assert refused(await ask(house, "POST", f"{TOOLS_AT}/deploy/{verb}", scans, body))
        assert refused(await ask(house, "DELETE", f"{TOOLS_AT}/deploy", scans))
        assert (await ask(house, "GET", f"{TOOLS_AT}/deploy", scans))[0] == 200, "it may look"
        assert (await call(house, "deploy", admin, id=1))[0] == 200, "nothing has happened to it"
        assert (await ask(house, "DELETE", f"{TOOLS_AT}/scan_a", scans))[0] == 204
    await house.app.audit.settled()
    rows = house.app.audit.list(event="refused", limit=100)
    assert {(row.tool, row.principal) for row in rows} == {("deploy", "key:scans")}


async def test_a_key_for_some_tools_takes_in_no_server(house: House) -> None:
    """Its tools have any name."""
    scans = house.key("admin", tools=("scan_*",), name="scans")
    given = {"kind": "mcp", "definition": {"url": "http://127.0.0.1:9/mcp"}}
    assert refused(await put(house, "scan_all", scans, given))
    body = {"digest": "0" * 64}
    assert refused(await ask(house, "POST", "/api/v2/pins/scan_all/approve", scans, body))
