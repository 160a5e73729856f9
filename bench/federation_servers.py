"""The servers of bench/federation.py. Each prints the key to use ("-" for none) and its port once
it listens."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import peers
from bench.calls_servers import serve_bare

TOOL = {
    "name": "echo",
    "description": "Say it again.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
}
CAN = {"tools": {}}
RESULTS: dict[str, Any] = {
    "server/discover": {
        "supportedVersions": ["2026-07-28"],
        "capabilities": CAN,
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
    },
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": CAN,
        "serverInfo": {"name": "fast", "version": "1"},
    },
    "tools/list": {
        "tools": [TOOL],
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
    },
    "ping": {},
}


def _upstream() -> None:
    """Both eras, one tool, no session: as little as a server can be."""
    import msgspec

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        status, content = 405, b""
        if scope["method"] == "POST":
            message = msgspec.json.decode((await receive())["body"])
            status, content = _answered(message)
        headers = [(b"content-type", b"application/json")]
        headers.append((b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _answered(message: Any) -> tuple[int, bytes]:
        method, id = message.get("method"), message.get("id")
        if id is None:
            return 202, b""
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": id}
        if method == "tools/call":
            text = message["params"]["arguments"]["text"]
            said = [{"type": "text", "text": text}]
            answer["result"] = {"content": said, "isError": False, "resultType": "complete"}
        elif method in RESULTS:
            answer["result"] = RESULTS[method]
        else:
            answer["error"] = {"code": -32601, "message": "Method not found"}
            return 404, msgspec.json.encode(answer)
        return 200, msgspec.json.encode(answer)

    serve_bare(app)


def _pilotage(url: str) -> None:
    from pilotage import config
    from pilotage.app import App, local_principal
    from pilotage.server import serve
    from pilotage.tool.roots import roots

    with tempfile.TemporaryDirectory() as home:
        given = {"upstreams": {"up": {"url": url, "effects": {"*": "read"}}}}
        given["egress"] = {"allow": "127.0.0.1"}  # type: ignore[dict-item]
        Path(home, "config.yaml").write_text(json.dumps(given), "utf-8")
        settings = config.read(environment={"PILOTAGE_HOME": home, "HOME": home})
        app = App(settings, roots(home), ())
        key = app.keys.create("bench", ("developer",), by=local_principal())[1]

        def ready(address: str, _: object) -> None:
            print(key, address.rsplit(":", 1)[1], flush=True)

        serve.serve(app, serve.Options(port=0), ready)
        app.close()


FASTMCP = """
import asyncio, socket, sys, uvicorn
from fastmcp import Client
from fastmcp.server import create_proxy
url, kept = sys.argv[1], sys.argv[2] == "kept"
async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    client = Client(url)
    if kept:
        await client.__aenter__()
    proxy = create_proxy(client if kept else url)
    app = proxy.http_app(path="/mcp", stateless_http=True, json_response=True)
    config = uvicorn.Config(app, http="httptools", access_log=False, log_level="error")
    print("-", listener.getsockname()[1], flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])
import uvloop
uvloop.run(main())
"""


def found(url: str, folder: str) -> dict[str, list[str]]:
    """The commands of the peers that are to be had here, by name."""
    commands = {}
    if (fastmcp := peers.fastmcp()) is not None:
        commands["fastmcp"] = [fastmcp[0], "-c", FASTMCP, url, "new"]
        commands["fastmcp-kept"] = [fastmcp[0], "-c", FASTMCP, url, "kept"]
    if (forge := peers.contextforge()) is not None:
        for kind in ("plain", "kept"):
            home = Path(folder, kind)
            home.mkdir()
            commands[f"forge-{kind}"] = [*forge, url, kind, str(home)]
    return commands


if __name__ == "__main__":
    if sys.argv[1] == "upstream":
        _upstream()
    else:
        _pilotage(sys.argv[2])
