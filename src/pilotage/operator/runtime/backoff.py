"""How long to wait before the next try."""

from __future__ import annotations

import random

FIRST_SECONDS, LONGEST_SECONDS = 0.005, 1_000.0
"""controller-runtime's: 5 ms, doubled by each failure, up to 1,000 s."""


class PerItem:
    """Each item's own count of failures in a row. Items that do well cost nothing."""

    def __init__(self, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS) -> None:
        self.first, self.longest = first, longest
        self._failures: dict[str, int] = {}

    def next(self, item: str) -> float:
        """One more failure: the seconds until `item` may try again."""
        failed = self._failures.get(item, 0)
        self._failures[item] = failed + 1
        return min(self.longest, self.first * 2.0 ** min(failed, 64))

    def failures(self, item: str) -> int:
        """How often it has failed in a row."""
        return self._failures.get(item, 0)

    def forget(self, item: str) -> None:
        """It did well, or is gone."""
        self._failures.pop(item, None)


class Reconnect:
    """For connections: doubled and spread, so that not all come back at the same moment."""

    def __init__(self, first: float = 0.8, longest: float = 30.0) -> None:
        self.first, self.longest = first, longest
        self._tried = 0

    def next(self) -> float:
        """One more failure: the seconds to wait."""
        seconds = min(self.longest, self.first * 2.0 ** min(self._tried, 64))
        self._tried += 1
        return seconds * random.uniform(0.5, 1.5)

    def reset(self) -> None:
        """It works again."""
        self._tried = 0
