"""Progress and reports on terminals and elsewhere."""

from __future__ import annotations

import io
import re

import pytest

from pilotage.cli import terminal
from pilotage.domain.call import Progress


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_where_nobody_watches_progress_is_lines() -> None:
    out = io.StringIO()
    with terminal.progress(out) as report:
        report(Progress("copying"))
        report(Progress("bandit: 0.4 s, 3 findings", 1, 2))
    assert out.getvalue() == "  copying\n  [1/2] bandit: 0.4 s, 3 findings\n"


def test_news_of_what_still_runs_do_not_fill_a_log() -> None:
    out = io.StringIO()
    with terminal.progress(out) as report:
        for seconds in range(0, 20, 2):
            report(Progress(f"running: trivy {seconds} s", 0, 1))
    assert out.getvalue().count("running:") == 1


def test_nothing_that_others_wrote_is_obeyed() -> None:
    out = io.StringIO()
    with terminal.progress(out) as report:
        report(Progress("\x1b]0;owned\x07\r\n::error::x"))
    assert out.getvalue() == "  \\x1b]0;owned\\x07\\r\\n::error::x\n"


def test_on_a_terminal_what_is_done_stays_and_the_rest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with terminal.progress(out) as report:
        report(Progress("bandit: runs \x1b[2J", 0, 2))
        report(Progress("bandit: 0.4 s", 1, 2))
    shown = out.getvalue()
    assert "\x1b[2J" not in shown
    assert "• " in shown
    assert "bandit: 0.4 s" in shown
    lasting = re.split(r"\x1b\[2K", shown)
    assert "1 of 2" not in lasting[-1], "the live area is cleared at the end"


def test_a_report_keeps_its_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, coloured, unwanted = io.StringIO(), Terminal(), Terminal()
    report = "\x1b[1;31mFAIL\x1b[0m why   \n"
    terminal.show(report, plain)
    terminal.show(report, coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.show(report, unwanted)
    assert plain.getvalue() == unwanted.getvalue() == "FAIL why\n"
    assert coloured.getvalue() == report


def test_a_report_that_came_from_a_server_cannot_drive_the_terminal() -> None:
    out = Terminal()
    terminal.show("\x1b[1mok\x1b[0m\x1b]0;title\x07\x1b[2J\u202e", out)
    assert out.getvalue() == "\x1b[1mok\x1b[0m\\x1b]0;title\\x07\\x1b[2J\\u202e\n"
