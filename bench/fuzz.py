"""Odd requests from 64 connections at once: no answer of 5xx but 503, no leak, the record whole.

python -m bench.fuzz [--minutes 10] [--bodies 10000] [--connections 64] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.audit.verify import verify
from pilotage.tool.roots import roots

TESTS = Path(__file__).parent.parent / "tests"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
TOOLS = ("echo", "lenient", "note", "wreck", "fails", "reads", "nowhere", "", "../echo", "e%63ho")
PATHS = (
    "/api/v2/tools", "/api/v2/tools/echo", "/api/v2/calls", "/api/v2/audit", "/api/v2/runs",
    "/api/v2/approvals", "/api/v2/pins", "/healthz", "/readyz", "/metrics", "/mcp",
    "/api/v2/openapi.json", "/api/v2/runs/x/events", "/api/v2/runs/x/artifacts/a/b",
    "/", "//", "/%00",
)  # fmt: skip
QUERIES = ("limit", "before", "tool", "event", "state", "begins", "owner", "pipeline", "x")
METHODS = (
    "search", "tools/list", "tools/call", "initialize", "ping", "server/discover", "prompts/get",
    "resources/read", "notifications/initialized", "tasks/get", "logging/setLevel", "",
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, 2**63, 10**400, "", "a" * 5_000, "\x00", "\ud800", "‮", [], {}, [[]],
    {"": {}}, {"__proto__": 1}, "../../etc/passwd", "'; DROP TABLE audit; --",
    "${{ secrets.X }}", 1.5,
)  # fmt: skip
HEADERS = (
    "host", "origin", "authorization", "content-type", "content-length", "accept", "expect",
    "transfer-encoding", "mcp-session-id", "last-event-id", "prefer", "connection", "upgrade",
    "if-match", "mcp-name", "pilotage-approval", "cookie",
)  # fmt: skip
LONG = 60.0


class Maker:
    """Requests as bytes, the same ones for the same seed."""

    def __init__(self, seed: int, key: str) -> None:
        self._random, self._key = random.Random(seed), key

    def request(self) -> bytes:
        r = self._random
        path, body, headers = r.choice((self._call, self._rpc, self._manage))()
        given = {
            "host": "localhost", "authorization": f"Bearer {self._key}",
            "content-type": "application/json", **headers,
        }  # fmt: skip
        if r.random() < 0.2:
            self._spoil(given)
        method = r.choice(
            ("POST",) * 60 + ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "ODD")
        )
        if path in PATHS and r.random() < 0.7:
            method = "GET"
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in given.items())]
        if "content-length" not in given:
            lines.append(f"content-length: {len(body)}")
        whole = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
        return self._flip(whole) if r.random() < 0.1 else whole

    def value(self, depth: int = 0) -> Any:
        r = self._random
        if depth > 4 or r.random() < 0.5:
            return r.choice(ODD)
        if r.random() < 0.5:
            return [self.value(depth + 1) for _ in range(r.randrange(4))]
        return {self._name(): self.value(depth + 1) for _ in range(r.randrange(4))}

    def _name(self) -> str:
        names = ("text", "times", "how", "path", "name", "arguments", "_meta", "steps", "é", "")
        return self._random.choice(names)

    def _call(self) -> tuple[str, bytes, dict[str, str]]:
        r = self._random
        good: dict[str, Any] = {"text": "hi", "how": "answer"}
        body = r.choice((good, {"text": "hi"}, self.value(), {**good, self._name(): self.value()}))
        headers = {}
        if r.random() < 0.2:
            headers["idempotency-key"] = r.choice(("a", "b", "x" * 300, "\x7f", str(r.random())))
        if r.random() < 0.2:
            headers["accept"] = "text/event-stream"
        return f"/api/v2/tools/call/{r.choice(TOOLS)}", self._bytes(body), headers

    def _rpc(self) -> tuple[str, bytes, dict[str, str]]:
        r = self._random
        params: Any = {
            "name": r.choice(TOOLS),
            "arguments": r.choice(({"text": "hi"}, self.value())),
        }
        params["_meta"] = r.choice((META, META, META, self.value(), {**META, "progressToken": 1}))
        method = r.choice(("tools/call", *METHODS))
        body: Any = {"jsonrpc": "2.0", "id": r.choice((1, "a", 1, *ODD[:8])), "method": method}
        body["params"] = params if r.random() < 0.9 else self.value()
        if r.random() < 0.1:
            body[self._name()] = self.value()
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": MODERN}
        headers |= {"mcp-method": method, "mcp-name": str(params["name"])}
        if r.random() < 0.3:
            headers["mcp-protocol-version"] = r.choice(("2025-11-25", "2025-06-18", "1", ""))
        return "/mcp", self._bytes(body if r.random() < 0.95 else [body, body]), headers

    def _manage(self) -> tuple[str, bytes, dict[str, str]]:
        r = self._random
        path = r.choice(PATHS)
        if r.random() < 0.5:
            odd = str(r.choice(ODD)).encode("utf-8", "replace")[:50]
            text = "".join(f"%{byte:02x}" for byte in odd)
            return f"{path}?{r.choice(QUERIES)}={text}", self._bytes(self.value()), {}
        return path, self._bytes(self.value()), {}

    def _bytes(self, value: Any) -> bytes:
        r = self._random
        text = json.dumps(value).encode()
        if r.random() < 0.1:
            return self._flip(text)
        if r.random() < 0.05:
            return text[: r.randrange(len(text) + 1)]
        if r.random() < 0.02:
            return b"[" * r.randrange(100_000)
        return text

    def _flip(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._random.randrange(1, 8)):
            if changed:
                changed[self._random.randrange(len(changed))] = self._random.randrange(256)
        return bytes(changed)

    def _spoil(self, headers: dict[str, str]) -> None:
        r = self._random
        odd = (
            "",
            "x",
            "\x01",
            "0",
            "-1",
            "9" * 30,
            "a" * 9_000,
            "text/event-stream",
            "chunked",
            "*/*",
        )
        headers[r.choice(HEADERS)] = r.choice(odd)


@dataclass
class Seen:
    """Answers by status, `hung up` where none came; `faults` are those that must not be."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return self.answers.total()


async def _exchange(port: int, request: bytes, seen: Seen) -> None:
    """One request on a connection of its own, whose sending side is closed after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            line = await asyncio.wait_for(reader.readline(), LONG)
            found = re.match(rb"HTTP/1\.1 (\d\d\d)", line)
            status = found[1].decode() if found else "hung up"
            seen.answers[status] += 1
            if status.startswith("5") and status != "503":
                seen.faults.append(f"{status} to {request[:2_000]!r}")
            return
        seen.answers["hung up"] += 1
    except TimeoutError:
        seen.answers["waits"] += 1  # the server waits for the rest of a body that never comes
    finally:
        writer.transport.abort()


def memory(pid: int) -> int:
    """Bytes that a process has resident."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * 4096


async def fuzz(
    port: int, pid: int, key: str, *, seconds: float, bodies: int, connections: int, seed: int
) -> Seen:
    """At least so many requests, and for so long."""
    seen, end = Seen(), time.monotonic() + seconds

    async def client(number: int) -> None:
        maker = Maker(seed * 1_000 + number, key)
        while (time.monotonic() < end or seen.sent < bodies) and not seen.faults[10:]:
            await _exchange(port, maker.request(), seen)

    async def watch() -> None:
        while True:
            seen.memory.append(memory(pid))
            await asyncio.sleep(max(0.2, seconds / 50))

    watching = asyncio.create_task(watch())
    try:
        await asyncio.gather(*(client(number) for number in range(connections)))
    finally:
        watching.cancel()
        seen.memory.append(memory(pid))
    return seen


def grown(taken: list[int]) -> int:
    """By how many bytes memory grew after the first third, when all is warm."""
    warm = max(taken[: max(1, len(taken) // 3)])
    return max(0, min(taken[-3:]) - warm)


@contextlib.contextmanager
def server(home: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server of the tests' tools, and its port; it is told to stop at the end."""
    env = {**os.environ, "PILOTAGE_HOME": str(home), "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-m", "server.program", "--patience", "5"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=home
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("http"), process.stderr and process.stderr.read()
        errors = _Drain(process)
        try:
            yield process, int(line.rsplit(":", 1)[1])
            process.terminate()
            process.wait(LONG)
        finally:
            process.kill()
            process.wait()
            errors.join()


class _Drain:
    """Reads what a program says on standard error, so that it never waits for a reader."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        def read() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                self.lines = (*self.lines[-200:], line)

        self.lines: tuple[str, ...] = ()
        self._thread = threading.Thread(target=read, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(LONG)


def opened(home: Path) -> App:
    settings = config.read(environment={"PILOTAGE_HOME": str(home), "HOME": str(home)})
    return App(settings, roots(home), ())


def make_key(home: Path, *names: str) -> str:
    app = opened(home)
    try:
        return app.keys.create("fuzz", names, by=local_principal())[1]
    finally:
        app.close()


def wrong_records(home: Path) -> list[str]:
    """What is wrong with the audit of a server that has stopped."""
    app = opened(home)
    try:
        wrong = []
        report = verify(app.database, app.checkpoints)
        if report.bad_seq is not None:
            wrong.append(f"audit row {report.bad_seq} does not fit")
        opens = "SELECT call FROM audit WHERE event='open'"
        closes = "SELECT call FROM audit WHERE event='close'"
        for query, what in (
            (f"{opens} EXCEPT {closes}", "open"),
            (f"{closes} EXCEPT {opens}", "closed"),
        ):
            left = app.database.read(query)
            if left:
                wrong.append(f"{len(left)} calls are {what} only")
        return wrong
    finally:
        app.close()


def main() -> int:
    """Print what was answered; 1 where something must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--bodies", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pilotage-fuzz-") as folder:
        home = Path(folder)
        key = make_key(home, "admin")
        with server(home) as (process, port):
            more = {"bodies": given.bodies, "connections": given.connections, "seed": given.seed}
            seen = asyncio.run(fuzz(port, process.pid, key, seconds=given.minutes * 60, **more))
        wrong = [*seen.faults, *wrong_records(home)]
    print(f"{seen.sent} requests by {given.connections} connections, answers by status:")
    print("  " + ", ".join(f"{status}: {count}" for status, count in sorted(seen.answers.items())))
    first, most, last = seen.memory[0] >> 20, max(seen.memory) >> 20, seen.memory[-1] >> 20
    print(f"memory: {first} MiB at first, {most} at most, {last} at last")
    print(f"grown since it was warm: {grown(seen.memory) >> 20} MiB")
    print("\n".join(wrong) or "no fault, and the audit is whole")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
