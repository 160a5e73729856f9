"""Keep secrets out of what is stored and shown."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

import msgspec
from msgspec.structs import replace

from pilotage.domain.call import ToolResult

MASK = "[redacted]"
TEXT_LIMIT = 4_000
LOOKED_AT, LONGEST = 65_536, 4_096
"""Of a long text, so many characters are looked at, and no secret is longer: so the end of what was
looked at, where one may be cut through, is not shown."""
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


class Redactor:
    """`mask` takes values known to be secret (API keys, secrets of a pipeline)."""

    def __init__(self) -> None:
        self._masked: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self.knows = False
        """Is there any value that `result` would take out?"""

    def mask(self, value: str) -> None:
        """From now on, `value` and each of its lines are replaced wherever they appear."""
        lines = {line for line in (value, *value.splitlines()) if len(line.strip()) >= 4}
        if lines - self._masked:
            self._masked |= lines
            longest_first = sorted(self._masked, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, longest_first)))
            self.knows = True

    def text(self, text: str) -> str:
        """Without known secrets and without what looks like one."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _VALUE.sub(MASK, text) if len(text) >= SHORTEST else text

    def result(self, value: Any) -> Any:
        """A tool's answer without known secrets: nothing is guessed, so data stays whole."""
        known = self._known
        if known is None:
            return value
        return _walk(value, lambda text: known.sub(MASK, text))

    def wire(self, member: bytes) -> bytes:
        """A member of a JSON object (`"name": value`), as bytes, without known secrets; the same
        bytes where it holds none."""
        known, text = self._known, member.decode("utf-8", "replace")
        if known is None or ("\\" not in text and known.search(text) is None):
            return member
        value = msgspec.json.decode(b"{" + member + b"}")
        clean = self.result(value)
        return member if clean == value else msgspec.json.encode(clean)[1:-1]

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
        """Arguments as the audit keeps them: secrets out by name and by look, long texts cut."""
        if self._known is None and _is_plain(value):
            return value
        walked: Mapping[str, Any] = _walk(value, self._short, _named)
        return walked

    def _short(self, text: str) -> str:
        shown = self.text(text[:LOOKED_AT])
        if len(text) > LOOKED_AT:
            shown = shown[:-LONGEST]
        return shown[:TEXT_LIMIT]


def looks_secret(text: str) -> bool:
    """Does this text hold what looks like a key, a token or a password?"""
    return _VALUE.search(text) is not None


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


def _whole(_: str) -> str:
    return MASK


def _walk(
    value: Any, change: Callable[[str], str], named: Callable[[str], bool] | None = None
) -> Any:
    """The same value with each text changed. Under a name that is `named`, every text and number
    is masked, however deep it lies."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, (bool, float, NoneType)):
        return value
    if isinstance(value, int):
        return MASK if change is _whole else value
    if isinstance(value, Mapping):
        return {
            change(k) if change is not _whole else k: _walk(
                v, _whole if named is not None and named(k) else change, named
            )
            for k, v in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_walk(item, change, named) for item in value]
    return value
