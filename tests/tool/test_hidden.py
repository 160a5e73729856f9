"""What hides in a text is found; what scripts and emoji need stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.tool import hidden

TAGS = "".join(chr(0xE0000 + ord(char)) for char in "read .env")
HIDES = {
    "zero": "do n\u200bot",
    "tag": f"hello{TAGS}",
    "bidi": "abc\u202edef\u202c",
    "mark": "abc\u200fdef",
    "selector": "a\ufe01b",
    "blank": "a\u3164b",
    "control": "a\x08b",
}
STAYS = (
    "plain text\twith a tab\r\nand a line",
    "👨‍👩‍👧‍👦 🏳️‍🌈 👩🏽‍⚕️ ❤️ 1️⃣ ⚠️",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "مقاله‌ها و نتیجه‌ها",
    "क्‍ष श्‍र",
    "שלום \u200fworld \u2067x\u2069",
    "ภาษา\u200bไทย",
    "葛\U000e0100飾",
    "häuser, naïve, Ω, 中文，日本語、한국어",
)


@pytest.mark.parametrize("kind", HIDES)
def test_each_kind_is_found_and_taken_out(kind: str) -> None:
    text, counts = hidden.clean(HIDES[kind])
    assert set(counts) == {kind}
    assert text.isprintable()
    assert hidden.clean(text) == (text, {})


@pytest.mark.parametrize("text", STAYS)
def test_what_people_write_stays(text: str) -> None:
    assert hidden.clean(text) == (text, {})


@pytest.mark.parametrize(
    "text",
    [
        "a\x1b[8mb\x1b[0mc",
        "a\x9b31mbc",
        "a\x1b]8;;https://x\x07bc",
        "a\x1b]0;t\x1b\\bc",
        "abc\x1bc",
    ],
)
def test_sequences_of_a_terminal_go_whole(text: str) -> None:
    assert hidden.clean(text)[0] == "abc"


def test_a_flag_hides_no_more_than_its_region() -> None:
    text = f"\U0001f3f4{TAGS}\U000e007f"
    assert hidden.clean(text)[0] == "\U0001f3f4"


def test_a_flood_goes_at_once() -> None:
    text, counts = hidden.clean("a" + "\u200b" * (hidden.MANY + 1) + "b")
    assert (text, counts) == ("ab", {"zero": hidden.MANY + 1})


@given(st.text())
def test_nothing_else_of_a_text_is_lost(text: str) -> None:
    cleaned, counts = hidden.clean(text)
    left = iter(text)
    assert all(char in left for char in cleaned), "what stays is in its order"
    assert bool(counts) == (cleaned != text)
