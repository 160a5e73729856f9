"""Resources of a server behind us: who is told of changes, and who reads them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from server.test_federated import fronted
from server.test_mcp import connected
from upstream.mcp_server import MODERN, Asked, serving
from waiting import LONG, until


async def test_a_resource_that_is_watched_is_watched_at_the_server(tmp_path: Path) -> None:
    async def resources(_: Asked) -> Any:
        return {"resources": [{"uri": "x://a", "name": "a"}, {"uri": "pilotage://a", "name": "b"}]}

    async def discover(_: Asked) -> Any:
        can = {"tools": {}, "resources": {"subscribe": True}}
        return {"supportedVersions": [MODERN], "capabilities": can}

    extra = {"resources/list": resources, "server/discover": discover}
    offers = ["tools", "resources"]
    async with (
        serving(extra=extra) as server,
        fronted(tmp_path / "h", server, offers=offers) as house,
        connected(house, house.key("developer"), MODERN) as client,
    ):
        listed = [str(one.uri) for one in (await client.list_resources()).resources]
        assert "x://a" in listed
        assert "pilotage://a" not in listed, "our own names are nobody else's"

        def wanted() -> bool:
            _, message = [one for one in server.seen if one[1]["method"].endswith("/listen")][-1]
            return bool(server.streams) and message["params"]["notifications"].get(
                "resourceSubscriptions"
            ) == ["x://a"]

        async with client.listen(resource_subscriptions=["x://a"]) as changes:
            await until(wanted)
            await server.announce("notifications/resources/updated", uri="x://a")
            async with asyncio.timeout(LONG):
                async for change in changes:
                    assert type(change).__name__ == "ResourceUpdated"
                    break


async def test_a_key_for_some_tools_reads_no_resource(tmp_path: Path) -> None:
    async def resources(_: Asked) -> Any:
        return {"resources": [{"uri": "x://a", "name": "a"}]}

    async def discover(_: Asked) -> Any:
        return {"supportedVersions": [MODERN], "capabilities": {"tools": {}, "resources": {}}}

    extra = {"resources/list": resources, "server/discover": discover}
    async with (
        serving(extra=extra) as server,
        fronted(tmp_path / "h", server, offers=["tools", "resources"]) as house,
        connected(house, house.key("developer", tools=("echo",)), MODERN) as client,
    ):
        assert "x://a" not in [str(one.uri) for one in (await client.list_resources()).resources]
        with pytest.raises(MCPError):
            await client.read_resource("x://a")
        assert not [m for _, m in server.seen if m.get("method") == "resources/read"]
