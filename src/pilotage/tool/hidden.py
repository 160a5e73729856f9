"""Characters that people do not see and models read: found, counted by kind, and taken out.

What scripts and emoji need stays: joiners within a family of emoji or a Persian word, a selector
after a symbol, the tags of a flag, marks of direction beside letters that run from right to left.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator

from pilotage.domain.pattern import pattern
from pilotage.domain.text import counted

ZERO_WIDTH = frozenset("\u00ad\u034f\u180e\u200b\u2060\u2061\u2062\u2063\u2064\ufeff\u17b4\u17b5")
JOINERS = frozenset("\u200c\u200d")
BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
MARKS = frozenset("\u061c\u200e\u200f")
ISOLATES = frozenset("\u2066\u2067\u2068\u2069")
OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u206a\u206b\u206c\u206d\u206e\u206f")
_TAGS = range(0xE0000, 0xE0080)
_SELECTORS = range(0xFE00, 0xFE10)
_MORE_SELECTORS = range(0xE0100, 0xE01F0)
_FLAG = pattern("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{4,6}\U000e007f")
_SEQUENCE = pattern(  # of a terminal: CSI, OSC and the other strings, and two-character ones
    "(?:\x1b\\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]{0,2000}(?:\x07|\x1b\\\\|\x9c)"
    "|\x1b[ -/]{0,8}[0-~]"
)
_SUSPECT = pattern(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0"
    "\U000e0000-\U000e01ef]"
)
_PLAIN = pattern("[\t\n\r -~]*")
_RTL = pattern("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_WRITTEN_WITHOUT_SPACES = pattern("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff]")

MANY = 20_000
KINDS = {
    "tag": ("invisible tag character",),
    "bidi": ("control of text direction", "controls of text direction"),
    "mark": ("mark of text direction", "marks of text direction"),
    "zero": ("zero-width character",),
    "selector": ("variation selector",),
    "blank": ("blank letter",),
    "control": ("control character",),
}


def is_plain(text: str) -> bool:
    """Nothing can hide in it: printable ASCII, tabs and line breaks. Quick, for most texts."""
    return text.isascii() and (text.isprintable() or _PLAIN.fullmatch(text) is not None)


def find(text: str) -> Iterator[tuple[int, int, str]]:
    """Where something hides, and of what kind: start, end, a key of `KINDS`."""
    if is_plain(text):
        return
    kept = {at for flag in _FLAG.finditer(text) for at in range(*flag.span())}
    right_to_left = _RTL.search(text) is not None
    taken = 0
    for found in _SUSPECT.finditer(text):
        at, char = found.start(), found[0]
        if at < taken or at in kept:
            continue
        sequence = _SEQUENCE.match(text, at) if char in "\x1b\x9b\x90\x98\x9d\x9e\x9f" else None
        if sequence is not None:
            taken = sequence.end()
            yield at, taken, "control"
            continue
        kind = _kind(text, at, char, right_to_left)
        if kind:
            yield at, at + 1, kind


def clean(text: str) -> tuple[str, Counter[str]]:
    """The text without what hides in it, and how much of each kind that was. Where it is more than
    `MANY`, nothing is looked at one by one: all goes, and counts as zero-width."""
    if is_plain(text):
        return text, Counter()
    suspects = _SUSPECT.findall(text)
    if len(suspects) > MANY:
        return _SUSPECT.sub("", text), Counter({"zero": len(suspects)})
    parts, last, counts = [], 0, Counter[str]()
    for start, end, kind in find(text):
        parts.append(text[last:start])
        last = end
        counts[kind] += 1
    return "".join((*parts, text[last:])), counts


def told(counts: Counter[str]) -> str:
    """Counts in words: "3 zero-width characters and 1 control character"."""
    words = [counted(n, *KINDS[kind]) for kind, n in counts.most_common()]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""


def _kind(text: str, at: int, char: str, right_to_left: bool) -> str:
    """What kind of hiding a character is at its place, "" for none."""
    code = ord(char)
    if code in _TAGS:
        return "tag"
    if char in OVERRIDES:
        return "bidi"
    if char in ISOLATES:
        return "" if right_to_left else "bidi"
    if char in MARKS:
        return "" if right_to_left else "mark"
    if char in JOINERS:
        return "" if _joins(text, at) else "zero"
    if char in ZERO_WIDTH:
        return "" if char == "\u200b" and _breaks(text, at) else "zero"
    if code in _SELECTORS or code in _MORE_SELECTORS:
        return "" if _selects(text, at) else "selector"
    if char in BLANK:
        return "" if char != "\u3164" and _hangul(text, at) else "blank"
    return "control"


def _joins(text: str, at: int) -> bool:
    """Is this joiner between parts of an emoji, or letters of a script that joins?"""
    if at == 0 or at + 1 >= len(text):
        return False
    before, after = text[at - 1], text[at + 1]
    if text[at] == "\u200d" and unicodedata.category(after) in ("So", "Sk"):
        return unicodedata.category(before) in ("So", "Sk") or ord(before) in _SELECTORS
    categories = unicodedata.category(before)[0], unicodedata.category(after)[0]
    letters = set(categories) <= {"L", "M"}
    return letters and ord(before) >= 0x600 and ord(after) >= 0x600 and after not in JOINERS


def _breaks(text: str, at: int) -> bool:
    """A zero-width space says where a line may break, in scripts that have no spaces."""
    around = text[max(0, at - 1) : at], text[at + 1 : at + 2]
    return all(_WRITTEN_WITHOUT_SPACES.fullmatch(char) for char in around)


def _selects(text: str, at: int) -> bool:
    """Is this selector the one that the symbol before it may have?"""
    if at == 0:
        return False
    before, code = text[at - 1], ord(text[at])
    if code in _MORE_SELECTORS or code < 0xFE0E:
        return unicodedata.category(before) in ("Lo", "So", "Sm")
    return unicodedata.category(before) in ("So", "Sm", "Sk", "Po", "Nd", "Lo") or before in "©®™↔↕"


def _hangul(text: str, at: int) -> bool:
    around = text[max(0, at - 1) : at] + text[at + 1 : at + 2]
    return any("\u1100" <= char <= "\u11ff" for char in around)
