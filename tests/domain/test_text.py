"""Untrusted text is safe to print."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.domain.text import counted, cut, visible


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain text, 100 %", "plain text, 100 %"),
        ("安全扫描\u3000通过 naïve 🎉", "安全扫描\u3000通过 naïve 🎉"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("a\u200bb\ufeffc\u2028d", "a\\u200bb\\ufeffc\\u2028d"),
        ("a\u3164b\U000e0041", "a\\u3164b\\U000e0041"),
        (b"bad\xff".decode("utf-8", "surrogateescape"), "bad\\xff"),
        ("lone\ud800", "lone\\ud800"),
    ],
)
def test_what_could_be_obeyed_or_hidden_is_spelled_out(given: str, shown: str) -> None:
    assert visible(given) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_no_text_survives_with_a_control_mark_or_cannot_be_encoded(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown


def test_one_is_no_plural_and_what_is_cut_says_so() -> None:
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [counted(n, "retry", "retries") for n in (1, 2)] == ["1 retry", "2 retries"]
    assert (cut("four", 4), cut("fourty", 4)) == ("four", "fou…")
