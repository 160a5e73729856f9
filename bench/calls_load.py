"""The load of bench.calls and bench.federation: raw keep-alive connections, which cost little."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

TEXT = b"hello"
CONNECTIONS = 8
HANDSHAKE = "2025-11-25"
ACCEPT = {"Accept": "application/json, text/event-stream"}


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured: a server, and the request that it gets. `session`: each connection opens a
    session of the handshake eras first."""

    name: str
    server: str
    path: str
    body: Any
    headers: dict[str, str]
    session: bool = False


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

    def rss(self) -> float:
        """Megabytes of memory that it holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def running(server: str, command: list[str] | None = None, core: int = 0) -> Iterator[Running]:
    """A server on core 0, which it has to itself; the load goes to core 1."""
    command = command or [sys.executable, "-m", "bench.calls_servers", server]
    if core or len(os.sched_getaffinity(0)) > 1 or os.sched_getaffinity(0) == {1}:
        command = ["taskset", "-c", str(core), *command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            key, port = process.stdout.readline().split()
            yield Running(process.pid, int(port), key)
        finally:
            process.terminate()
            process.wait(60)


class _Connection(asyncio.Protocol):
    """Sends the same request again as soon as its answer is whole."""

    def __init__(self, request: bytes, until: float, count: int | None) -> None:
        self._request, self._until, self._left = request, until, count
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
        if length is None:  # a stream of events, in chunks
            if not self._rest.endswith(b"\r\n0\r\n\r\n"):
                return
            size = len(self._rest)
        else:
            size = end + 4 + int(length[1])
        if len(self._rest) < size:
            return
        if not self._rest.startswith(b"HTTP/1.1 200") or TEXT not in self._rest[end:]:
            self.bad += 1
        self._rest = self._rest[size:]
        now = time.perf_counter()
        self.answers.append(now - self._began)
        if self._left is not None:
            self._left -= 1
        if now < self._until and self._left != 0:
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


def _headers(target: Target, server: Running) -> dict[str, str]:
    return {
        "Host": f"127.0.0.1:{server.port}",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {server.key}",
        "Accept": "application/json",
        **target.headers,
    }


def _request(target: Target, server: Running) -> bytes:
    body = json.dumps(target.body).encode()
    headers = {**_headers(target, server), "Content-Length": str(len(body))}
    if target.session:
        headers |= _session(target, server)
    lines = [f"POST {target.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _session(target: Target, server: Running) -> dict[str, str]:
    """The headers of a session that is opened here and now."""
    about = {"name": "bench", "version": "1"}
    params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": about}
    first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    headers = {**_headers(target, server), **ACCEPT}
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        line.request("POST", target.path, json.dumps(first), headers)
        answer = line.getresponse()
        answer.read()
        mine = {"Mcp-Session-Id": answer.headers["mcp-session-id"]}
        mine["MCP-Protocol-Version"] = HANDSHAKE
        second = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        line.request("POST", target.path, json.dumps(second), headers | mine)
        line.getresponse().read()
    finally:
        line.close()
    return mine


async def load(
    target: Target, server: Running, seconds: float, count: int | None, lines: int
) -> list[_Connection]:
    """Requests on so many connections for so many seconds, at most `count` on each."""
    loop = asyncio.get_running_loop()
    requests = [_request(target, server) for _ in range(lines)]
    until = time.perf_counter() + seconds
    connections = []
    for request in requests:
        _, connection = await loop.create_connection(
            lambda request=request: _Connection(request, until, count),  # type: ignore[misc]
            "127.0.0.1",
            server.port,
        )
        connections.append(connection)
    await asyncio.gather(*(connection.done for connection in connections))
    return connections


def drive(
    target: Target,
    server: Running,
    seconds: float,
    count: int | None = None,
    lines: int = CONNECTIONS,
) -> list[float]:
    """The seconds that each answer took; SystemExit where one was wrong."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connections = runner.run(load(target, server, seconds, count, lines))
    times = sorted(one for connection in connections for one in connection.answers)
    bad = sum(connection.bad for connection in connections)
    if bad or not times:
        raise SystemExit(f"{target.name}: {bad} of {len(times)} answers were wrong")
    return times


def measure(target: Target, server: Running, seconds: float, lines: int = CONNECTIONS) -> Measured:
    before, began = server.cpu(), time.perf_counter()
    times = drive(target, server, seconds, lines=lines)
    wall, used = time.perf_counter() - began, server.cpu() - before
    count = len(times)
    return Measured(
        used / count * 1e6, count / wall, times[count // 2] * 1e3, times[count * 99 // 100] * 1e3
    )
