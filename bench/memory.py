"""python -m bench.memory: the memory of the server over a million calls, half REST, half MCP.

What it holds is printed every 100,000 calls. The first two lots fill what is remembered (keys,
heads, pages of the database); from then on it must stay flat.
"""

from __future__ import annotations

import argparse
import os
import sys

from bench.calls import MCP, REST, TARGETS
from bench.calls_load import CONNECTIONS, drive, running

LOT = 100_000
WARM = 2
GOAL = 8.0
"""Megabytes that it may grow by after the first lots."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {1})
    targets = [target for target in TARGETS if target.name in (REST, MCP)]
    held = []
    with running("pilotage") as server:
        print(f"{0:>9} calls: {server.rss():.1f} MB", flush=True)
        for lot in range(1, max(1, arguments.calls // LOT) + 1):
            done = 0
            for target in targets:
                count = LOT // len(targets) // CONNECTIONS
                done += len(drive(target, server, 3_600, count))
            held.append(server.rss())
            print(f"{lot * LOT:>9} calls: {held[-1]:.1f} MB", flush=True)
            assert done == LOT
    if len(held) <= WARM:
        print("too few calls to say whether it grows")
        return 0
    growth = held[-1] - held[WARM - 1]
    met = "met" if growth <= GOAL else "NOT met"
    print(f"grown by {growth:.1f} MB after the first {WARM * LOT:,}; at most {GOAL:g}: {met}")
    return 0 if growth <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
