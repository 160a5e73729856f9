"""python -m bench.federation: what a hop to an MCP server behind us costs, everything on.

A small, fast MCP server stands on core 1 with the load; in front of it, on core 0 and driven in
turn, stand pilotage (key, policy, schema, audit, limits, pins on) and FastMCP's proxy, where it
installs. Goals: at least 4,000 calls a second with 8 connections, and at most 1.0 ms added to the
median with one. FastMCP is measured as `create_proxy(url)` makes it, and with one client that is
kept connected, which is the better way to use it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.federation_servers import peer

TEXT = "hello"
GOAL_RATE, GOAL_ADDED = 4_000.0, 1.0
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
MODERN = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "echo"}
CLASSIC = {"MCP-Protocol-Version": "2025-11-25"}


def _rpc(**meta: Any) -> dict[str, Any]:
    params = {"name": "echo", "arguments": {"text": TEXT}, **meta}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured: a server, and the request that it gets."""

    name: str
    server: str
    path: str
    body: Any
    headers: dict[str, str]


TARGETS = (
    Target("upstream, direct", "upstream", "/mcp", _rpc(_meta=META), MODERN),
    Target("pilotage /mcp", "pilotage", "/mcp", _rpc(_meta=META), MODERN),
    Target("pilotage REST", "pilotage", "/api/v2/tools/call/echo", {"text": TEXT}, {}),
    Target("FastMCP proxy", "fastmcp", "/mcp", _rpc(), CLASSIC),
    Target("FastMCP, kept client", "fastmcp-kept", "/mcp", _rpc(), CLASSIC),
)


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
def running(command: list[str], core: int) -> Iterator[Running]:
    if len(os.sched_getaffinity(0)) > 1 or core:
        command = ["taskset", "-c", str(core), *command]
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
        "Accept": "application/json, text/event-stream",
        **target.headers,
    }
    if target.path.startswith("/api"):
        headers["Accept"] = "application/json"
    lines = [f"POST {target.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def measure(target: Target, server: Running, connections: int, seconds: float) -> Measured:
    import uvloop

    async def load() -> list[_Connection]:
        loop = asyncio.get_running_loop()
        request, until = _request(target, server), time.perf_counter() + seconds
        opened = []
        for _ in range(connections):
            _, one = await loop.create_connection(
                lambda: _Connection(request, until), "127.0.0.1", server.port
            )
            opened.append(one)
        await asyncio.gather(*(one.done for one in opened))
        return opened

    before, began = server.cpu(), time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(load())
    wall, used = time.perf_counter() - began, server.cpu() - before
    times = sorted(one for connection in found for one in connection.answers)
    bad, count = sum(connection.bad for connection in found), len(times)
    if bad or not count:
        raise SystemExit(f"{target.name}: {bad} of {count} answers were wrong")
    median, slow = times[count // 2] * 1e3, times[count * 99 // 100] * 1e3
    return Measured(used / count * 1e6, count / wall, median, slow)


Found = dict[str, dict[int, list[Measured]]]


def bench(rounds: int, seconds: float, peers: bool) -> Found:
    """All servers up at once, driven in turn, with one connection and with eight."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {1})
    found: Found = {}
    with ExitStack() as stack:
        ours = [sys.executable, "-m", "bench.federation_servers"]
        upstream = stack.enter_context(running([*ours, "upstream"], 1))
        url = f"http://127.0.0.1:{upstream.port}/mcp"
        servers = {"upstream": upstream}
        servers["pilotage"] = stack.enter_context(running([*ours, "pilotage", url], 0))
        python = peer() if peers else None
        if python is not None:
            servers["fastmcp"] = stack.enter_context(running([*python, url, "new"], 0))
            servers["fastmcp-kept"] = stack.enter_context(running([*python, url, "kept"], 0))
        targets = [target for target in TARGETS if target.server in servers]
        for target in targets:
            measure(target, servers[target.server], 1, 0.5)
            found[target.name] = {1: [], 8: []}
        for _ in range(rounds):
            for target in targets:
                for count in (1, 8):
                    row = measure(target, servers[target.server], count, seconds)
                    found[target.name][count].append(row)
    return found


def show(found: Found) -> bool:
    """The table, the ratios, and whether the goals are met."""

    def middle(name: str, count: int, what: str) -> float:
        return statistics.median(getattr(row, what) for row in found[name][count])

    print(f"{'':<22}{'1: p50 ms':>10}{'added':>8}{'p99':>8}{'8: calls/s':>12}{'CPU us':>9}")
    direct = found[TARGETS[0].name][1]
    added: dict[str, float] = {}
    for name, rows in found.items():
        pairs = zip(rows[1], direct, strict=True)
        added[name] = statistics.median(ours.p50 - theirs.p50 for ours, theirs in pairs)
        print(
            f"{name:<22}{middle(name, 1, 'p50'):>10.2f}{added[name]:>8.2f}"
            f"{middle(name, 1, 'p99'):>8.2f}{middle(name, 8, 'rate'):>12.0f}"
            f"{middle(name, 8, 'cpu'):>9.0f}"
        )
    for theirs in ("FastMCP proxy", "FastMCP, kept client"):
        if theirs in found:
            times = middle("pilotage /mcp", 8, "rate") / middle(theirs, 8, "rate")
            print(f"pilotage /mcp makes {times:.0f} x the calls of {theirs}")
    rate = middle("pilotage /mcp", 8, "rate")
    met = rate >= GOAL_RATE and added["pilotage /mcp"] <= GOAL_ADDED
    print(
        f"{rate:.0f} calls/s (goal {GOAL_RATE:.0f}), {added['pilotage /mcp']:.2f} ms added "
        f"(goal {GOAL_ADDED:g}): {'met' if met else 'NOT met'}"
    )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.federation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--no-peers", action="store_true", help="leave FastMCP out")
    arguments = parser.parse_args()
    show(bench(arguments.rounds, arguments.seconds, not arguments.no_peers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
