"""The servers of bench.calls: python -m bench.calls_servers NAME.

Each prints the key to use ("-" for none) and its port once it listens.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

ANSWER = b'{"success":true,"outcome":"succeeded","said":"hello"}'


def floor() -> None:
    """A bare ASGI application: what HTTP in Python costs by itself."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await receive()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(ANSWER)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})

    serve_bare(app)


def sdk() -> None:
    """The official SDK's low-level server, without a key or anything else of ours."""
    import mcp_types as types
    from mcp.server.lowlevel import Server

    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    tool = types.Tool(name="echo", input_schema=schema)

    async def tools(_: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool])

    async def call(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        answer = {"success": True, "outcome": "succeeded", "said": (params.arguments or {})["text"]}
        text = types.TextContent(type="text", text=json.dumps(answer))
        return types.CallToolResult(content=[text], structured_content=answer)

    server = Server(
        "bare", on_list_tools=tools, on_call_tool=call, get_tool_input_schema=lambda _: schema
    )
    serve_bare(server.streamable_http_app(json_response=True))


def serve_bare(app: Any) -> None:
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    print("-", listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
    uvicorn.Server(config).run(sockets=[listener])


@dataclass(frozen=True, slots=True)
class Said:
    """What echo answers."""

    said: str


def pilotage() -> None:
    """All on: key, policy, schema, audit, limits, Origin and Host."""
    from pilotage import config
    from pilotage.app import App, local_principal
    from pilotage.domain.call import Effect
    from pilotage.server import serve
    from pilotage.tool.roots import roots
    from pilotage.tool.tool import tool

    @tool(Effect.READ)
    async def echo(text: str) -> Said:
        """Say it again."""
        return Said(text)

    with tempfile.TemporaryDirectory() as home:
        settings = config.read(environment={"PILOTAGE_HOME": home, "HOME": home})
        app = App(settings, roots(home), (echo,))
        key = app.keys.create("bench", ("developer",), by=local_principal())[1]

        def ready(address: str, _: object) -> None:
            print(key, address.rsplit(":", 1)[1], flush=True)

        serve.serve(app, serve.Options(port=0), ready)
        app.close()


if __name__ == "__main__":
    {"floor": floor, "sdk": sdk, "pilotage": pilotage}[sys.argv[1]]()
