"""security_scan_report.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from formats.sample import HOSTILE, clean, finding, sample, spoken
from pilotage.domain.finding import Location, Severity
from pilotage.domain.scan import Scan
from pilotage.formats.json_report import JSON, schema

PUBLISHED = Path("docs/schemas/security_scan_report.schema.json")


def report(scan: Scan) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(JSON.render(scan))
    return value


def test_it_has_the_keys_of_the_article() -> None:
    told = report(sample())
    assert told["scan_summary"] == {
        "total_scans": 4,
        "total_duration": 2.7,
        "overall_risk": "critical",
        "risk_counts": {"critical": 1, "high": 2, "medium": 1, "low": 0},
        "total_findings": 8,
    }
    assert told["scan_results"][0] == {
        "tool_name": "bandit",
        "scan_type": "code",
        "risk_level": "high",
        "findings_count": 2,
        "scan_duration": 0.4,
        "scan_date": "2026-11-24T19:01:02Z",
    }
    assert len(told["aggregated_findings"]) == 8
    assert all(one["severity"] in list(Severity) for one in told["aggregated_findings"])


def test_a_scanner_that_failed_is_no_low_risk() -> None:
    told = report(sample())
    assert "eslint" not in {result["tool_name"] for result in told["scan_results"]}
    failed = next(run for run in told["runs"] if run["scanner"] == "eslint")
    assert (failed["outcome"], failed["complete"]) == ("timed_out", False)


def test_an_unknown_severity_is_no_low_risk() -> None:
    unknown = finding(severity=Severity.UNKNOWN, location=Location("a.py"))
    runs = tuple(run for run in sample().runs if run.scanner == "bandit")
    from dataclasses import replace

    told = report(sample(runs=(replace(runs[0], findings=(unknown,)),)))
    assert told["scan_summary"]["overall_risk"] == "high"


def test_it_tells_the_verdict_and_what_was_not_seen() -> None:
    told = report(sample())
    assert told["verdict"]["ruling"] == "FAIL"
    assert told["verdict"]["exit"] == 1
    assert [row["path"] for row in told["unread"]] == ["big.sql", "package-lock.json"]
    assert told["counts"]["unknown"] == 1
    assert told["suppressions"][1]["word"] == "configuration"
    assert told["choices"][1]["why"] == "no image was given"
    assert told["inventory"]["kinds"] == {"python": 1}


@pytest.mark.parametrize("scan", [sample(), clean(), *map(spoken, HOSTILE)], ids=lambda _: "scan")
def test_it_is_what_the_published_schema_says(scan: Scan) -> None:
    validator = jsonschema_rs.validator_for(json.loads(PUBLISHED.read_bytes()))
    told = report(scan)
    assert [error.message for error in validator.iter_errors(told)] == []
    del told["verdict"]
    assert not validator.is_valid(told)


def test_the_published_schema_is_current() -> None:
    assert PUBLISHED.read_bytes() == schema(), "make docs"


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: repr(text)[:20])
def test_a_terminal_that_shows_the_file_has_nothing_to_obey(hostile: str) -> None:
    written = JSON.render(spoken(hostile)).decode("ascii")
    assert all(char.isprintable() or char == "\n" for char in written)
