"""The gate's word on a scan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Ruling(StrEnum):
    """INCOMPLETE: something that had to be looked at was not. It is never clean."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    INCOMPLETE = "INCOMPLETE"

    @property
    def exit(self) -> int:
        """The exit code, everywhere: 0 PASS or WARN, 1 FAIL, 3 INCOMPLETE."""
        return {"PASS": 0, "WARN": 0, "FAIL": 1, "INCOMPLETE": 3}[self.value]


@dataclass(frozen=True, slots=True)
class Reason:
    """A rule that fired: its name, what it saw, and what would change it."""

    rule: str
    ruling: Ruling
    why: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule` and `why` are those of the first (decisive) reason; `reasons` holds all that fired."""

    ruling: Ruling
    rule: str
    why: str
    reasons: tuple[Reason, ...] = ()
