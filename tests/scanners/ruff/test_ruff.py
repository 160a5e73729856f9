from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pilotage.domain.finding import Severity
from pilotage.scan.scanner import Raw
from pilotage.scanners.ruff import _CWE, _SEVERITY, parse
from scanners import golden


def row(code: str | None, message: str = "x") -> dict[str, object]:
    place = {"row": 3, "column": 1}
    return {"cell": None, "code": code, "end_location": place, "filename": "/stage/a.py",
            "location": place, "message": message, "noqa_row": 3, "url": None}  # fmt: skip


def read(*rows: dict[str, object], log: str = "") -> Raw:
    return Raw(1, json.dumps(rows).encode(), log.encode(), root="/stage")


@pytest.mark.parametrize("code", [None, "E999", "E902", "invalid-syntax", "panic", "io-error"])
def test_what_is_no_rule_of_ours_is_a_file_that_was_not_read(code: str | None) -> None:
    parsed = parse(read(row(code, "Expected `)`"), row(code, "again")))
    assert not parsed.findings
    assert [(item.path, item.why) for item in parsed.unread] == [("a.py", "line 3: Expected `)`")]


def test_a_warning_we_do_not_know_is_told_and_not_passed_over() -> None:
    parsed = parse(read(log="warning: No Python files found under the given path(s)\n"))
    assert [item.why for item in parsed.unread] == ["No Python files found under the given path(s)"]


def test_without_its_log_there_is_no_evidence() -> None:
    assert parse(replace(golden.recorded("ruff"), stderr=b"")).read is None


def test_a_constant_command_is_low_as_bandit_has_it() -> None:
    safe = "`subprocess` call with `shell=True` seems safe, but may be changed in the future"
    first, second = parse(read(row("S602", safe), row("S602", "identified"))).findings
    assert (first.severity, second.severity) == (Severity.LOW, Severity.HIGH)


def test_a_rule_we_do_not_know_has_an_unknown_severity() -> None:
    [finding] = parse(read(row("S799"))).findings
    assert finding.severity is Severity.UNKNOWN


def test_each_rule_stands_in_both_tables_once() -> None:
    assert _SEVERITY.keys() == _CWE.keys()
    assert len(_SEVERITY) == 73
