"""GitHub's line hash, against the vectors of github/codeql-action src/fingerprints.test.ts."""

from __future__ import annotations

import pytest

from pilotage.scan.line_hash import line_hashes


@pytest.mark.parametrize(
    ("text", "hashes"),
    [
        ("", ["c129715d7a2bc9a3:1"]),
        (
            " a\nb\n  \t\tc\n d",
            ["271789c17abda88f:1", "54703d4cd895b18:1", "180aee12dab6264:1", "a23a3dc5e078b07b:1"],
        ),
    ],
)
def test_upstream_vectors_hold(text: str, hashes: list[str]) -> None:
    assert line_hashes(text) == hashes


def test_the_tenth_of_ten_equal_lines_has_its_own_window() -> None:
    lines = line_hashes("Lorem ipsum dolor sit amet.\n" * 10)
    assert lines[9] == "cc97dc7b1d7d8f7b:1"
    assert len(lines) == 11


def test_line_ends_and_indentation_do_not_matter_and_equal_lines_are_numbered() -> None:
    assert line_hashes("a\r\nb\rc") == line_hashes("a\n\t b\nc")
    far = "\n" * 120
    hashes = line_hashes(f"x{far}x{far}y")
    assert hashes[0].endswith(":1")
    assert hashes[120] == hashes[0].removesuffix("1") + "2"


def test_an_emoji_counts_as_two_utf16_units() -> None:
    assert line_hashes("😀") != line_hashes("?")
    assert len(line_hashes("😀\nb")) == 2
