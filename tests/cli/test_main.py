"""The command line itself: what is no verb, what breaks, and a reader that has seen enough."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pilotage.cli import keys
from pilotage.cli.main import main


def test_a_verb_that_is_nearly_one_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scann"]) == 2
    assert "did you mean scan? one of " in capsys.readouterr().err
    assert main(["xyzzy"]) == 2
    assert "hint:  one of " in capsys.readouterr().err


def test_help_is_a_word_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    assert "Exit codes: 0 pass" in capsys.readouterr().out


def test_a_bug_is_4_and_never_looks_like_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keys, "run", lambda arguments: arguments.steps)
    assert main(["keys", "list"]) == 4
    err = capsys.readouterr().err
    assert "AttributeError" in err
    assert "error: this is a bug of pilotage, not a verdict" in err


def test_a_home_that_cannot_be_made_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PILOTAGE_HOME", "/proc/nope")
    for words in (["keys", "list"], ["scan", "."]):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert err == (
            "error: /proc/nope: No such file or directory\nhint:  is PILOTAGE_HOME right?\n"
        )


def test_nobody_reads_why_it_is_refused_and_still_it_is_no_verdict() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pilotage.cli.main", "scann"], stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(timeout=120) == 141


def test_a_closed_pipe_is_no_pass_and_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pilotage.cli.main", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (141, b"")
