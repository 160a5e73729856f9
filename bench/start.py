"""How long the command line takes to start, over bare Python in the same run.

python -m bench.start [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

GOALS = {"--version": 100.0, "--help": 200.0}


def milliseconds(argv: Sequence[str]) -> float:
    """Wall time of one process."""
    began = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


def main() -> int:
    """Print medians, what they add to bare Python, and the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    commands = {"bare python": [sys.executable, "-c", "pass"]}
    for flag in GOALS:
        commands[f"pilotage {flag}"] = [sys.executable, "-m", "pilotage.cli.main", flag]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, argv in commands.items():
            times[name].append(milliseconds(argv))
    bare = statistics.median(times["bare python"])
    print(f"{'command':<20} {'median ms':>10} {'added ms':>10} {'ratio':>7} {'goal ms':>9}")
    for name, taken in times.items():
        median = statistics.median(taken)
        goal = GOALS.get(name.removeprefix("pilotage "))
        said = f"{goal:9.0f}" if goal else " " * 9
        print(f"{name:<20} {median:>10.1f} {median - bare:>10.1f} {median / bare:>7.2f} {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
