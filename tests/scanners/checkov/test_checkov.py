"""Checkov: the shapes of its reports, and severities where it gives none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pilotage.domain.finding import Severity
from pilotage.scan.scanner import Raw, Unusable
from pilotage.scanners.checkov import CRITICAL, HIGH, parse


def check(id: str = "CKV_AWS_1", **more: Any) -> dict[str, Any]:
    return {"check_id": id, "check_name": "name", "file_path": "/a/main.tf",
            "file_line_range": [3, 5], "resource": "r", "severity": None, **more}  # fmt: skip


def report(*failed: Any, skipped: Any = (), errors: Any = (), counted: int = 0) -> dict[str, Any]:
    results = {"failed_checks": failed, "skipped_checks": skipped, "parsing_errors": errors}
    summary = {"checkov_version": "3.3.30", "parsing_errors": counted or len(errors)}
    return {"check_type": "terraform", "results": results, "summary": summary}


def read(document: Any) -> Any:
    return parse(Raw(0, json.dumps(document).encode(), b"", root="/stage"))


def test_one_framework_and_several_are_read() -> None:
    assert len(read(report(check())).findings) == 1
    assert len(read([report(check()), report(check(), check())]).findings) == 3
    [finding] = read(report(check())).findings
    assert (finding.location.path, finding.location.line) == ("a/main.tf", 3)


def test_a_lone_summary_says_that_nothing_was_recognised_not_that_it_was_read() -> None:
    parsed = read({"passed": 0, "failed": 0, "parsing_errors": 0, "checkov_version": "3.3.30"})
    assert (parsed.findings, parsed.read) == ((), frozenset())
    with pytest.raises(Unusable):
        read({"passed": 0, "failed": 2, "checkov_version": "3.3.30"})


@pytest.mark.parametrize(
    ("id", "native", "severity"),
    [
        ("CKV_AWS_41", None, Severity.CRITICAL),
        ("CKV_AWS_24", None, Severity.HIGH),
        ("CKV_AWS_18", None, Severity.MEDIUM),
        ("CKV_AWS_41", "LOW", Severity.LOW),
        ("CKV_AWS_41", "NEW", Severity.UNKNOWN),
    ],
)
def test_a_severity_is_its_own_else_that_of_our_table(
    id: str, native: str | None, severity: Severity
) -> None:
    [finding] = read(report(check(id, severity=native))).findings
    assert finding.severity is severity
    assert finding.severity_from
    assert not CRITICAL & HIGH


def test_what_the_source_asks_to_skip_is_found_and_said() -> None:
    [finding] = read(report(skipped=[check()])).findings
    assert "asks to skip" in finding.message


def test_what_could_not_be_parsed_is_unread_named_or_not() -> None:
    parsed = read(report(errors=["/stage/b.tf"], counted=3))
    assert [item.path for item in parsed.unread] == ["b.tf", ""]
