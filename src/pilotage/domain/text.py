"""Text that others wrote, made safe to print; counts in words."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

# Letters by category, yet drawn as nothing: they hide text as well as a zero-width space does.
_BLANK = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_SELECTORS = range(0xE0100, 0xE01F0)
_COMBINING_GRAPHEME_JOINER = "\u034f"


def visible(text: str) -> str:
    r"""The same text, with what a terminal, a log or a page could obey or hide spelled out.

    Control characters (ESC, newline, tab), bidirectional and zero-width marks, line separators,
    blank letters, unassigned code points and lone surrogates become `\x1b`, `\n`, `\u202e`, ...;
    bytes that were not UTF-8 (surrogateescape) become `\xff`. What comes out can always be encoded
    and never holds a line break. Letters, symbols and spaces of any script stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _plain(char) else _escape(char) for char in text)


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 file`, `2 files`; `nouns` where an s is not enough."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"


def cut(text: str, length: int) -> str:
    """The text in at most `length` characters; what was cut off shows as an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _plain(char: str) -> bool:
    if char in _BLANK or char == _COMBINING_GRAPHEME_JOINER or ord(char) in _SELECTORS:
        return False
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the known name that is nearest; "": none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]}?" if near else ""
