"""The terminal report."""

from __future__ import annotations

import re
import unicodedata

import pytest
from rich.cells import cell_len

from formats.sample import HOSTILE, clean, finding, sample, spoken
from pilotage.domain.finding import Location, Severity
from pilotage.domain.scan import Scan
from pilotage.formats.terminal import TERMINAL

SGR = re.compile(r"\x1b\[[0-9;]*m")


def text(scan: Scan) -> str:
    """What one reads: the report without its colours, words not broken over lines."""
    return " ".join(SGR.sub("", TERMINAL.render(scan).decode()).split())


def test_the_verdict_says_the_rule_the_reason_and_the_mend() -> None:
    shown = text(sample())
    assert "FAIL 1 critical finding, more than the 0 allowed" in shown
    assert "rule risk_level_config.critical in default rules" in shown
    assert "hint mend it, or change risk_level_config.critical" in shown
    assert "also INCOMPLETE: eslint (code): timed out" in shown
    assert "next pilotage scan /srv/parcel-tracker" in shown


def test_the_worst_stands_first() -> None:
    shown = text(sample())
    order = [shown.index(f" {word} ") for word in ("CRITICAL", "HIGH", "UNKNOWN", "MEDIUM")]
    assert order == sorted(order)


def test_a_suppressed_finding_is_not_among_those_that_count() -> None:
    shown = text(sample())
    assert "LOW" not in shown
    assert "`in_source: never` in default rules counts them again" in shown


def test_every_run_shows_how_it_ended_and_its_evidence() -> None:
    shown = text(sample())
    assert "bandit code succeeded 7 of 7 files" in shown
    assert "trivy dockerfile container succeeded none" in shown
    assert "gitleaks history secret succeeded 2 commits" in shown
    assert "osv lock-files dependency 1 unread 1 of 2 files" in shown
    assert "eslint code timed out –" in shown
    assert "eslint: killed after 300 s" in shown
    assert "snyk: no token (the policy can do without)" in shown


def test_what_was_not_looked_at_is_listed() -> None:
    shown = text(sample())
    assert "Not looked at 2 big.sql (larger than 32 MiB)" in shown
    assert "package-lock.json (osv: it is not JSON)" in shown
    assert "not run: trivy image (no image was given)" in shown


def test_words_that_were_not_obeyed_come_with_the_line_that_changes_it() -> None:
    findings = tuple(f for f in sample().findings if f.suppressed is None)
    shown = text(sample(findings=findings))
    assert ".gitleaks.toml configuration" in shown
    assert "None of it was obeyed. `in_source: with_reason`" in shown


def test_a_clean_scan_names_the_profile_that_looks_harder() -> None:
    shown = text(clean())
    assert "Findings none" in shown
    assert "PASS no level is over its limit" in shown
    assert "--profile strict" in shown


def test_a_long_list_is_cut_and_says_how_many_are_left() -> None:
    many = tuple(finding(rule=f"B{n:03d}", location=Location(f"f{n}.py", n)) for n in range(1, 41))
    shown = text(sample(findings=many, counts={Severity.HIGH: 40}))
    assert "HIGH 40" in shown
    assert "f20.py:20" in shown
    assert "f21.py" not in shown
    assert "and 20 more in the other reports" in shown


def test_what_is_mended_together_is_one_row() -> None:
    many = tuple(finding(location=Location("a.py", n)) for n in (3, 9, 12))
    assert "a.py:3, 9, 12" in text(sample(findings=many))


@pytest.mark.parametrize("scan", [sample(), clean(), *map(spoken, HOSTILE)], ids=lambda _: "scan")
def test_no_line_is_wider_than_80_columns(scan: Scan) -> None:
    for line in SGR.sub("", TERMINAL.render(scan).decode()).split("\n"):
        assert cell_len(line) <= 80


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: repr(text)[:20])
def test_no_control_character_of_others_reaches_the_terminal(hostile: str) -> None:
    shown = SGR.sub("", TERMINAL.render(spoken(hostile)).decode())
    wrong = [c for c in shown if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co")]
    assert not wrong


def test_text_of_others_is_not_read_as_markup() -> None:
    assert "[bold red]markup[/bold red]" in text(spoken("[bold red]markup[/bold red]"))


def test_a_table_without_rows_has_no_header() -> None:
    assert "looks at" in text(sample())
    assert "looks at" not in text(sample(runs=()))
