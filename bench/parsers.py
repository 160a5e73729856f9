"""How our parsers read real reports, against what an independent reader takes from each.

python -m bench.parsers --corpus DIR [--scanner NAME]

DIR has a folder a scanner and an expected.jsonl: sample, count, severity histogram, findings as
[severity, rule, file, line, vulnerability ids, component, version, cwe, unique id, occurrences].
Each row is looked for by its place; every miss is printed. Where we differ on purpose, the reason
stands in parsers_differences.yaml. Folders that no parser of ours reads are named and counted.
Exit 0: no miss, 1: misses, 2: no such corpus.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pilotage.domain.finding import Finding
from pilotage.scan.scanner import Parsed, Raw, Unusable

SCANNERS: Mapping[str, str] = {
    "bandit": "bandit",
    "checkov": "checkov",
    "eslint": "eslint",
    "gitleaks": "gitleaks",
    "hadolint": "hadolint",
    "osv_scanner": "osv",
    "pylint": "pylint",
    "ruff": "ruff",
    "trivy": "trivy",
    "zizmor": "zizmor",
}
"""Which scanner's parser reads a folder of the corpus."""

DIFFERENCES = Path(__file__).with_name("parsers_differences.yaml")


@dataclass(frozen=True, slots=True)
class Row:
    """A finding of the independent reader."""

    severity: str
    rule: str
    file: str
    line: int | None
    ids: frozenset[str]
    component: str
    version: str
    times: int

    @classmethod
    def of(cls, values: Sequence[Any]) -> Row:
        severity, rule, file, line, ids, component, version, _, _, times = values
        named = frozenset(ids or ())
        texts = (str(severity).lower(), rule or "", plain(file or ""), line or None, named)
        return cls(*texts, component or "", version or "", times or 1)

    def __str__(self) -> str:
        about = [self.rule, *sorted(self.ids), self.component, self.version]
        return f"{self.severity} {' '.join(filter(None, about))} at {self.file}:{self.line}"


@dataclass(slots=True)
class Score:
    """Rows that agree, rows that differ on purpose, and what is missed."""

    samples: int = 0
    counts: int = 0
    rows: int = 0
    places: int = 0
    severities: int = 0
    on_purpose: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    misses: list[str] = field(default_factory=list)


def plain(path: str) -> str:
    """A path as both sides are compared."""
    path = path.removeprefix("file://").replace("\\", "/")
    return path.removeprefix("./").strip("/")


def same_place(row: Row, finding: Finding) -> bool:
    """A dependency by name, version and id, anything else by file and line."""
    where = finding.location
    if row.component:
        package = finding.package
        if package is None or row.component not in (
            package.name,
            f"{package.name}-{package.version}",
        ):
            return False
        known = {*finding.ids, finding.rule}
        return row.version in ("", package.version) and (not row.ids or bool(row.ids & known))
    if row.line is None and row.ids and not row.ids & {*finding.ids, finding.rule}:
        return False
    return plain(where.path) == row.file and row.line in (None, where.line)


def likeness(row: Row, finding: Finding, allowed: Mapping[str, Any]) -> int:
    """Which of the findings at one place is the one that is meant."""
    same_rule = bool(finding.rule) and finding.rule in row.rule
    exact = finding.severity.value == row.severity
    return 4 * same_rule + 2 * exact + (finding.severity.value in allowed.get(row.severity, ()))


def paired(
    rows: Sequence[Row], findings: Sequence[Finding], allowed: Mapping[str, Any]
) -> dict[int, int]:
    """Rows and findings at the same place, by their numbers, the most alike first."""
    alike = sorted(
        (-likeness(row, finding, allowed), i, j)
        for i, row in enumerate(rows)
        for j, finding in enumerate(findings)
        if same_place(row, finding)
    )
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in alike:
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return pairs


def score(sample: str, data: bytes, told: Mapping[str, Any], into: Score) -> None:
    """Read one sample and add what agrees, differs on purpose or is missed."""
    folder = sample.partition("/")[0]
    differs: Mapping[str, Any] = differences().get(folder, {})
    rows = [Row.of(values) for values in told["findings"]]
    into.samples += 1
    into.rows += len(rows)
    parse = importlib.import_module(f"pilotage.scanners.{SCANNERS[folder]}").parse
    try:
        parsed: Parsed = parse(Raw(0, data, b""))
    except Unusable as error:
        into.misses.append(f"{sample}: cannot be read: {error}")
        return
    allowed = differs.get("severity", {})
    pairs = paired(rows, parsed.findings, allowed)
    taken = set(pairs.values())
    left = [each for number, each in enumerate(parsed.findings) if number not in taken]
    unread = {plain(item.path) for item in parsed.unread}
    excused = 0
    for number, row in enumerate(rows):
        if number in pairs:
            into.places += 1
            judge(sample, row, parsed.findings[pairs[number]], allowed, into)
        elif row.file in unread and "unread" in differs:
            excused += 1
            into.on_purpose[f"{folder}: {differs['unread']}"] += 1
        else:
            into.misses.append(f"{sample}: place: nothing of ours is {row}")
    extra = [each for each in left if not excuse(folder, each, differs, into)]
    merged = sum(row.times for row in rows) - len(rows)  # rows that the reader has put into one
    for each in extra[merged:]:
        where = f"{each.location.path}:{each.location.line}"
        into.misses.append(f"{sample}: count: only we have {each.rule} at {where}")
    ours = len(pairs) + len(extra) + excused
    if told["count"] <= ours <= told["count"] + merged:
        into.counts += 1
    else:
        into.misses.append(f"{sample}: count: {told['count']} expected, we have {ours}")


def judge(sample: str, row: Row, finding: Finding, allowed: Mapping[str, Any], into: Score) -> None:
    """Whether the severity of a row found at its place is the same, or differs on purpose."""
    folder = sample.partition("/")[0]
    if finding.severity.value == row.severity:
        into.severities += 1
    elif finding.severity.value in allowed.get(row.severity, ()):
        into.severities += 1
        into.on_purpose[f"{folder}: {allowed['why']}"] += 1
    else:
        into.misses.append(f"{sample}: severity: {row}, to us {finding.severity.value}")


def excuse(folder: str, finding: Finding, differs: Mapping[str, Any], into: Score) -> bool:
    """Whether a finding that only we have is one on purpose."""
    for words, why in differs.get("extra", {}).items():
        if words in finding.severity_from:
            into.on_purpose[f"{folder}: {why}"] += 1
            return True
    return False


def differences() -> Mapping[str, Any]:
    content: Mapping[str, Any] = yaml.safe_load(DIFFERENCES.read_text("utf-8"))
    return content


def samples(corpus: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for line in (corpus / "expected.jsonl").read_text("utf-8").splitlines():
        if line.strip():
            told = json.loads(line)
            yield told["sample"], told


def show(scores: Mapping[str, Score], without: Mapping[str, int]) -> None:
    heads = f"{'scanner':14}{'samples':>8}{'count':>10}{'severity':>12}{'place':>12}"
    print(heads + f"{'on purpose':>12}{'misses':>8}")
    for name, each in sorted(scores.items()):
        count, place = f"{each.counts}/{each.samples}", f"{each.places}/{each.rows}"
        severity, purpose = f"{each.severities}/{each.rows}", sum(each.on_purpose.values())
        line = f"{name:14}{each.samples:8}{count:>10}{severity:>12}{place:>12}"
        print(line + f"{purpose:12}{len(each.misses):8}")
    print("\nDifferent on purpose:")
    for each in scores.values():
        for why, times in each.on_purpose.items():
            print(f"  {times:5} x {why}")
    told = ", ".join(f"{name} ({number})" for name, number in sorted(without.items()))
    print(f"\nNo parser: {sum(without.values())} samples of {len(without)} tools: {told or 'none'}")
    for each in scores.values():
        for miss in each.misses:
            print(f"MISS {miss}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--scanner", help="only this folder of the corpus")
    options = parser.parse_args()
    if not (options.corpus / "expected.jsonl").is_file():
        print(f"there is no {options.corpus / 'expected.jsonl'}", file=sys.stderr)
        return 2
    scores: dict[str, Score] = defaultdict(Score)
    without: dict[str, int] = defaultdict(int)
    for sample, told in samples(options.corpus):
        folder = sample.partition("/")[0]
        if options.scanner not in (None, folder):
            continue
        if folder not in SCANNERS:
            without[folder] += 1
            continue
        path = options.corpus / sample
        if path.is_file():
            score(sample, path.read_bytes(), told, scores[folder])
        else:
            scores[folder].misses.append(f"{sample}: expected.jsonl names it, it is not there")
    show(scores, without)
    return 1 if any(each.misses for each in scores.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
