"""A house with a server of the handshake eras behind it that asks in mid-call, and its clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client

from server.conftest import House
from server.test_federated import fronted
from server.test_mcp import connected
from upstream.mcp_server import CLASSIC, MODERN, Asked, Server, said, serving, tool

FORM = {"type": "object", "properties": {"name": {"type": "string"}}}
ADA = types.ElicitResult(action="accept", content={"name": "ada"})


async def never(_: Any, params: Any) -> types.ElicitResult:
    raise AssertionError(params)  # such clients are asked by the tests themselves


@dataclass
class Site:
    """The house, and behind it a server that asks who it is, once for each word of `text`."""

    house: House
    server: Server

    @asynccontextmanager
    async def client(self, name: str = "ada", role: str = "developer") -> AsyncIterator[Client]:
        key = self.house.key(role, name=name)
        async with connected(self.house, key, MODERN, elicitation_callback=never) as client:
            yield client

    @property
    def runs(self) -> int:
        """How often the server was called."""
        return sum(one.get("method") == "tools/call" for _, one in self.server.seen)

    @property
    def cancelled(self) -> bool:
        return any(m.get("method") == "notifications/cancelled" for _, m in self.server.seen)

    async def rows(self, event: str = "") -> list[tuple[str, str, str]]:
        """Call, event and outcome or error of what is on record of `echo` and `other`."""
        await self.house.app.audit.settled()
        return [
            (one.call, one.event, one.body.get("outcome") or one.body.get("error") or "")
            for one in reversed(self.house.app.audit.list(limit=100))
            if one.tool in ("echo", "other") and event in ("", one.event)
        ]

    async def outcomes(self) -> list[str]:
        return [how for _, event, how in await self.rows() if event in ("call", "close")]


@asynccontextmanager
async def sited(tmp_path: Path, **more: Any) -> AsyncIterator[Site]:
    async with serving(eras=(CLASSIC,), tools=[tool("echo"), tool("other")]) as server:

        async def asking(asked: Asked) -> Any:
            names = []
            for word in asked.arguments["text"].split():
                params = {"mode": "form", "message": word, "requestedSchema": FORM}
                reply = await server.ask(asked, "elicitation/create", params)
                if "error" in reply:
                    return said(reply["error"]["message"], isError=True)
                given = reply["result"]
                names.append((given.get("content") or {}).get("name", given["action"]))
            return said(" and ".join(names))

        server.answer = asking
        async with fronted(tmp_path / "h", server, **more) as house:
            yield Site(house, server)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with sited(tmp_path) as made:
        yield made


async def call(client: Client, text: str = "who?", name: str = "echo", **more: Any) -> Any:
    return await client.session.call_tool(name, {"text": text}, allow_input_required=True, **more)


async def question(client: Client, text: str = "who?", **more: Any) -> types.InputRequiredResult:
    asked = await call(client, text, **more)
    assert isinstance(asked, types.InputRequiredResult), asked
    return asked


async def answer(
    client: Client, asked: types.InputRequiredResult, text: str = "who?", **more: Any
) -> Any:
    answers = dict.fromkeys(asked.input_requests or {}, ADA)
    return await call(
        client, text, input_responses=answers, request_state=asked.request_state, **more
    )


def words(got: types.CallToolResult) -> str:
    assert isinstance(got, types.CallToolResult), got
    assert isinstance(got.content[0], types.TextContent)
    return got.content[0].text
