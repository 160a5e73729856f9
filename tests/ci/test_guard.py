"""Nothing that our process prints in a CI job can be read by a runner as a command."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pilotage.ci.guard import Guarded, quiet

HOSTILE = [
    "::set-output name=x::y",
    "first\n::add-mask::e",
    "a\r::error::x",
    "a\r\n  \t::warning file=x::y",
    "\u00a0\u3000::stop-commands::x",
    "\ufeff::debug::x",
    "a\u2028::error::x",
    "text ##[error]x",
    "##[set-output name=a;]b",
    "##vso[task.setvariable variable=x]y",
    "text ##teamcity[buildStop]",
    "::::error::x",
]


def obeyed(text: str) -> list[str]:
    """What a runner would take for a command, by the rules of actions/runner ActionCommand.cs
    (TrimStart then "::", or "##[" anywhere) and of Azure's and TeamCity's prefixes. .NET ends a
    line at CR, LF and CRLF; str.splitlines ends it at more places, which asks more of us."""
    lines = text.splitlines() + re.split(r"\r\n|\r|\n", text)
    trimmed = [line.lstrip().lstrip("\ufeff\u200b").lstrip() for line in lines]
    return [
        line for line in trimmed if line.startswith("::") or re.search(r"##(vso|teamcity)?\[", line)
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_command_in_a_text_is_no_command_any_more(text: str) -> None:
    assert obeyed(text)
    assert not obeyed(quiet(text))


@pytest.mark.parametrize("text", ["std::vector<int>", "a :: b", "## Heading", "#[derive]", "a:b"])
def test_what_no_runner_obeys_stays_as_it_is(text: str) -> None:
    assert quiet(text) == text


@given(st.text(alphabet="::##[]vso \t\r\n\u2028\ufeffax", max_size=60))
def test_nothing_is_obeyed_and_only_spaces_were_added(text: str) -> None:
    assert not obeyed(quiet(text))
    assert quiet(text).replace(" ", "") == text.replace(" ", "")


@given(st.lists(st.text(alphabet=":#[vso \nx", max_size=8), max_size=12))
@example(["#", "#", "[error]"])
@example([":", ":error::x"])
@example(["x" * 300, ":", ":"])
@example([" " * 300, ":", ":"])
def test_a_command_in_pieces_is_none_either(pieces: list[str]) -> None:
    out = io.StringIO()
    guarded = Guarded(out)
    for piece in pieces:
        guarded.write(piece)
    assert not obeyed(out.getvalue())


@pytest.mark.parametrize("text", ["\n" * 2_000_000, " " * 2_000_000, "##" + "a" * 2_000_000])
def test_a_hostile_text_costs_no_more_than_its_length(text: str) -> None:
    assert quiet(text) == text


PROGRAM = """
import os, sys
from pilotage.ci.guard import install
install(os.environ)
print("::error::out")
sys.stdout.write("##")
sys.stdout.write("[error]")
sys.stdout.buffer.write(b"\\n::error::bytes\\n")
print("::error::err", file=sys.stderr)
"""


def run(**env: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_in_a_job_both_streams_are_guarded_their_bytes_too() -> None:
    out, err = run(GITHUB_ACTIONS="true")
    assert not obeyed(out)
    assert not obeyed(err)
    assert "error" in out
    assert "bytes" in out
    assert "err" in err


def test_outside_a_job_nothing_is_changed() -> None:
    assert run()[1] == "::error::err\n"
