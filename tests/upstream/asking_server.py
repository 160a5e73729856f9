"""An MCP server on standard input and output, by the official SDK, whose tools ask in mid-call."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import mcp_types as types
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

server = MCPServer("asking")


class Order(BaseModel):
    """What the person at the client is asked."""

    drink: str
    cups: int


def began(place: str) -> None:
    with Path(sys.argv[1]).open("a", encoding="utf-8") as file:
        file.write(f"order at {place}\n")


@server.tool()
async def order(place: str, ctx: Context) -> str:
    """Asks what to bring. Each call that begins leaves a line in the file."""
    began(place)
    said = await ctx.elicit(f"What may it be at {place}?", Order)
    if said.action != "accept":
        return f"nothing: {said.action}"
    return f"{said.data.cups} {said.data.drink} at {place}"


@server.tool()
async def think(ctx: Context) -> str:
    """Asks the client's model, then for its roots."""
    text = types.TextContent(type="text", text="What is six times seven?")
    message = types.SamplingMessage(role="user", content=text)
    thought = await ctx.session.create_message([message], max_tokens=10)
    roots = await ctx.session.list_roots()
    assert isinstance(thought.content, types.TextContent)
    return f"{thought.content.text} in {roots.roots[0].uri}"


if __name__ == "__main__":
    end = threading.Timer(300, lambda: os._exit(9))
    end.daemon = True
    end.start()
    server.run("stdio")
