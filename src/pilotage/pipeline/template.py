"""Params with `${{ }}` in them. A value that is one expression keeps its type; amid other text it
becomes text. Values are JSON for a tool and are never read as a command by anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pilotage.domain.errors import BadInput
from pilotage.pipeline.expression import Expression, evaluate, parse
from pilotage.pipeline.values import parts, text
from pilotage.pipeline.work import PARSED, Work

_HOLE = re.compile(r"\$\{\{((?>(?:[^'}]+|'[^']*'|\}(?!\}))*))\}\}")
"""Read once, never again: an atomic group. Possessive ones find nothing here in Python 3.11.2."""
FILLED = 4 << 20
"""What the params of one step may grow to, in characters: as much as the body of a call."""
Path = tuple[str | int, ...]


def has_holes(value: str) -> bool:
    return "${{" in value


def whole(value: str) -> bool:
    """Is the text one expression and nothing else?"""
    return _HOLE.fullmatch(value.strip()) is not None


def holes(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Each text in a JSON value that holds an expression, and where it stands."""
    if isinstance(value, str):
        if has_holes(value):
            yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from holes(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from holes(item, (*path, place))


def expressions(value: str) -> list[Expression]:
    """Those in one text. BadInput where one is not complete or not one."""
    return [parse(found[1]) for found in _found(value)]


def _found(value: str) -> list[re.Match[str]]:
    """Where they stand. The first that is not closed ends the search, so that a text of nothing but
    beginnings is read once."""
    found: list[re.Match[str]] = []
    at = value.find("${{")
    while at >= 0:
        one = _HOLE.match(value, at)
        if one is None:
            raise BadInput(f"an expression is not closed in {value[at : at + 200]!r}", "${{ ... }}")
        found.append(one)
        at = value.find("${{", one.end())
    return found


def fill(value: Any, contexts: Mapping[str, Any], work: Work | None = None) -> Any:
    """The same JSON value with its expressions replaced. What is not there is ''. BadInput where
    it grows too large, or is too much work: a short text can name a long one again and again.
    `work`: several values share it (None: it has its own)."""
    return _Filling(contexts, work or Work()).value(value)


class _Filling:
    """One value on its way. `left` is how many characters it may still grow by."""

    def __init__(self, contexts: Mapping[str, Any], work: Work) -> None:
        self._contexts, self._left, self._work = contexts, FILLED, work

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value) if has_holes(value) else value
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value

    def _text(self, value: str) -> Any:
        found = _found(value)
        if whole(value):
            result = self._evaluated(found[0])
            self._count(result)
            return "" if result is None else result
        pieces, at = [], 0
        for one in found:
            said = text(self._evaluated(one))
            self._count(said)
            pieces += [value[at : one.start()], said]
            at = one.end()
        return "".join([*pieces, value[at:]])

    def _evaluated(self, hole: re.Match[str]) -> Any:
        try:
            self._work.take(len(hole[1]) * PARSED)
        except ValueError as error:
            raise BadInput(f"{hole[0][:200]}: {error}") from None
        return evaluate(parse(hole[1]), self._contexts, self._work)

    def _count(self, value: Any) -> None:
        """As JSON has it, about."""
        for one in parts(value):
            self._left -= len(one) + 2 if isinstance(one, str) else 8
            if self._left < 0:
                raise BadInput(f"the params grow to more than {FILLED} characters", "pass less on")
