"""Params with `${{ }}` in them. A value that is one expression keeps its type; amid other text it
becomes text. Values are JSON for a tool and are never read as a command by anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pilotage.domain.errors import BadInput
from pilotage.pipeline.expression import Expression, evaluate, parse
from pilotage.pipeline.values import text

_HOLE = re.compile(r"\$\{\{((?:[^'}]|'[^']*'|\}(?!\}))*)\}\}")
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
    if "${{" in _HOLE.sub("", value):
        raise BadInput(f"an expression is not closed in {value!r}", "${{ ... }}")
    return [parse(found[1]) for found in _HOLE.finditer(value)]


def fill(value: Any, contexts: Mapping[str, Any]) -> Any:
    """The same JSON value with its expressions replaced. What is not there is ''."""
    if isinstance(value, str):
        return _fill_text(value, contexts) if has_holes(value) else value
    if isinstance(value, Mapping):
        return {key: fill(item, contexts) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill(item, contexts) for item in value]
    return value


def _fill_text(value: str, contexts: Mapping[str, Any]) -> Any:
    found = expressions(value)
    if whole(value):
        result = evaluate(found[0], contexts)
        return "" if result is None else result
    filled = iter(text(evaluate(one, contexts)) for one in found)
    return _HOLE.sub(lambda _: next(filled), value)
