"""Untrusted text in Markdown shows itself and does nothing else."""

from __future__ import annotations

import pytest

from pilotage.ci.markdown import escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, 0.6 s", "plain words, 0.6 s"),
        ("a | b", r"a \| b"),
        ("[x](http://y)", r"\[x\]\(http\://y\)"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("&lt;", "&amp;lt;"),
        ("@team #1", r"\@team \#1"),
        ("www.example.com", r"www\.example.com"),
        ("- one", r"\- one"),
        ("a\n# b", r"a \# b"),
        ("```\ncode", r"\`\`\` code"),
    ],
)
def test_nothing_of_it_is_markup(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_hidden_characters_are_spelled_out_and_length_is_bounded() -> None:
    assert "\u202e" not in escape("a\u202eb")
    assert len(escape("x" * 1000, limit=10)) == 10
