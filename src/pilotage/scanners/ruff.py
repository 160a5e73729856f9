"""Ruff: its fast port of bandit's rules (S) for Python and notebooks. https://docs.astral.sh/ruff"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from pilotage.domain.finding import Finding, Location, ScanType, Severity
from pilotage.domain.scan import Coverage, Unread
from pilotage.scan.parse import decode
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner

_RULE = re.compile(r"S\d{3,4}")
_READ = re.compile(r"^\[\S+\]\[ruff::diagnostics\]\[DEBUG\] Checking: (.+)$", re.MULTILINE)
_FAILED = re.compile(r"^(?:warning|error): Failed to lint (.+?): ([^\n]+)$", re.MULTILINE)
_WARNED = re.compile(r"^(?:warning|error): (?!Failed to lint )([^\n]+)$", re.MULTILINE)

_BY_SEVERITY: Mapping[Severity, str] = {
    Severity.HIGH: "S201 S202 S304 S305 S312 S321 S324 S401 S402 S411 S412 S413 S415 S501 S502 "
    "S505 S507 S602 S605 S609 S701",
    Severity.MEDIUM: "S102 S103 S104 S108 S113 S301 S302 S303 S306 S307 S308 S310 S313 S314 S315 "
    "S316 S317 S318 S319 S320 S323 S503 S506 S508 S509 S601 S604 S608 S610 S611 S612 S702 S704",
    Severity.LOW: "S101 S105 S106 S107 S110 S112 S311 S403 S404 S405 S406 S407 S408 S409 S410 "
    "S504 S603 S606 S607",
}
"""Ruff has no severities. Each of its rules is one of bandit's (S602 is B602), so it gets the
severity that bandit 1.9.4 gives that one at its worst."""
_SEVERITY = {rule: level for level, rules in _BY_SEVERITY.items() for rule in rules.split()}

_BY_CWE: Mapping[int, str] = {
    20: "S313 S314 S315 S316 S317 S318 S319 S320 S405 S406 S407 S408 S409 S410 S411 S506",
    22: "S202 S310",
    78: "S102 S307 S404 S601 S602 S603 S604 S605 S606 S607",
    79: "S308 S704",
    80: "S702",
    89: "S608 S610 S611",
    94: "S201 S612 S701",
    155: "S609",
    259: "S105 S106 S107",
    284: "S412",
    295: "S323 S501 S507",
    319: "S312 S321 S401 S402 S415 S508 S509",
    326: "S505",
    327: "S303 S304 S305 S324 S413 S502 S503 S504",
    330: "S311",
    377: "S108 S306",
    400: "S113",
    502: "S301 S302 S403",
    605: "S104",
    703: "S101 S110 S112",
    732: "S103",
}
"""The CWE that bandit gives the same rule."""
_CWE = {rule: number for number, rules in _BY_CWE.items() for rule in rules.split()}


class _Place(msgspec.Struct):
    row: int
    column: int


class _Row(msgspec.Struct):
    """Lines and columns count from 1, in a notebook from the start of cell `cell`."""

    filename: str
    message: str
    location: _Place
    end_location: _Place
    code: str | None
    noqa_row: int | None = None
    cell: int | None = None
    name: str = ""
    url: str | None = None


def parse(raw: Raw) -> Parsed:
    """Rows whose code is no rule of S (invalid-syntax, E902, panic, none at all) are no findings:
    ruff could not read that file. What it opened stands in its log (`--verbose`)."""
    rows = decode(raw.stdout, list[_Row], "a ruff report")
    log = raw.stderr.decode("utf-8", "replace")
    unread = tuple(_unread(raw, rows, log))
    opened = frozenset(raw.relative(path) for path in _READ.findall(log))
    return Parsed(
        tuple(_finding(raw, row, row.code) for row in rows if _RULE.fullmatch(row.code or "")),
        read=opened - {item.path for item in unread} if opened else None,
        unread=unread,
    )


def _unread(raw: Raw, rows: list[_Row], log: str) -> Iterator[Unread]:
    """Each file once, with the first thing that is said about it."""
    said: dict[str, str] = {}
    for row in rows:
        if not _RULE.fullmatch(row.code or ""):
            why = f"line {row.location.row}: {row.message}"
            said.setdefault(raw.relative(row.filename), why)
    for path, why in _FAILED.findall(log):
        said.setdefault(raw.relative(path), why)
    for line in _WARNED.findall(log):
        said.setdefault("", line)
    for path, why in said.items():
        yield Unread(path, why)


def _finding(raw: Raw, row: _Row, rule: str | None) -> Finding:
    rule = rule or ""
    level, why = (
        _SEVERITY.get(rule, Severity.UNKNOWN),
        f"ruff has no severities; bandit's B{rule[1:]}",
    )
    if "seems safe" in row.message:
        level, why = Severity.LOW, why + ", and what is run is a constant"
    path, begin, end = raw.relative(row.filename), row.location, row.end_location
    where = Location(path, begin.row, begin.column, end.row, end.column)
    message = row.message
    if row.cell is not None:  # lines of a cell are not lines of the file
        where, message = Location(path), f"{message} (cell {row.cell}, line {begin.row})"
    return Finding(
        scanner="ruff",
        rule=rule,
        type=ScanType.CODE,
        severity=level,
        severity_from=why,
        title=row.name,
        message=message,
        url=row.url or "",
        cwe=(_CWE[rule],) if rule in _CWE else (),
        location=where,
    )


RUFF = Scanner(
    "ruff",
    "bandit's rules, very fast, for Python source and notebooks",
    "https://docs.astral.sh/ruff/rules/#flake8-bandit-s",
    (
        Pass(
            name="code",
            type=ScanType.CODE,
            reads=("*.py", "*.pyw", "*.pyi", "*.ipynb"),
            command=(
                "{program}",
                "check",
                "--isolated",
                "--no-cache",
                "--select=S",
                "--ignore-noqa",
                "--no-respect-gitignore",
                "--exclude=",  # by itself it passes over node_modules, build, dist, venv and more
                "--target-version=py314",  # else new syntax is an error
                "--output-format=json",
                "--verbose",
                "{stage}",
            ),
            exits=(0, 1),  # 1: it ran, and found something
            coverage=Coverage.LISTED,
            parse=parse,
            control=Control({"control.py": "import os\n\nos.system(input())\n"}, "S605"),
            cost=0.2,
        ),
    ),
    Install("pip", "ruff.txt", "bin/ruff"),
)
