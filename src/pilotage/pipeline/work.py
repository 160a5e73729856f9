"""How much work the expressions of one value may be: a short text can ask for a great deal of it,
again and again, and whoever writes a pipeline must not hold up those who wait beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORK = 16 << 20
"""In characters that are read or made: a tenth of a second or two."""
NODE = 64
"""What one operator, name or call costs beside what it reads."""
PARSED = 32
"""What a character of an expression costs that is read for the first time."""
PART, JSON = 32, 4
"""What each part of a value costs that is read whole; a character of JSON that is taken apart."""


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

    def node(self) -> None:
        self.take(NODE)

    def call(self, name: str, arguments: list[Any]) -> None:
        """Before a function reads its arguments."""
        if name == "contains" and isinstance(arguments[0], list):
            self.take(len(arguments[0]) * (NODE + _length(arguments[1])))
        if name == "fromjson":
            self.take((JSON - 1) * _length(arguments[0]))
        for one in arguments:
            self.read(one)

    def look_up(self, holder: Any, index: Any) -> None:
        """Before a property is found: without regard to case, so every name is read."""
        self.take(_length(index))
        if isinstance(holder, Mapping):
            self.take(sum(map(len, holder)) + len(holder))

    def compare(self, left: Any, right: Any) -> None:
        """Texts are read; lists and objects are not."""
        self.take(_length(left) + _length(right))

    def read(self, value: Any) -> None:
        """All that a value holds, about as JSON has it."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            self.take(_length(one) + PART)
            if isinstance(one, Mapping):
                waiting += [*one, *one.values()]
            elif isinstance(one, list):
                waiting += one


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0
