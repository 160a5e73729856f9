"""Findings by the page. A scan never changes, so a cursor is a place in it: where to go on, and the
finding there, by which a cursor of another scan or of another choice is told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilotage.domain.errors import BadInput
from pilotage.domain.finding import Finding, Severity

LARGEST_PAGE = 1000
_MARK = 16


@dataclass(frozen=True, slots=True)
class Page:
    """`total` counts all that were chosen; `next` is the cursor of what follows, "" at the end."""

    findings: Sequence[Finding]
    total: int
    next: str


def page(
    findings: Sequence[Finding], cursor: str, limit: int, severity: Severity | None = None
) -> Page:
    """So many of the findings, worst first, from the cursor on ("": the first). Raises BadInput for
    a cursor that is not of these."""
    chosen = [each for each in findings if severity is None or each.severity is severity]
    start = _place(chosen, cursor) if cursor else 0
    end = start + min(max(limit, 0), LARGEST_PAGE)
    following = f"{end}.{chosen[end].fingerprint[:_MARK]}" if start < end < len(chosen) else ""
    return Page(chosen[start:end], len(chosen), following)


def _place(chosen: Sequence[Finding], cursor: str) -> int:
    number, _, mark = cursor.partition(".")
    if len(number) <= 9 and number.isdecimal() and number.isascii():
        place = int(number)
        if place < len(chosen) and chosen[place].fingerprint[:_MARK] == mark:
            return place
    raise BadInput("the cursor is not of these findings", "begin without one")
