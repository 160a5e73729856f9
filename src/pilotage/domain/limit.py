"""How often something may be done, and how much of it at once."""

from __future__ import annotations

from dataclasses import dataclass

from pilotage.domain.errors import BadInput
from pilotage.domain.pattern import pattern

_RATE = pattern(r"(\d{1,9})\s*/\s*(\d{1,5})?\s*([a-z]+)")
_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86400),
}
NONE = "none"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds: all at once, or spread; what was used comes back evenly."""

    count: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.count} in {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Cap:
    """What stands in a caller's way. None: nothing does."""

    rate: Rate | None = None
    concurrency: int | None = None


def rate(text: str, where: str) -> Rate | None:
    """A rate such as "600/minute", "10/s" or "5/10s"; "" and "none" are no limit. BadInput names
    `where` it stands."""
    if text.strip().lower() in ("", NONE):
        return None
    found = _RATE.fullmatch(text.strip().lower())
    if found is None or found[3] not in _SECONDS or int(found[1]) < 1 or found[2] == "0":
        raise BadInput(f"{where} is {text!r}", "such as 600/minute, 10/s, 5/10s, or none")
    return Rate(int(found[1]), float(int(found[2] or 1) * _SECONDS[found[3]]))


def cap(rate_text: str, concurrency: int, where: str) -> Cap:
    """Both together; a concurrency of 0 is no limit."""
    if concurrency < 0:
        raise BadInput(f"{where}: concurrency is {concurrency}", "0 (no limit) or more")
    return Cap(rate(rate_text, f"{where}: rate"), concurrency or None)


def wider(one: Rate | None, other: Rate | None) -> Rate | None:
    """Of two rates the one that lets more through; None lets everything."""
    if one is None or other is None:
        return None
    return max(one, other, key=lambda rate: (rate.count / rate.seconds, rate.count))
