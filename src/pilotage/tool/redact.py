"""Keep secrets out of what is stored and shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "[redacted]"
TEXT_LIMIT = 4_000
_NAME = re.compile(
    r"(?i)(pass(word|wd)?|secret|token|api_?key|authorization|credential|private_?key)"
)
_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_\w{60,}\b"
    r"|\bglpat-[\w-]{20,}\b|\bxox[abprs]-[\w-]{10,}\b|\bplt_[\w-]{40,}\b"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}\b|(?i:\bbearer\s+)[\w.~+/=-]{16,}",
    re.DOTALL,
)


class Redactor:
    """`mask` takes values known to be secret (API keys, secrets of a pipeline)."""

    def __init__(self) -> None:
        self._masked: set[str] = set()
        self._known: re.Pattern[str] | None = None

    def mask(self, value: str) -> None:
        """From now on, `value` and each of its lines are replaced wherever they appear."""
        lines = {line for line in (value, *value.splitlines()) if len(line.strip()) >= 4}
        if lines - self._masked:
            self._masked |= lines
            longest_first = sorted(self._masked, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, longest_first)))

    def text(self, text: str) -> str:
        """Without known secrets and without what looks like one."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _VALUE.sub(MASK, text)

    def result(self, value: Any) -> Any:
        """A tool's answer without known secrets: nothing is guessed, so data stays whole."""
        if self._known is None:
            return value
        return _walk(
            value, lambda text: self._known.sub(MASK, text) if self._known else text, names=False
        )

    def arguments(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments as the audit keeps them: secrets out by name and by look, long texts cut."""
        for item in value.values():
            if not isinstance(item, (int, float, bool, type(None))):
                break
        else:
            if not any(map(_NAME.search, value)):
                return value
        walked: Mapping[str, Any] = _walk(
            value, lambda text: self.text(text)[:TEXT_LIMIT], names=True
        )
        return walked


def _walk(value: Any, change: Any, *, names: bool) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {
            change(str(k)): MASK
            if names and v and _NAME.search(str(k)) and not isinstance(v, (bool, Mapping, list))
            else _walk(v, change, names=names)
            for k, v in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_walk(item, change, names=names) for item in value]
    return value
