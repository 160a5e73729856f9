"""python -m bench.calls: what one tools/call costs the server, everything on.

Key, policy, schema, audit, limits, Origin and Host are on. Beside it run, in the same rounds, a
bare ASGI application (the floor), the official SDK's low-level server and FastMCP, both without any
of that. In a session these two answer with JSON, which costs the SDK a third of the stream of
events that it sends unless told otherwise, and that we send. All are up at once on core 0 and are
driven in turn from core 1. The figure to trust is CPU per request (utime + stime of the server from
/proc), and of that the ratio within a round; requests per second move with the machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from contextlib import ExitStack

from bench import peers
from bench.calls_load import ACCEPT, Measured, Target, measure, running

CALL = {"text": "hello"}
VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
PARAMS = {"name": "echo", "arguments": CALL}
RPC = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {**PARAMS, "_meta": META}}
OLD = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": PARAMS}
HEADERS = {
    **ACCEPT,
    "MCP-Protocol-Version": VERSION,
    "Mcp-Method": "tools/call",
    "Mcp-Name": "echo",
}
FLOOR, REST, MCP, SESSION = "floor: bare ASGI", "pilotage REST", "pilotage MCP", "pilotage session"
SDK, SDK_SESSION = "SDK", "SDK session"
PEER, PEER_SESSION = "FastMCP", "FastMCP session"
TARGETS = (
    Target(FLOOR, "floor", "/api/v2/tools/call/echo", CALL, {}),
    Target(REST, "pilotage", "/api/v2/tools/call/echo", CALL, {}),
    Target(MCP, "pilotage", "/mcp", RPC, HEADERS),
    Target(SDK, "sdk", "/mcp", RPC, HEADERS),
    Target(PEER, "fastmcp", "/mcp", RPC, HEADERS),
    Target(SESSION, "pilotage", "/mcp", OLD, ACCEPT, session=True),
    Target(SDK_SESSION, "sdk", "/mcp", OLD, ACCEPT, session=True),
    Target(PEER_SESSION, "fastmcp", "/mcp", OLD, ACCEPT, session=True),
)
AT_MOST = ((REST, FLOOR, 1.8), (MCP, FLOOR, 1.8), (SESSION, FLOOR, 1.8))
"""What must not cost more than so many times the other."""
CHEAPER = (
    (MCP, SDK, 6.0),
    (MCP, PEER, 18.0),
    (SESSION, SDK_SESSION, 5.0),
    (SESSION, PEER_SESSION, 10.0),
)
"""What must cost so many times less than the other."""
Found = dict[str, list[Measured]]


def bench(rounds: int, seconds: float) -> Found:
    """All servers up at once, driven in turn."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {1})
    commands: dict[str, list[str] | None] = dict.fromkeys(("floor", "sdk", "pilotage"))
    if (peer := peers.fastmcp()) is not None:
        commands["fastmcp"] = peer
    targets = [target for target in TARGETS if target.server in commands]
    found: Found = {target.name: [] for target in targets}
    with ExitStack() as stack:
        servers = {n: stack.enter_context(running(n, c)) for n, c in commands.items()}
        for target in targets:
            measure(target, servers[target.server], 0.5)
        for _ in range(rounds):
            for target in targets:
                found[target.name].append(measure(target, servers[target.server], seconds))
    return found


def ratio(found: Found, one: str, other: str) -> float:
    """How many times the CPU of the other this one costs: the median of the rounds."""
    pairs = zip(found[one], found[other], strict=True)
    return statistics.median(a.cpu / b.cpu for a, b in pairs)


def show(found: Found) -> None:
    """The table, then each goal and what came of it."""
    print(f"{'':<18}{'CPU us':>8}{'least':>8}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'/floor':>8}")
    for name, rows in found.items():
        middle = [
            statistics.median(getattr(row, what) for row in rows)
            for what in ("cpu", "rate", "p50", "p99")
        ]
        least = min(row.cpu for row in rows)
        print(
            f"{name:<18}{middle[0]:>8.1f}{least:>8.1f}{middle[1]:>8.0f}{middle[2]:>8.2f}"
            f"{middle[3]:>8.2f}{ratio(found, name, FLOOR):>8.2f}"
        )
    for one, other, goal in AT_MOST:
        times = ratio(found, one, other)
        met = "met" if times <= goal else "NOT met"
        print(f"{one} costs {times:.2f} x {other}; goal: at most {goal:g}: {met}")
    for one, other, goal in CHEAPER:
        if other in found:
            times = ratio(found, other, one)
            met = "met" if times >= goal else "NOT met"
            print(f"{one} costs {times:.1f} times less than {other}; goal: {goal:g}: {met}")
        else:
            print(f"{one} against {other}: not measured")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.calls", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    show(bench(arguments.rounds, arguments.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
