"""python -m bench.calls: what one tools/call costs the server, everything on.

Key, policy, schema, audit, Origin and Host are on. Beside it run, in the same rounds, a bare ASGI
application (the floor) and the official SDK's server without any of that. Each server has core 0
to itself, the load comes from core 1. The figure to trust is CPU per request (utime + stime of the
server from /proc); requests per second are shown, but they move with the machine. Goal: REST at
most twice the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

TEXT = "hello"
CONNECTIONS = 8
GOAL = 2.0
CALL = {"text": TEXT}
ANSWER = b'{"success":true,"outcome":"succeeded","said":"hello"}'
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
RPC = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "echo", "arguments": CALL, "_meta": META},
}
MCP_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "echo",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured: a server, and the request that it gets."""

    name: str
    server: str
    path: str
    body: Any
    headers: dict[str, str]


TARGETS = (
    Target("floor: bare ASGI", "floor", "/api/v2/tools/call/echo", CALL, {}),
    Target("pilotage REST", "pilotage", "/api/v2/tools/call/echo", CALL, {}),
    Target("bare SDK /mcp", "sdk", "/mcp", RPC, MCP_HEADERS),
    Target("pilotage /mcp", "pilotage", "/mcp", RPC, MCP_HEADERS),
)


# The servers. Each prints the key to use ("-" for none) and its port once it listens.


def _floor() -> None:
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

    _serve_bare(app)


def _sdk() -> None:
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
    _serve_bare(server.streamable_http_app())


def _serve_bare(app: Any) -> None:
    import socket

    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    print("-", listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
    uvicorn.Server(config).run(sockets=[listener])


def _pilotage() -> None:
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


@dataclass(frozen=True, slots=True)
class Said:
    """What echo answers."""

    said: str


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens."""

    pid: int
    port: int
    key: str

    def cpu(self) -> float:
        """Seconds of processor that it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(server: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "bench.calls", "--server", server]
    if len(os.sched_getaffinity(0)) > 1:
        command = ["taskset", "-c", "0", *command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            key, port = process.stdout.readline().split()
            yield Running(process.pid, int(port), key)
        finally:
            process.terminate()
            process.wait(60)


# The load: raw keep-alive connections, so that the generator costs little.


class _Connection(asyncio.Protocol):
    """Sends the same request again as soon as its answer is whole."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request, self._until = request, until
        self._rest = b""
        self.answers: list[float] = []
        self.bad = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            return
        length = re.search(rb"(?i)content-length: (\d+)", self._rest[:end])
        assert length is not None, self._rest
        size = end + 4 + int(length[1])
        if len(self._rest) < size:
            return
        if not self._rest.startswith(b"HTTP/1.1 200") or TEXT.encode() not in self._rest[end:]:
            self.bad += 1
        self._rest = self._rest[size:]
        now = time.perf_counter()
        self.answers.append(now - self._began)
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one target: microseconds of CPU a request, requests a second, ms."""

    cpu: float
    rate: float
    p50: float
    p99: float


def _request(target: Target, server: Running) -> bytes:
    body = json.dumps(target.body).encode()
    headers = {
        "Host": f"127.0.0.1:{server.port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Authorization": f"Bearer {server.key}",
        "Accept": "application/json",
        **target.headers,
    }
    lines = [f"POST {target.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def _load(target: Target, server: Running, seconds: float) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    request, until = _request(target, server), time.perf_counter() + seconds
    connections = []
    for _ in range(CONNECTIONS):
        _, connection = await loop.create_connection(
            lambda: _Connection(request, until), "127.0.0.1", server.port
        )
        connections.append(connection)
    await asyncio.gather(*(connection.done for connection in connections))
    return connections


def measure(target: Target, server: Running, seconds: float) -> Measured:
    """By wrk, which costs the machine less, where it is installed; else by our own load."""
    return (_by_wrk if shutil.which("wrk") else _by_us)(target, server, seconds)


def _by_us(target: Target, server: Running, seconds: float) -> Measured:
    import uvloop

    before, began = server.cpu(), time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connections = runner.run(_load(target, server, seconds))
    wall = time.perf_counter() - began
    used = server.cpu() - before
    times = sorted(one for connection in connections for one in connection.answers)
    bad = sum(connection.bad for connection in connections)
    if bad:
        raise SystemExit(f"{target.name}: {bad} of {len(times)} answers were wrong")
    count = len(times)
    return Measured(
        used / count * 1e6, count / wall, times[count // 2] * 1e3, times[count * 99 // 100] * 1e3
    )


WRK = """
wrk.method = "POST"
wrk.body = [[{body}]]
{headers}
function response(status, _, body)
  if status ~= 200 or not body:find("{text}", 1, true) then wrong = (wrong or 0) + 1 end
end
function setup(thread) worker = thread end
function done(summary, latency, _)
  print("RESULT", summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
        latency:percentile(99) / 1e3, worker:get("wrong") or 0)
end
"""


def _by_wrk(target: Target, server: Running, seconds: float) -> Measured:
    fields = {**target.headers, "Content-Type": "application/json"}
    fields["Authorization"] = f"Bearer {server.key}"
    fields.setdefault("Accept", "application/json")
    headers = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in fields.items())
    script = WRK.format(body=json.dumps(target.body), headers=headers, text=TEXT)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        url = f"http://127.0.0.1:{server.port}{target.path}"
        load = ["-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", file.name, url]
        before = server.cpu()
        done = subprocess.run(["wrk", *load], capture_output=True, text=True, check=True)
        used = server.cpu() - before
    result = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    count, wall, p50, p99, wrong = map(float, result.split()[1:])
    if wrong:
        raise SystemExit(f"{target.name}: {wrong:g} of {count:g} answers were wrong")
    return Measured(used / count * 1e6, count / wall, p50, p99)


def bench(rounds: int, seconds: float) -> dict[str, list[Measured]]:
    """All servers up at once, driven in turn."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {1})
    found: dict[str, list[Measured]] = {target.name: [] for target in TARGETS}
    with running("floor") as floor, running("sdk") as sdk, running("pilotage") as ours:
        servers = {"floor": floor, "sdk": sdk, "pilotage": ours}
        for target in TARGETS:
            measure(target, servers[target.server], 0.5)
        for _ in range(rounds):
            for target in TARGETS:
                found[target.name].append(measure(target, servers[target.server], seconds))
    return found


def show(found: dict[str, list[Measured]]) -> None:
    """The table, and whether REST meets the goal."""
    floor, sdk = found[TARGETS[0].name], found[TARGETS[2].name]
    print(f"{'':<18}{'CPU us':>8}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'/floor':>8}{'/SDK':>8}")
    ratios = {}
    for name, rows in found.items():
        middle = [
            statistics.median(getattr(row, what) for row in rows)
            for what in ("cpu", "rate", "p50", "p99")
        ]
        by_floor = statistics.median(a.cpu / b.cpu for a, b in zip(rows, floor, strict=True))
        by_sdk = statistics.median(a.cpu / b.cpu for a, b in zip(rows, sdk, strict=True))
        ratios[name] = by_floor
        print(
            f"{name:<18}{middle[0]:>8.1f}{middle[1]:>8.0f}{middle[2]:>8.2f}{middle[3]:>8.2f}"
            f"{by_floor:>8.2f}{by_sdk:>8.2f}"
        )
    met = ratios["pilotage REST"] <= GOAL
    print(
        f"REST costs {ratios['pilotage REST']:.2f} x the floor's CPU; "
        f"goal {GOAL:g}: {'met' if met else 'NOT met'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.calls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--server", choices=("floor", "sdk", "pilotage"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.server:
        {"floor": _floor, "sdk": _sdk, "pilotage": _pilotage}[arguments.server]()
        return 0
    show(bench(arguments.rounds, arguments.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
