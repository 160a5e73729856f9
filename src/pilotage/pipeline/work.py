"""How much work the expressions of one value may be: a short text can ask for a great deal of it,
again and again, and whoever writes a pipeline must not hold up those who wait beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilotage.pipeline.values import parts

WORK = 16 << 20
"""In characters that are read or made: a tenth of a second or two."""
NODE = 64
"""What one operator, name or call costs beside what it reads."""
PARSED = 32
"""What a character of an expression costs that is read for the first time."""
PART, NUMBER, JSON = 32, 128, 4
"""What each part of a value costs that is read whole; one that is no text and may become one; a
character of JSON that is taken apart."""


class Work:
    """What is left of it. Raises ValueError where that is too little: before the work is done."""

    def __init__(self, most: int = WORK) -> None:
        self._most = self._left = most

    def take(self, much: int) -> None:
        self._left -= much
        if self._left < 0:
            raise ValueError(
                f"what it reads and makes is more than {self._most >> 20} Mi characters, with the "
                "expressions before it"
            )

    def call(self, name: str, arguments: list[Any]) -> None:
        """Before a function reads its arguments."""
        if name == "contains" and isinstance(arguments[0], list):
            self.take(len(arguments[0]) * (NODE + _length(arguments[1])))
        if name == "fromjson":
            self.take((JSON - 1) * _length(arguments[0]))
        for argument in arguments:
            for one in parts(argument):
                self.take(len(one) + PART if isinstance(one, str) else NUMBER)

    def look_up(self, holder: Any, index: Any) -> None:
        """Before a property is found: without regard to case, so every name is read."""
        self.texts(index)
        if isinstance(holder, Mapping):
            self.take(sum(map(len, holder)) + len(holder))

    def texts(self, *values: Any) -> None:
        """Those of the values that are texts, since nothing else of them is read or made."""
        self.take(sum(map(_length, values)))


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0
