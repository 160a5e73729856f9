"""python -m bench.federation: what a hop to an MCP server behind us costs, everything on.

A small, fast MCP server stands on core 1 with the load; in front of it, on core 0 and driven in
turn, stand pilotage (key, policy, schema, audit, limits, pins on), FastMCP's proxy and
ContextForge, where they install. Goals: at least 4,000 calls a second with 8 connections, and at
most 1.0 ms added to the median with one. Each peer is measured as it comes and in its better way:
FastMCP as `create_proxy(url)` makes it, and with one client that is kept connected; ContextForge
with its defaults, and with sessions kept and what serves no call off (bench/forge_peer.py). It
starts helpers of its own, whose CPU is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from typing import Any

from bench.calls_load import ACCEPT, HANDSHAKE, TEXT, Measured, Target, measure, running
from bench.federation_servers import found as peers_found
from bench.forge_peer import SERVER

GOAL_RATE, GOAL_ADDED = 4_000.0, 1.0
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
MODERN = {
    **ACCEPT,
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "echo",
}
FORGE = f"/servers/{SERVER}/mcp"
CLASSIC = {**ACCEPT, "MCP-Protocol-Version": HANDSHAKE}


def _rpc(**meta: Any) -> dict[str, Any]:
    params = {"name": "echo", "arguments": {"text": TEXT.decode()}, **meta}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def _forged() -> dict[str, Any]:
    """The call as ContextForge wants it: it puts the upstream's name before the tool's."""
    message = _rpc()
    message["params"]["name"] = "up-echo"
    return message


TARGETS = (
    Target("upstream, direct", "upstream", "/mcp", _rpc(_meta=META), MODERN),
    Target("pilotage /mcp", "pilotage", "/mcp", _rpc(_meta=META), MODERN),
    Target("pilotage REST", "pilotage", "/api/v2/tools/call/echo", {"text": TEXT.decode()}, {}),
    Target("FastMCP proxy", "fastmcp", "/mcp", _rpc(), CLASSIC),
    Target("FastMCP, kept client", "fastmcp-kept", "/mcp", _rpc(), CLASSIC),
    Target("ContextForge", "forge-plain", FORGE, _forged(), CLASSIC),
    Target("ContextForge, sessions", "forge-kept", FORGE, _forged(), CLASSIC, True),
)
PEERS = tuple(target.name for target in TARGETS[3:])


Found = dict[str, dict[int, list[Measured]]]


def bench(rounds: int, seconds: float, peers: bool) -> Found:
    """All servers up at once, driven in turn, with one connection and with eight."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {1})
    found: Found = {}
    with ExitStack() as stack:
        ours = [sys.executable, "-m", "bench.federation_servers"]
        upstream = stack.enter_context(running("upstream", [*ours, "upstream"], 1))
        url = f"http://127.0.0.1:{upstream.port}/mcp"
        servers = {"upstream": upstream}
        servers["pilotage"] = stack.enter_context(running("pilotage", [*ours, "pilotage", url]))
        home = stack.enter_context(tempfile.TemporaryDirectory())
        for name, command in (peers_found(url, home) if peers else {}).items():
            servers[name] = stack.enter_context(running(name, command))
        targets = [target for target in TARGETS if target.server in servers]
        for target in targets:
            measure(target, servers[target.server], 0.5, 1)
            found[target.name] = {1: [], 8: []}
        for _ in range(rounds):
            for target in targets:
                for count in (1, 8):
                    row = measure(target, servers[target.server], seconds, count)
                    found[target.name][count].append(row)
    return found


def show(found: Found) -> bool:
    """The table, the ratios, and whether the goals are met."""

    def middle(name: str, count: int, what: str) -> float:
        return statistics.median(getattr(row, what) for row in found[name][count])

    print(f"{'':<23}{'1: p50 ms':>10}{'added':>8}{'p99':>8}{'8: calls/s':>12}{'CPU us':>9}")
    direct = found[TARGETS[0].name][1]
    added: dict[str, float] = {}
    for name, rows in found.items():
        pairs = zip(rows[1], direct, strict=True)
        added[name] = statistics.median(ours.p50 - theirs.p50 for ours, theirs in pairs)
        print(
            f"{name:<23}{middle(name, 1, 'p50'):>10.2f}{added[name]:>8.2f}"
            f"{middle(name, 1, 'p99'):>8.2f}{middle(name, 8, 'rate'):>12.0f}"
            f"{middle(name, 8, 'cpu'):>9.0f}"
        )
    for theirs in PEERS:
        if theirs in found:
            times = middle("pilotage /mcp", 8, "rate") / middle(theirs, 8, "rate")
            cpu = middle(theirs, 8, "cpu") / middle("pilotage /mcp", 8, "cpu")
            print(
                f"pilotage /mcp makes {times:.0f} x the calls of {theirs}, each of which takes "
                f"{cpu:.0f} x the CPU"
            )
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
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    arguments = parser.parse_args()
    show(bench(arguments.rounds, arguments.seconds, not arguments.no_peers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
