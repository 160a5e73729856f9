from __future__ import annotations

import json
from pathlib import Path

from pilotage.domain.finding import Severity
from pilotage.scan.scanner import Raw
from pilotage.scanners.hadolint import HADOLINT, parse
from scanners.looking import look, plant


def row(**fields: object) -> dict[str, object]:
    return {"code": "DL3008", "column": 1, "file": "/stage/Dockerfile", "level": "warning",
            "line": 9, "message": "Pin versions", **fields}  # fmt: skip


def report(*rows: dict[str, object]) -> Raw:
    return Raw(1, json.dumps(rows).encode(), b"", root="/stage")


def test_levels_are_lowered_and_the_root_user_is_raised() -> None:
    rows = [row(level=word) for word in ("error", "warning", "info", "style", "loud")]
    parsed = parse(report(*rows, row(code="DL3002")))
    assert [finding.severity for finding in parsed.findings] == [
        Severity.MEDIUM,
        Severity.LOW,
        Severity.INFO,
        Severity.INFO,
        Severity.UNKNOWN,
        Severity.HIGH,
    ]


def test_the_label_that_we_miss_on_purpose_is_evidence_and_no_finding() -> None:
    evidence = row(code="DL3049", message="Label `pilotage.read` is missing.", level="info")
    theirs = row(code="DL3049", message="Label `owner` is missing.", level="info")
    assert parse(report(evidence)).read == {"Dockerfile"}
    assert not parse(report(evidence)).findings
    assert len(parse(report(theirs)).findings) == 1


def test_shell_that_does_not_parse_leaves_the_file_unread() -> None:
    parsed = parse(report(row(), row(code="SC1072", line=2, message="Expected end of string.")))
    assert [(item.path, item.why) for item in parsed.unread] == [
        ("Dockerfile", "line 2: Expected end of string.")
    ]
    assert len(parsed.findings) == 1


async def test_a_clean_dockerfile_is_shown_to_have_been_read(tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM debian:12.8-slim\nUSER 1000\n", "b/Dockerfile": "FROM scratch\n"}
    run = await look(HADOLINT, plant(tmp_path, files))
    assert (run.read, run.expected, run.complete, run.findings) == (2, 2, True, ())
