"""Code quality of Python, JavaScript and TypeScript: pylint, ruff and ESLint, and one score.

It goes through the scan engine, so the tools see a private copy without their configuration, prove
themselves on a planted mistake, and one that did not look at all its files makes the check fail.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from pilotage.domain.call import Effect, Outcome, ToolResult
from pilotage.domain.errors import Unavailable
from pilotage.domain.finding import Finding, Location, ScanType, Severity
from pilotage.domain.scan import Scan, Unread
from pilotage.scan.git import git
from pilotage.scan.inventory import matching
from pilotage.scan.orchestrate import ScanRequest, Scans
from pilotage.scan.parse import decode
from pilotage.scan.report import finding_fields
from pilotage.scan.scanner import Control, Parsed, Pass, Raw, Scanner
from pilotage.tool.roots import Roots
from pilotage.tool.tool import Call, tool

TOOLS = ("pylint", "ruff", "eslint")
LEVELS = ("error", "warning", "remark")
FORMULA = (
    "10 - 100 * (5 * errors + warnings + 0.2 * remarks) / lines, at least 0; "
    "lines are those that are not blank, and each counts once, as its worst finding"
)
SHOWN = 500
_UNKNOWABLE = {("pylint", "E0401")}
"""import-error: the tools see the project alone, not the packages that it needs."""
_RUFF_RULES = "E4,E7,E9,F,B,C90,PLE"
_UNREADABLE = re.compile(r"E902|E999|invalid-syntax")
_RUFF_ERROR = re.compile(r"E9|PLE|F5|F6|F7|F82")
_LEVEL = {
    "error": "error",
    "fatal": "error",
    "warning": "warning",
    "refactor": "remark",
    "convention": "remark",
    "information": "remark",
}


@tool(Effect.READ, idempotent=True, open=True, timeout=1800)
async def code_quality_checker(
    source_path: Path | None = None,
    repository: str | None = None,
    ref: str | None = None,
    sha: str | None = None,
    minimum: float = 0.0,
    *,
    scans: Scans,
    roots: Roots,
    here: Call,
) -> ToolResult:
    """Check code quality with pylint, ruff and ESLint: a score from 0 to 10, and the findings.

    `source_path` is the folder to check, the workspace where it is not given; `repository`, `ref`
    and `sha` say what the caller believes to be there, and the answer says where that is not so.
    It fails below the score `minimum`, and wherever a tool did not look at all of its files.
    """
    folder = source_path or roots.folders[0]
    scan = await _engine(scans).scan(ScanRequest(folder, scanners=TOOLS), here.report)
    reads = _reads(scans)
    missing = _missing(scan, reads)
    findings = _worst_first(scan)
    marked = _marked(findings)
    lines = _lines(folder, matching(reads, scan.inventory.files))
    score = round(max(0.0, 10 - 100 * _weight(marked) / lines), 2) if lines else None
    error = _error(missing, score, minimum)
    value = {
        "score": score if not missing else None,
        "formula": FORMULA,
        "lines": lines,
        "counts": {level: marked[level] for level in LEVELS},
        "tools": [_told(run) for run in scan.runs],
        "incomplete": missing,
        "findings": [{**finding_fields(f), "level": level} for level, f in findings[:SHOWN]],
        "findings_total": len(findings),
        "checked": await _checked(folder, repository, ref, sha),
    }
    return ToolResult(Outcome.FAILED if error else Outcome.SUCCEEDED, value, error or None)


def _engine(scans: Scans) -> Scans:
    """The same engine with these three tools, ruff with its rules about quality."""
    missing = [name for name in TOOLS if name not in scans.scanners]
    if missing:
        raise Unavailable(f"this installation has no {', '.join(missing)}", "reinstall pilotage")
    scanners = {name: scans.scanners[name] for name in TOOLS}
    scanners["ruff"] = _about_quality(scanners["ruff"])
    return Scans(scanners, scans.environments, scans.controls)


def _about_quality(ruff: Scanner) -> Scanner:
    """Ruff on the shelf looks for weaknesses: the same pass, with other rules and their parser."""
    security = ruff.passes[0]

    def parse(raw: Raw) -> Parsed:
        """What was read, and what could not be, the shelf's parser tells from the same report."""
        rows = decode(raw.stdout, list[dict[str, Any]], "a ruff report")
        unreadable = [row for row in rows if _UNREADABLE.fullmatch(str(row.get("code") or "E902"))]
        evidence = security.parse(replace(raw, stdout=msgspec.json.encode(unreadable)))
        found = [msgspec.convert(row, _Row) for row in rows if row not in unreadable]
        return replace(evidence, findings=tuple(_finding(raw, row) for row in found))

    command = tuple(
        f"--select={_RUFF_RULES}" if word.startswith("--select=") else word
        for word in security.command
    )
    control = Control({"control.py": "import os\n\nprint(undefined)\n"}, "F821")
    quality = replace(security, name="quality", command=command, parse=parse, control=control)
    return replace(ruff, passes=(quality,))


class _Place(msgspec.Struct):
    row: int
    column: int


class _Row(msgspec.Struct):
    """In a notebook, lines count from the start of cell `cell`."""

    filename: str
    message: str
    code: str
    location: _Place
    end_location: _Place
    cell: int | None = None
    name: str = ""
    url: str | None = None


def _finding(raw: Raw, row: _Row) -> Finding:
    begin, end = row.location, row.end_location
    place = Location(raw.relative(row.filename), begin.row, begin.column, end.row, end.column)
    error, warning = _RUFF_ERROR.match(row.code), row.code.startswith(("F", "B"))
    return Finding(
        scanner="ruff",
        rule=row.code,
        type=ScanType.CODE,
        severity=Severity.INFO,
        native_severity="error" if error else "warning" if warning else "convention",
        severity_from=f"ruff has no severities; {row.code} is about quality",
        title=row.name,
        message=row.message if row.cell is None else f"{row.message} (cell {row.cell})",
        url=row.url or "",
        location=place if row.cell is None else Location(place.path),
    )


def _worst_first(scan: Scan) -> list[tuple[str, Finding]]:
    told = [f for f in scan.findings if (f.scanner, f.rule) not in _UNKNOWABLE]
    return sorted(((_level(f), f) for f in told), key=lambda pair: LEVELS.index(pair[0]))


def _level(finding: Finding) -> str:
    """The tool's own word; a finding about security is an error whatever the tool calls it."""
    if finding.severity in (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.UNKNOWN):
        return "error"
    return _LEVEL.get(finding.native_severity, "warning")


def _marked(worst_first: list[tuple[str, Finding]]) -> Counter[str]:
    """How many lines have a finding, by the worst that is said of them."""
    places: dict[tuple[str, int | str], str] = {}
    for level, finding in worst_first:
        place = finding.location
        places.setdefault((place.path, place.line or finding.message), level)
    return Counter(places.values())


def _weight(counts: Mapping[str, int]) -> float:
    return 5 * counts["error"] + counts["warning"] + 0.2 * counts["remark"]


def _missing(scan: Scan, reads: tuple[str, ...]) -> list[str]:
    """What was to be looked at and was not, each in a sentence. Nothing to look at counts."""
    chosen = [choice for choice in scan.choices if choice.chosen]
    ran = {(run.scanner, run.pass_name) for run in scan.runs}
    told = [
        f"{run.scanner}: {run.outcome}: {run.why}"
        for run in scan.runs
        if run.outcome is not Outcome.SUCCEEDED
    ]
    told += [f"{c.scanner}: did not run" for c in chosen if (c.scanner, c.pass_name) not in ran]
    told += [_unread(row) for row in scan.unread if row.scanner or matching(reads, [row.path])]
    if not chosen:
        told.append("there is no Python, JavaScript or TypeScript here to look at")
    return list(dict.fromkeys(told))


def _unread(row: Unread) -> str:
    return f"{row.scanner or 'nobody'} could not read {row.path}: {row.why}"


def _reads(scans: Scans) -> tuple[str, ...]:
    passes: list[Pass] = [each for name in TOOLS for each in scans.scanners[name].passes]
    return tuple(dict.fromkeys(glob for each in passes for glob in each.reads))


def _lines(folder: Path, files: Iterable[str]) -> int:
    """Lines with something in them. A name that is no file under it (it was spelled out for
    print) adds none, which can only lower the score."""
    count = 0
    for name in files:
        path = folder / name
        if path.is_file() and not path.is_symlink():
            count += sum(1 for line in path.read_bytes().splitlines() if line.strip())
    return count


def _error(missing: list[str], score: float | None, minimum: float) -> str:
    if missing:
        rest = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        return f"the check is not complete: {missing[0]}{rest}"
    if score is None:
        return "the check is not complete: there is no line of source here"
    return f"the score {score} is below {minimum}" if score < minimum else ""


def _told(run: Any) -> dict[str, Any]:
    return {
        "tool": run.scanner,
        "outcome": run.outcome.value,
        "why": run.why,
        "version": run.version,
        "read": run.read,
        "expected": run.expected,
        "seconds": run.seconds,
    }


async def _checked(
    folder: Path, repository: str | None, ref: str | None, sha: str | None
) -> dict[str, Any]:
    """What was looked at, beside what the caller believed to be there."""
    done = await git("rev-parse", "--verify", "--quiet", "HEAD", folder=folder, seconds=10)
    head = done.stdout.decode("ascii", "replace").strip() if done.exit == 0 else ""
    checked: dict[str, Any] = {"path": str(folder), "commit": head}
    checked |= {k: v for k, v in (("repository", repository), ("ref", ref), ("sha", sha)) if v}
    if sha and head != sha:
        checked["note"] = f"asked about {sha}; this folder is at {head or 'no commit'}"
    return checked
