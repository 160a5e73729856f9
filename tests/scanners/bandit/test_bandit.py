from __future__ import annotations

import json
from dataclasses import replace

from pilotage.domain.finding import Severity
from pilotage.scan.scanner import Raw
from pilotage.scanners.bandit import parse
from scanners import golden


def test_a_password_in_the_source_is_not_repeated_in_the_message() -> None:
    raw = golden.recorded("bandit")
    assert b"correct-horse-battery" in raw.stdout
    seen = json.dumps(golden.plain(raw, parse(raw)))
    assert "correct-horse-battery" not in seen


def test_a_test_that_crashed_leaves_its_file_unread() -> None:
    raw = golden.recorded("bandit")
    log = (
        b"[tester]\tERROR\tBandit internal error running: hardcoded_tmp on file /stage/app.py at "
        b"line 7: list index out of rangeTraceback (most recent call last):\n"
    )
    parsed = parse(replace(raw, stderr=raw.stderr + log))
    assert parsed.unread[-1].path == "app.py"
    assert parsed.unread[-1].why == "the test hardcoded_tmp crashed at line 7"
    assert isinstance(parsed.read, frozenset)
    assert "app.py" not in parsed.read


def test_a_report_of_an_old_version_on_windows_is_read() -> None:
    row = {
        "code": "25 \n",
        "filename": "dojo/benchmark\\views.py",
        "issue_confidence": "HIGH",
        "issue_severity": "UNDEFINED",
        "issue_text": "Try, Except, Pass detected.",
        "line_number": 26,
        "line_range": [26, 27],
        "more_info": "https://bandit.readthedocs.io/en/latest/plugins/b110_try_except_pass.html",
        "test_id": "B110",
        "test_name": "try_except_pass",
    }
    metrics = {"_totals": {"loc": 1}, "dojo/benchmark\\views.py": {"loc": 1}}
    report = json.dumps({"errors": [], "metrics": metrics, "results": [row]})
    parsed = parse(Raw(1, report.encode(), b""))
    [finding] = parsed.findings
    assert finding.location.path == "dojo/benchmark/views.py"
    assert (finding.location.line, finding.location.end_line) == (26, 27)
    assert finding.severity is Severity.UNKNOWN
    assert "UNDEFINED" in finding.severity_from
    assert parsed.read == {"dojo/benchmark/views.py"}
