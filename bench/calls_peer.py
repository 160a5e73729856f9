"""FastMCP with the tool of bench.calls, in an environment of its own: see bench/peers.py.

Answers are JSON where it may, which is its quickest setting, on the same loop and parser as ours.
"""

from __future__ import annotations

import socket

import uvicorn
from fastmcp import FastMCP

mcp = FastMCP("peer")


@mcp.tool
async def echo(text: str) -> dict[str, object]:
    """Say it again."""
    return {"success": True, "outcome": "succeeded", "said": text}


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print("-", listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        mcp.http_app(json_response=True),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        lifespan="on",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
