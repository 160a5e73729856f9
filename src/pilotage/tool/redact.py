"""Keep secrets out of what is stored and shown. All of it is bounded, since it is done to whatever
anybody sends: of large arguments no more is looked at than the audit keeps, and a large value is
searched as bytes, so that only one with a known secret in it is walked.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

import msgspec
from msgspec.structs import replace

from pilotage.audit.log import BODY_LIMIT
from pilotage.domain.call import ToolResult

MASK = "[redacted]"
TEXT_LIMIT = 4_000
LONGEST = 4_096
LOOKED_AT = TEXT_LIMIT + LONGEST
"""Of a long text, so many characters are looked at, and no secret is longer than LONGEST: so the
end of what was looked at, where one may be cut through, is not shown."""
_UNREADABLE = b'"error":{"code":-32603,"message":"nobody can say whether this holds a secret"}'
SHORTEST = 15
"""No pattern of `_VALUE` fits a shorter text."""
_NAME = re.compile(
    r"(?i)(pass(word|wd)?|secret|token|api[_-]?key|authorization|credential|private[_-]?key)"
)
_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_\w{60,}\b"
    r"|\bglpat-[\w-]{20,}\b|\bxox[abprs]-[\w-]{10,}\b|\bplt_[\w-]{40,}\b"
    r"|\beyJ[\w-]{10,2000}+\.[\w-]{10,}+\.[\w-]{10,}\b|(?i:\bbearer\s+)[\w.~+/=-]{16,}",
    re.DOTALL,
)
_MARKS = (
    "-----BEGIN ", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-",
    "xox", "plt_", "eyJ",
)  # fmt: skip
"""What fits `_VALUE` holds one of these, or "bearer": found much faster than a pattern is tried."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Redactor:
    """`mask` takes values known to be secret (those of outgoing calls, of a pipeline)."""

    def __init__(self) -> None:
        self._masked: dict[str, str] = {}  # each with its mask; the longest first
        self._needles: tuple[bytes, ...] = ()  # the same as they stand in JSON
        self.knows = False
        """Is there any value that `result` would take out?"""

    def mask(self, value: str, name: str = "") -> None:
        """From now on, `value` and each of its lines are replaced wherever they appear, by a mask
        that says which secret it was: who keeps a word as one hides it from nobody unseen."""
        lines = {line for line in (value, *value.splitlines()) if len(line.strip()) >= 4}
        if lines - self._masked.keys():
            mask = f"[redacted {name}]" if name else MASK
            known = dict.fromkeys(lines, mask) | self._masked
            self._masked = {line: known[line] for line in sorted(known, key=len, reverse=True)}
            self._needles = tuple(_encode(line)[1:-1] for line in self._masked)
            self.knows = True

    def text(self, text: str) -> str:
        """Without known secrets and without what looks like one."""
        text = self._clean(text)
        return _VALUE.sub(MASK, text) if _may_hold(text) else text

    def result(self, value: Any) -> Any:
        """A tool's answer without known secrets: nothing is guessed, so data stays whole."""
        if not self.knows:
            return value
        try:
            there = self._holds(_encode(value))
        except (UnicodeError, TypeError, RecursionError):  # it is no JSON
            there = True
        return _walk(value, self._clean) if there else value

    def wire(self, member: bytes) -> bytes:
        """A member of a JSON object (`"name": value`), as bytes, without known secrets; the same
        bytes where it holds none."""
        if not self.knows:
            return member
        plain = b"\\u" not in member and b"\\/" not in member  # each text is written in one way
        if plain and not self._holds(member):
            return member
        try:
            value = msgspec.json.decode(b"{" + member + b"}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _UNREADABLE
        clean = self.result(value)
        return member if clean is value else _encode(clean)[1:-1]

    def whole(self, result: ToolResult) -> ToolResult:
        """A result without known secrets."""
        return replace(
            result,
            value=self.result(result.value),
            content=tuple(self.result(list(result.content))),
            error=self.text(result.error) if result.error else None,
            hint=self.text(result.hint) if result.hint else result.hint,
            wire=self.wire(result.wire) if result.wire is not None else None,
        )

    def arguments(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments as the audit keeps them: secrets out by name and by look, long texts cut. Of
        those that are too large for it, their size and digest."""
        if not self.knows and _is_plain(value):
            return value
        try:
            kept: Mapping[str, Any] = _Kept(self._short).walk(value)
        except _Full:
            raw = _encode(value)
            return {"cut": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        return kept

    def _clean(self, text: str) -> str:
        for secret in self._masked:
            if secret in text:
                text = text.replace(secret, self._masked[secret])
        return text

    def _holds(self, encoded: bytes) -> bool:
        return any(needle in encoded for needle in self._needles)

    def _short(self, text: str) -> str:
        """Where it is cut, it says so: who approves a call is to know that this is not all."""
        shown = self.text(text[:LOOKED_AT])
        if len(text) > LOOKED_AT:
            shown = shown[:-LONGEST]
        elif len(shown) <= TEXT_LIMIT:
            return shown
        mark = f"... (cut: {len(text)} characters)"
        return shown[: TEXT_LIMIT - len(mark)] + mark


class _Full(Exception):
    """These arguments are larger than the audit keeps."""


class _Kept:
    """One walk over arguments: each text changed; under a name that says that it is a secret, every
    text and number masked, however deep it lies. Raises _Full once there is too much of it."""

    def __init__(self, change: Callable[[str], str]) -> None:
        self._change, self._left = change, BODY_LIMIT

    def walk(self, value: Any, hidden: bool = False) -> Any:
        if isinstance(value, str):
            text = MASK if hidden else self._change(value)
            self._take(len(text) + 3)
            return text
        self._take(2)
        if isinstance(value, (bool, float, NoneType)):
            return value
        if isinstance(value, int):
            return MASK if hidden else value
        if isinstance(value, Mapping):
            made = {}
            for name, item in value.items():
                self._take(len(name) + 4)
                key = name if hidden else self._change(name)
                while key in made:  # two names became one: neither is to be gone for that
                    key += "'"
                made[key] = self.walk(item, hidden or _named(name))
            return made
        if isinstance(value, (list, tuple)):
            return [self.walk(item, hidden) for item in value]
        return value

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _Full


def looks_secret(text: str) -> bool:
    """Does this text hold what looks like a key, a token or a password?"""
    return _may_hold(text) and _VALUE.search(text) is not None


def names_secret(name: str) -> bool:
    """Does this name say that its value is a secret?"""
    return _named(name)


def _named(name: str) -> bool:
    """Does this name say that its value is a secret?"""
    return _short_named(name) if len(name) <= 64 else _NAME.search(name) is not None


@functools.lru_cache(1024)
def _short_named(name: str) -> bool:
    return _NAME.search(name) is not None


def _is_plain(value: Mapping[str, Any]) -> bool:
    """Nothing in it can be a secret: no name says so, and no text is long enough."""
    for name, item in value.items():
        if len(name) >= SHORTEST or _short_named(name):
            return False
        if isinstance(item, str):
            if len(item) >= SHORTEST:
                return False
        elif not isinstance(item, (int, float, NoneType)):
            return False
    return True


def _may_hold(text: str) -> bool:
    """False: nothing in it fits `_VALUE`."""
    if len(text) < SHORTEST:
        return False
    return any(mark in text for mark in _MARKS) or "bearer" in text.lower()


def _walk(value: Any, change: Callable[[str], str]) -> Any:
    """The same value with each text changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(name): _walk(item, change) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_walk(item, change) for item in value]
    return value
