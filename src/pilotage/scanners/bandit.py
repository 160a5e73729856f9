"""Bandit: insecure patterns in Python source. https://bandit.readthedocs.io"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pilotage.domain.finding import Finding, Location, ScanType
from pilotage.domain.scan import Coverage, Unread
from pilotage.scan.parse import WORDS, confidence, decode, severity
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner

_CRASHED = re.compile(r"Bandit internal error running: (\S+) on file (.+?) at line (\d+)")
_QUOTES_SECRET = ("B105", "B106", "B107")


class _Issue(msgspec.Struct):
    """Columns count from 0; old versions have neither them nor `issue_cwe`."""

    filename: str
    issue_text: str
    issue_severity: str
    issue_confidence: str
    line_number: int
    test_id: str
    test_name: str = ""
    more_info: str = ""
    line_range: list[int] = []
    col_offset: int = -1
    end_col_offset: int = 0
    issue_cwe: dict[str, Any] = {}


class _Error(msgspec.Struct):
    filename: str
    reason: str


class _Report(msgspec.Struct):
    """`metrics` has an entry for each file that was opened, unparsable ones too."""

    errors: list[_Error]
    metrics: dict[str, dict[str, Any]]
    results: list[_Issue]


def parse(raw: Raw) -> Parsed:
    report = decode(raw.stdout, _Report, "a bandit report")
    unread = [Unread(raw.relative(error.filename), error.reason) for error in report.errors]
    for test, path, line in _CRASHED.findall(raw.stderr.decode("utf-8", "replace")):
        unread.append(Unread(raw.relative(path), f"the test {test} crashed at line {line}"))
    opened = {raw.relative(path) for path in report.metrics if path != "_totals"}
    return Parsed(
        tuple(_finding(raw, issue) for issue in report.results),
        read=frozenset(opened - {item.path for item in unread}),
        unread=tuple(unread),
    )


def _finding(raw: Raw, issue: _Issue) -> Finding:
    level, why = severity(issue.issue_severity, WORDS, "bandit")
    cwe = issue.issue_cwe.get("id")
    text = issue.issue_text
    if issue.test_id in _QUOTES_SECRET:
        text = text.partition(":")[0]  # what follows is the password itself
    return Finding(
        scanner="bandit",
        rule=issue.test_id,
        type=ScanType.CODE,
        severity=level,
        native_severity=issue.issue_severity,
        severity_from=why,
        confidence=confidence(issue.issue_confidence),
        title=issue.test_name,
        message=text,
        url=issue.more_info,
        cwe=(cwe,) if isinstance(cwe, int) else (),
        location=Location(
            raw.relative(issue.filename),
            issue.line_number,
            column=issue.col_offset + 1 if issue.col_offset >= 0 else None,
            end_line=max([issue.line_number, *issue.line_range]),
            end_column=issue.end_col_offset + 1 if issue.end_col_offset > 0 else None,
        ),
    )


BANDIT = Scanner(
    "bandit",
    "insecure patterns in Python source",
    "https://bandit.readthedocs.io",
    (
        Pass(
            name="code",
            type=ScanType.CODE,
            reads=("*.py", "*.pyw"),
            command=(
                "{program}",
                "--recursive",
                "--quiet",
                "--format=json",
                "--ini=/dev/null",
                "--ignore-nosec",
                "--exclude=",  # by itself it passes over CVS, .tox, *.egg and more
                "{stage}",
            ),
            exits=(0, 1),  # 1: it ran, and found something
            coverage=Coverage.LISTED,
            parse=parse,
            control=Control({"control.py": "import os\n\nos.system(input())\n"}, "B605"),
            cost=1.5,
        ),
    ),
    Install("pip", "bandit.txt", "bin/bandit"),
)
