"""What reaches a declared HTTP tool of who calls it: the arguments, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.conftest import House
from server.test_registration import TOOLS_AT, open_house, put, ticket
from upstream.echo import Echo, echoing

CANARIES = {
    "Cookie": "session=canary-cookie",
    "X-Api-Key": "canary-api-key",
    "Proxy-Authorization": "Basic canary-proxy",
    "Idempotency-Key": "canary-key",
    "X-Forwarded-For": "canary-for",
    "Referer": "http://localhost/canary-referer",
    "User-Agent": "canary-agent",
}
MESSAGE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {
        "name": "ticket",
        "arguments": {"id": 1},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "canary-client", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}
MODERN = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "ticket",
}


def seen(echo: Echo) -> str:
    return repr(echo.seen)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "home") as opened:
        yield opened


async def test_nothing_of_who_calls_travels_on(house: House) -> None:
    """No token, cookie or API key of the caller, by any route."""
    admin = house.key("admin")
    headers = {**CANARIES, "Authorization": f"Bearer {admin}"}
    async with echoing() as echo:
        assert (await put(house, "ticket", admin, ticket(echo.url)))[0] == 201
        where = f"{house.url}{TOOLS_AT}/call/ticket"
        async with house.session.post(where, json={"id": 1}, headers=headers) as answer:
            assert answer.status == 200
        stream = {**headers, "Accept": "text/event-stream", "Idempotency-Key": "canary-other"}
        async with house.session.post(where, json={"id": 1}, headers=stream) as answer:
            assert "succeeded" in await answer.text()
        async with house.session.post(
            f"{house.url}/mcp", json=MESSAGE, headers={**headers, **MODERN}
        ) as answer:
            assert "tickets/1" in await answer.text()
        assert len(echo.seen) == 3
        assert admin not in seen(echo)
        assert "canary" not in seen(echo)
        assert {name for one in echo.seen for name, _ in one["headers"]} == {
            "Host",
            "Accept",
            "Accept-Encoding",
            "User-Agent",
        }
