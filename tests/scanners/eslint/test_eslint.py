from __future__ import annotations

import json

from pilotage.domain.finding import Severity
from pilotage.scan.scanner import Raw
from pilotage.scanners.eslint import parse


def report(**message: object) -> Raw:
    file = {"filePath": "/stage/a.js", "messages": [message], "errorCount": 1, "warningCount": 0}
    return Raw(1, json.dumps([file]).encode(), b"", root="/stage")


def test_a_file_that_does_not_parse_is_unread() -> None:
    raw = report(ruleId=None, fatal=True, severity=2, message="Parsing error: x", line=2, column=1)
    parsed = parse(raw)
    assert not parsed.findings
    assert parsed.read == frozenset()
    assert [(u.path, u.why) for u in parsed.unread] == [("a.js", "line 2: Parsing error: x")]


def test_a_file_that_eslint_ignores_is_unread() -> None:
    raw = report(ruleId=None, severity=1, message="File ignored because of a matching pattern.")
    assert [item.path for item in parse(raw).unread] == ["a.js"]


def test_a_rule_about_quality_is_info_whatever_its_configuration_says() -> None:
    [finding] = parse(report(ruleId="no-with", severity=2, message="x", line=1, column=1)).findings
    assert (finding.severity, finding.native_severity) == (Severity.INFO, "error")
    assert finding.url == "https://eslint.org/docs/latest/rules/no-with"


def test_a_report_of_an_old_version_is_read() -> None:
    raw = report(ruleId="no-eval", severity=2, message="x", line=4, column=9, nodeType="Call")
    [finding] = parse(raw).findings
    assert (finding.location.line, finding.location.column) == (4, 9)
    assert (finding.location.end_line, finding.severity) == (None, Severity.MEDIUM)
