"""Text as UTF-8 whatever it was written in, so that scanners see it: files in UTF-16 or UTF-32, and
passages in one encoding amid another, which no scanner reads.

A passage of wide characters amid bytes has a zero byte beside each letter; letters of one byte amid
UTF-16 come out of its decoder as Chinese. Both are found by what they would say.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)
_LOOK = 4096
_PRINTED = b"\t\n\r" + bytes(range(0x20, 0x7F))
_KINDS = bytes(0x30 if byte == 0 else 0x70 if byte in _PRINTED else 0x2E for byte in range(256))
"""Every byte as "0" for zero, "p" for a letter, "." for what is neither."""
_HEADS = {
    b"0p0p0p0": re.compile(rb"0(?:p0)+"),
    b"000p000p000p000": re.compile(rb"000(?:p000)+"),
}
"""Four letters or more with one zero byte between them, or three (as `strings -e` finds them)."""
_WORD = frozenset(bytes((byte,)) for byte in _PRINTED if chr(byte).isalnum() or byte == 0x5F)
_PAIRS = "".join(f"{chr(high << 8 | 0x20)}-{chr(high << 8 | 0x7E)}" for high in range(0x20, 0x7F))
_SWAPPED = "".join(chr(letter << 8) for letter in (9, 10, 13, *range(0x20, 0x7F)))
# What would be text if it were read byte by byte: sixteen letters, or four of the other byte order.
_NARROW = re.compile(f".?(?:[{_PAIRS}]{{8,}}|[{_SWAPPED}]{{4,}}).?", re.DOTALL)
_ZEROS = re.compile(rb"\0+")
_UNPRINTED = re.compile(rb"[^ -~]+")


def as_utf8(data: bytes) -> bytes:
    """The same text as UTF-8, line for line. What can be read in two ways is there in both; bytes
    that are no text stay."""
    for mark, encoding, order in _MARKS:
        if data.startswith(mark):
            try:
                return _decoded(data[len(mark) :], order, "strict")
            except UnicodeError:
                if encoding == "utf-16":  # a broken place must not hide the rest
                    return _decoded(data[len(mark) :], order, "replace")
    if order := _unmarked(data[:_LOOK]):
        return _decoded(data, order, "replace")
    return narrowed(data.removeprefix(codecs.BOM_UTF8))


def as_text(data: bytes) -> bytes:
    """The same without a zero byte, so that git takes it for text; what they part stays apart."""
    return _ZEROS.sub(b" ", as_utf8(data))


def narrowed(data: bytes) -> bytes:
    """Passages in UTF-16 or UTF-32 without their zero bytes; everything else as it is."""
    parts, done = list[bytes](), 0
    for start, end in _wide(data):
        parts += data[done:start], _narrow(data, start, end)
        done = end
    return b"".join((*parts, data[done:])) if parts else data


def _wide(data: bytes) -> Iterator[tuple[int, int]]:
    """Where such passages are, without the first letter where the zeros come after the letters,
    without the last one where they come before. Found by `find` alone: one expression over files
    that are mostly zeros takes a hundred times as long."""
    if b"\0" not in data:
        return
    kinds = data.translate(_KINDS)
    heads = {head: kinds.find(head) for head in _HEADS}
    while wide := {at: head for head, at in heads.items() if at >= 0}:
        start = min(wide)
        letter = _HEADS[wide[start]].match(kinds, start)
        assert letter is not None  # it begins with what was found
        yield start, letter.end()
        heads = {
            head: kinds.find(head, letter.end()) if 0 <= at < letter.end() else at
            for head, at in heads.items()
        }


def _narrow(data: bytes, start: int, end: int) -> bytes:
    """The byte on each side may be a letter of this passage or of a word that only touches it.
    Where nothing tells, the words at both ends are there once more, as they would be then."""
    text = data[start:end].replace(b"\0", b"")
    before, after = data[max(start - 1, 0) : start], data[end : end + 1]
    ended = text.rstrip()
    first = b"" if text[:1].isspace() else text.split(None, 1)[0]
    last = b"" if ended != text else text.rsplit(None, 1)[-1]
    words = []
    if _joined(data[max(start - 2, 0) : max(start - 1, 0)], before):
        words.append(before + first)
    if _joined(before, first) and after.translate(_KINDS) == b"p":
        words.append(first)
    if _joined(after, data[end + 1 : end + 2]) and last:
        words.append(last + after)
    if words or _joined(last, after):
        text = b" ".join((ended, *words, last)) + text[len(ended) :]
    return text


def _joined(left: bytes, right: bytes) -> bool:
    """Whether these make one word where they touch."""
    return left[-1:] in _WORD and right[:1] in _WORD


def _decoded(data: bytes, order: str, errors: str) -> bytes:
    text = data.decode(order, errors)
    if order.startswith("utf-16"):
        text = _NARROW.sub(lambda found: _both(found[0], order), text)
    return narrowed(text.encode("utf-8", "replace"))


def _both(text: str, order: str) -> str:
    """What was decoded, and beside it what its bytes say by themselves."""
    plain = narrowed(text.encode(order, "replace"))
    return f"{text} {_UNPRINTED.sub(b' ', plain).decode()}"


def _unmarked(head: bytes) -> str:
    """Windows tools write UTF-16 without a mark too: mostly ASCII, so every second byte is 0."""
    even, odd = head[0::2], head[1::2]
    for zeros, others, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if (
            len(zeros) > 1
            and zeros.count(0) * 4 > len(zeros) * 3
            and others.count(0) * 8 < len(others)
        ):
            return name
    return ""
