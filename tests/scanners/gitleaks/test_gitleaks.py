"""Gitleaks: reports of older versions, and how findings are told apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pilotage.domain.finding import Confidence, Severity
from pilotage.scan.scanner import Raw, Unusable
from pilotage.scanners.gitleaks import parse, parse_history

OLD = {
    "line": 'key = "REDACTED"',
    "lineNumber": 13,
    "offender": "REDACTED",
    "commit": "b" * 40,
    "rule": "AWS Access Key",
    "file": "a.py",
    "date": "2021-07-15T22:00:32+07:00",
    "tags": "key, AWS",
}
NEW = {
    "RuleID": "generic-api-key",
    "Description": "Detected a Generic API Key",
    "StartLine": 2,
    "EndLine": 2,
    "StartColumn": 5,
    "EndColumn": 40,
    "Match": "token = REDACTED",
    "Secret": "REDACTED",
    "File": "/stage/a.py",
    "Commit": "",
    "Entropy": 4.1,
}


def read(*rows: Any, log: bytes = b"", how: Any = parse) -> Any:
    return how(Raw(3, b"", log, {"gitleaks.json": json.dumps(rows).encode()}, "/stage"))


def test_reports_of_versions_before_8_are_read() -> None:
    [finding] = read(OLD).findings
    assert (finding.rule, finding.severity) == ("AWS Access Key", Severity.CRITICAL)
    assert (finding.location.path, finding.location.line) == ("a.py", 13)
    assert finding.location.commit == "b" * 40
    assert parse(Raw(0, b"null", b"")).findings == ()


def test_a_guess_is_less_sure_than_a_shape() -> None:
    [guess] = read(NEW).findings
    assert (guess.severity, guess.confidence) == (Severity.HIGH, Confidence.MEDIUM)
    [shape] = read({**NEW, "RuleID": "private-key"}).findings
    assert (shape.severity, shape.confidence) == (Severity.CRITICAL, Confidence.HIGH)
    [early] = read({**NEW, "RuleID": "RSA-PK", "Description": "RSA private key"}).findings
    assert early.severity is Severity.CRITICAL


def test_one_secret_in_many_commits_is_told_at_the_oldest() -> None:
    rows = [{**OLD, "commit": str(n) * 40, "date": f"202{n}-01-01T00:00:00Z"} for n in (3, 1, 2)]
    [finding] = read(*rows).findings
    assert finding.location.commit == "1" * 40


def test_two_redacted_secrets_on_one_line_stay_two() -> None:
    assert len(read(NEW, {**NEW, "Entropy": 3.9}, NEW).findings) == 2


@pytest.mark.parametrize(
    "log",
    [b"", b"6:27PM INF 0 commits scanned.\n", b"6:27PM ERR [git] fatal: not a git repository\n"],
)
def test_a_history_of_no_commit_is_refused(log: bytes) -> None:
    with pytest.raises(Unusable):
        read(log=log, how=parse_history)


def test_a_complaint_of_git_leaves_the_history_unread() -> None:
    log = b"6:27PM ERR [git] error: object file is empty\n6:27PM INF 3 commits scanned.\n"
    parsed = read(log=log, how=parse_history)
    assert parsed.read == 2
    assert [item.path for item in parsed.unread] == [".git"]


def test_a_file_name_in_the_log_cannot_pose_as_another_line() -> None:
    log = b'6:27PM TRC scanning path path="/stage/a\\n6:27PM TRC scanning path path=/stage/b"\n'
    assert "b" not in read(log=log).read
