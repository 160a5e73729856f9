"""A text as a model may read it: lookalikes, spacing and encodings undone."""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
import urllib.parse
from collections.abc import Iterator

from pilotage.domain.pattern import pattern

LIMIT = 20_000
"""So many characters of a text are decoded; a longer one is over its cap anyway."""
_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u0475\u04bb\u043a\u043c\u0442\u0432\u043d"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0406\u0408\u0405\u0423\u0417"
    "\u03b1\u03bf\u03c1\u03bd\u03b9\u03c5\u03ba\u03c4\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
    "\u0561\u057d\u0578\u0585\u0570\u0581",
    "aeopcyxijsdqvhkmtbhABEKMHOPCTXIJSY3aopviyktABEZHIKMNOPTYXwunohg",
)
ALIKE = frozenset(map(chr, _ALIKE))
_WORD = pattern(r"[^\W\d_]+")
_LEET = str.maketrans("013457@$", "oieastas")
_LEET_WORD = pattern(r"\b(?=\w{0,20}[a-z])(?=\w{0,20}[013457])[a-z013457]{2,20}\b")
_SPACED = pattern(r"(?<!\w)\w(?:[ .\-_*|·]\w(?!\w)){3,200}")
_GAP = pattern(r"[ .\-_*|·]")
_B64 = pattern(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{16,4000}={0,2}(?![A-Za-z0-9+/_=-])")
_HEX = pattern(r"(?<![0-9A-Za-z])(?:0x)?(?:[0-9a-fA-F]{2}[ :]?){8,2000}(?![0-9A-Za-z])")
_PERCENT = pattern(r"%[0-9a-fA-F]{2}")
_ENTITY = pattern(r"&#x?[0-9a-fA-F]{1,6};")
_ESCAPE = pattern(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]{1,6}\})")


def mixed_words(text: str) -> list[str]:
    """Words of Latin letters in which a letter of another script passes for one."""
    if text.isascii():
        return []
    found = []
    for word in _WORD.findall(text):
        foreign = [char for char in word if char in ALIKE]
        if foreign and any(char.isascii() for char in word):
            found.append(word)
    return found


def normal(text: str) -> str:
    """Compatibility forms and lookalikes as the letters that they look like, in lower case."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text)

    def latin(word: re.Match[str]) -> str:
        some = word[0]
        return some.translate(_ALIKE) if any(char.isascii() for char in some) else some

    return _WORD.sub(latin, text).lower()


def spaced(text: str) -> int:
    """How many letters stand apart from their neighbours, in runs of four and more."""
    return sum(len(run[0]) // 2 + 1 for run in _SPACED.finditer(text))


def unspaced(text: str) -> str | None:
    """The text with letters that stand apart put together, None where none do."""
    if spaced(text) < 6:
        return None

    def joined(run: re.Match[str]) -> str:
        dots = _GAP.sub("", run[0].replace(" ", "\n")).replace("\n", " ")
        return dots if len(dots) < 0.7 * len(run[0]) else run[0].replace(" ", "")

    return " ".join(_SPACED.sub(joined, text).split())


def unleet(text: str) -> str | None:
    """Digits in words as the letters that they stand for, None where there are few such words."""
    if len(_LEET_WORD.findall(text)) < 3:
        return None
    return text.translate(_LEET)


def decoded(text: str, depth: int = 2) -> Iterator[tuple[str, str]]:
    """What is encoded in a text, as (name of the encoding, text)."""
    text = text[:LIMIT]
    for name, plain in _decoded_once(text):
        yield name, plain
        if depth > 1:
            yield from ((f"{name}, {more}", again) for more, again in decoded(plain, depth - 1))


def rot13(text: str) -> str:
    """Each letter moved by half the alphabet."""
    return codecs.encode(text[:LIMIT], "rot13")


def _decoded_once(text: str) -> Iterator[tuple[str, str]]:
    for found in _B64.finditer(text):
        plain = _from_base64(found[0])
        if plain is not None:
            yield "base64", plain
    for found in _HEX.finditer(text):
        digits = re.sub("[ :]", "", found[0].removeprefix("0x"))
        plain = _readable(_unhex(digits))
        if plain is not None:
            yield "hex", plain
    if len(_PERCENT.findall(text)) >= 3:
        yield "percent-encoding", urllib.parse.unquote(text, errors="replace")
    if len(_ENTITY.findall(text)) >= 3:
        yield "HTML entities", html.unescape(text)
    if len(_ESCAPE.findall(text)) >= 3:
        yield "escapes", _ESCAPE.sub(lambda one: _char(one[0]), text)


def _char(escape: str) -> str:
    code = int(escape[2:].strip("{}"), 16)
    return chr(code) if code < 0x110000 else " "


def _from_base64(text: str) -> str | None:
    body = text.rstrip("=").replace("-", "+").replace("_", "/")
    body = body[: len(body) - (len(body) % 4 == 1)]
    try:
        return _readable(base64.b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError):
        return None


def _unhex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""


def _readable(data: bytes) -> str | None:
    """The bytes as text, if they are text: mostly letters and spaces."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    letters = sum(char.isalnum() or char.isspace() for char in text)
    return text if len(text) >= 6 and letters >= 0.75 * len(text) else None
