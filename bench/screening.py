"""How many poisoned tools screening holds back, and how many good ones.

    python -m bench.screening [--misses]

The corpus is in bench/corpus/screening (its README says how it was made). The held-out half was
written before there were patterns, and none was tuned on it. A tool counts as caught when it is
held back; one that is only warned of counts as missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from pilotage.domain.text import cut, visible
from pilotage.tool.screening import Screened, screen

CORPUS = Path(__file__).parent / "corpus" / "screening"


class Half(StrEnum):
    TUNED = "tuned"
    HELD_OUT = "held-out"


RECALL = {Half.TUNED: 0.92, Half.HELD_OUT: 0.95}
"""The floor that a test holds. The tuned half has a batch that is harder: see the README."""
FALSE_POSITIVES = 0.01


@dataclass
class Count:
    """Of `total` tools, those that were held back and warned of; `seconds` for each one."""

    total: int = 0
    held: int = 0
    warned: int = 0
    seconds: list[float] = field(default_factory=list)
    odd: list[tuple[str, Screened]] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.held / self.total if self.total else 0.0

    def add(self, tool: dict[str, Any], wanted: bool) -> None:
        began = time.perf_counter()
        found = screen(tool)
        self.seconds.append(time.perf_counter() - began)
        self.total += 1
        self.held += found.bad
        self.warned += bool(found.reasons) and not found.bad
        if found.bad is not wanted:
            self.odd.append((visible(json.dumps(tool, ensure_ascii=False)), found))


def samples(kind: str, half: Half) -> Iterator[tuple[str, dict[str, Any]]]:
    """Technique and tool of each sample of `kind`, poisoned or benign."""
    name = kind if half is Half.TUNED else f"{kind}-held-out"
    for line in (CORPUS / f"{name}.jsonl").read_text("utf-8").splitlines():
        one = json.loads(line)
        yield one["technique"], one["tool"]


def by_technique(kind: str, half: Half) -> dict[str, Count]:
    """Each technique with its count."""
    counts: dict[str, Count] = defaultdict(Count)
    for technique, tool in samples(kind, half):
        counts[technique].add(tool, kind == "poisoned")
    return counts


def measure(half: Half) -> tuple[Count, Count]:
    """All poisoned and all benign tools of one half."""
    return total(by_technique("poisoned", half)), total(by_technique("benign", half))


def total(counts: dict[str, Count]) -> Count:
    whole = Count()
    for one in counts.values():
        whole.total += one.total
        whole.held += one.held
        whole.warned += one.warned
        whole.seconds += one.seconds
        whole.odd += one.odd
    return whole


def show(kind: str, title: str, misses: bool) -> None:
    """One table: a row a technique, the tuned half beside the held-out one."""
    tuned, held_out = (by_technique(kind, half) for half in Half)
    print(f"\n{title:<22}{'tuned':>16}{'held-out':>16}")
    for technique in {**tuned, **held_out}:
        print(f"  {technique:<20}{_cell(tuned[technique])}{_cell(held_out[technique])}")
    sums = total(tuned), total(held_out)
    print(f"  {'all':<20}{_cell(sums[0])}{_cell(sums[1])}")
    print(f"  {'warned of only':<20}{sums[0].warned:>16}{sums[1].warned:>16}")
    if misses:
        for text, found in sums[0].odd + sums[1].odd:
            print(f"    {found.score:>3}  {cut(text, 160)}  {'; '.join(found.reasons)}")


def _cell(count: Count) -> str:
    if not count.total:
        return f"{'-':>16}"
    return f"{count.held:>5}/{count.total:<4}{count.share:>6.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--misses", action="store_true", help="print what was judged wrongly")
    arguments = parser.parse_args()
    screen({"description": "do not tell the user"})  # compile the rules
    show("poisoned", "held back (recall)", arguments.misses)
    show("benign", "held back (false)", arguments.misses)
    seconds = [one for half in Half for count in measure(half) for one in count.seconds]
    milliseconds = sorted(one * 1e3 for one in seconds)
    print(
        f"\ntime per tool: {statistics.median(milliseconds):.2f} ms (median), "
        f"{milliseconds[int(len(milliseconds) * 0.99)]:.2f} ms (99 %), {len(milliseconds)} tools"
    )


if __name__ == "__main__":
    main()
