"""ContextForge with an MCP server behind it, in an environment of its own: see bench/peers.py.

    python bench/forge_peer.py URL plain|kept FOLDER

Fair settings: one worker, on the loop and parser of ours, on its SQLite with its own pool, with
JSON answers and no access log; the limiter of calls, which would be what is measured, is off, and
the loopback, where the upstream is, is let through. "kept" is its quickest way that needs no
other service: sessions are kept, which is what keeps its connection to the upstream, and what
serves no call (pages, catalogue, metrics and the like) is off.

It prints a token and its port once the upstream's tools are registered.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

WHO = "admin@example.com"
SERVER = "b0e3c9a0c5c44c4d9d6b0a4b5b3a7e11"
"""The server that is called is /servers/SERVER/mcp (what it calls the new address of it, under
/v1, answers 404 in 1.1.0)."""
PLAIN = {
    "AUTH_REQUIRED": "true",
    "HOST": "127.0.0.1",
    "JSON_RESPONSE_ENABLED": "true",
    "LOG_LEVEL": "ERROR",
    "PLATFORM_ADMIN_EMAIL": WHO,
    "RATE_LIMITING_ENABLED": "false",
    "SSRF_ALLOW_LOCALHOST": "true",
    "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
}
OFF = (
    "COMPRESSION_ENABLED",
    "CORRELATION_ID_ENABLED",
    "LLMCHAT_ENABLED",
    "MCPGATEWAY_A2A_ENABLED",
    "MCPGATEWAY_ADMIN_API_ENABLED",
    "MCPGATEWAY_CATALOG_ENABLED",
    "MCPGATEWAY_UI_ENABLED",
    "METRICS_AGGREGATION_ENABLED",
    "METRICS_ROLLUP_ENABLED",
    "PLUGINS_ENABLED",
    "STRUCTURED_LOGGING_ENABLED",
    "TOKEN_USAGE_LOGGING_ENABLED",
)
KEPT = {**dict.fromkeys(OFF, "false"), "USE_STATEFUL_SESSIONS": "true"}
PATIENCE = 120


def _token() -> str:
    """A token of its administrator, as its own command makes it."""
    make = [sys.executable, "-m", "mcpgateway.utils.create_jwt_token"]
    made = subprocess.run(
        [*make, "--username", WHO, "--admin", "--exp", "600"],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return made.stdout.split()[-1]


def _ask(base: str, path: str, token: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        base + path,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _wait(base: str) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(f"{base}/health", timeout=5).close()
        except (OSError, urllib.error.HTTPError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _register(port: int, url: str) -> str:
    """The upstream, its tools, a server that has them: what a call needs."""
    base = f"http://127.0.0.1:{port}"
    _wait(base)
    token = _token()
    one = {"name": "up", "url": url, "transport": "STREAMABLEHTTP"}
    gateway = _ask(base, "/gateways", token, one)
    tools = _ask(base, "/tools", token)
    mine = [tool["id"] for tool in tools if tool.get("gatewayId") == gateway["id"]]
    server = {"id": SERVER, "name": "bench", "associated_tools": mine}
    _ask(base, "/servers", token, {"server": server})
    return f"{token} {port}"


def main() -> None:
    url, kept, home = sys.argv[1], sys.argv[2] == "kept", sys.argv[3]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ.update(PLAIN | (KEPT if kept else {}))
    os.environ["DATABASE_URL"] = f"sqlite:///{home}/mcp.db"
    for name in ("JWT_SECRET_KEY", "AUTH_ENCRYPTION_SECRET"):
        os.environ[name] = secrets.token_urlsafe(48)
    for name in ("BASIC_AUTH_PASSWORD", "PLATFORM_ADMIN_PASSWORD", "DEFAULT_USER_PASSWORD"):
        os.environ[name] = "Aa1!" + secrets.token_urlsafe(24)
    os.chdir(home)
    if os.fork() == 0:  # the child registers; the gateway keeps the process that is measured
        print(_register(port, url), flush=True)
        os._exit(0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve = ["-m", "uvicorn", "mcpgateway.main:app", "--host", "127.0.0.1", "--port", str(port)]
    quick = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"]
    os.execv(sys.executable, [sys.executable, *serve, *quick])


if __name__ == "__main__":
    main()
