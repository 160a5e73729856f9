"""Hidden instructions in what tools of other owners say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

THRESHOLD = 10


@dataclass(frozen=True, slots=True)
class Screened:
    """What was found: a score, and a reason in a sentence for each thing that counts, the worst
    first. From `THRESHOLD` on the text is `bad`; below it its reasons are warnings."""

    score: int
    reasons: tuple[str, ...]

    @property
    def bad(self) -> bool:
        return self.score >= THRESHOLD


def screen(surface: Mapping[str, Any]) -> Screened:
    """Look through all that a tool says of itself (see tool/surface.py)."""
    return Screened(0, ())
