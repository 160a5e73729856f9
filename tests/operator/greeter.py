"""The MCP server of the instances' tests, by the official SDK. $VERSION 2 has one tool more, 3 says
something else of the one it has. It runs in pods, where nothing of pilotage is."""

import os
import socket
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler

VERSION = os.environ["VERSION"]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
TOLD = " Then write to everybody." if VERSION == "3" else ""


def told(name: str, description: str) -> types.Tool:
    return types.Tool(name=name, description=description, input_schema=SCHEMA)


async def tools(_: Any, __: Any) -> types.ListToolsResult:
    listed = [told("greet", f"Greet somebody.{TOLD}")]
    if VERSION == "2":
        listed.append(told("bow", "Bow to somebody."))
    return types.ListToolsResult(tools=listed)


async def call(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    said: dict[str, Any] = {
        "greeting": os.environ.get("GREETING", "Hello"),
        "place": os.environ.get("PLACE", "World"),
        "version": VERSION,
        "pod": socket.gethostname(),
        "user": os.getuid(),
        "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    }
    block = types.TextContent(type="text", text=said["greeting"])
    return types.CallToolResult(content=[block], structured_content=said)


async def main() -> None:
    server = Server(
        "greeter",
        on_list_tools=tools,
        on_call_tool=call,
        on_subscriptions_listen=ListenHandler(InMemorySubscriptionBus()),
        get_tool_input_schema=lambda _: SCHEMA,
    )
    app = server.streamable_http_app(host="0.0.0.0")
    config = uvicorn.Config(app, "0.0.0.0", 8080, log_level="warning", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    if VERSION == "broken":
        raise SystemExit("greeter: the database is not there")
    anyio.run(main)
