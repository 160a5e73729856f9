"""Wall time of one scan against the longest single scanner and against the sum of all.

python -m bench.scan [SOURCE]   (default: the demo's vulnerable application)

Baselines in the same run: each scanner alone through the same command, one after another.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, "examples/01-first-gate")

from prepare import prepare


def scan(source: Path, *words: str) -> tuple[float, set[str]]:
    """Seconds of one `pilotage scan`, and the scanners that ran."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "pilotage.cli.main", "scan", str(source)]
        began = time.perf_counter()
        subprocess.run(
            [*argv, "--format", "json", "--output", folder, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        seconds = time.perf_counter() - began
        report = json.loads((Path(folder) / "security_scan_report.json").read_bytes())
    return seconds, {run["scanner"] for run in report["runs"]}


def main() -> int:
    """Print the times and the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, nargs="?")
    given = parser.parse_args().source
    with tempfile.TemporaryDirectory() as folder:
        source = given or prepare("vulnerable", Path(folder))
        scan(source)  # installs and controls are kept; what is measured is the scan
        whole, names = scan(source)
        alone = {name: scan(source, "--scanner", name)[0] for name in sorted(names)}
    print(f"{'scanner alone':<16} {'s':>7}")
    for name, seconds in sorted(alone.items(), key=lambda item: -item[1]):
        print(f"{name:<16} {seconds:>7.2f}")
    longest, total = max(alone.values()), sum(alone.values())
    print(f"\nwhole scan {whole:.2f} s; longest alone {longest:.2f} s; sum {total:.2f} s")
    print(f"whole / longest = {whole / longest:.2f}   whole / sum = {whole / total:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
