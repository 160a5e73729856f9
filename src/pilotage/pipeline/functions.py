"""The functions of `${{ }}`. Source: GitHub's own, npm @actions/expressions, dist/funcs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.pipeline.values import equal, from_json, primitive, text, to_json, upper


@dataclass(frozen=True, slots=True)
class Function:
    """`most` None: any number of arguments. `call` raises ValueError."""

    name: str
    least: int
    most: int | None
    call: Callable[..., Any]


def contains(search: Any, item: Any) -> bool:
    if isinstance(search, list):
        return any(equal(item, one) for one in search)
    if primitive(search) and primitive(item):
        return text(item).lower() in text(search).lower()
    return False


def starts_with(search: Any, start: Any) -> bool:
    return (
        primitive(search)
        and primitive(start)
        and upper(text(search)).startswith(upper(text(start)))
    )


def ends_with(search: Any, end: Any) -> bool:
    return primitive(search) and primitive(end) and upper(text(search)).endswith(upper(text(end)))


GROWN = 4 << 20
"""Characters that a text made by a function has at most."""


def _grown(parts: Iterable[str], between: int = 0) -> list[str]:
    """The parts of a text that is about to be made. ValueError where it would be too long."""
    kept, left = [], GROWN
    for part in parts:
        left -= len(part) + between
        if left < 0:
            raise ValueError(f"it grows to more than {GROWN} characters")
        kept.append(part)
    return kept


_FIELD = re.compile(r"\{\{|\}\}|\{(\d+)(?:[^}\d][^}]*)?\}|[{}]", re.ASCII)


def format_(pattern: Any, *values: Any) -> str:
    """`{0}` is the first value, `{{` a brace."""

    def one(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] is None:
            raise ValueError(f"the format string is not one: {text(pattern)}")
        if int(found[1]) >= len(values):
            raise ValueError(f"the format string names more values than there are: {text(pattern)}")
        return text(values[int(found[1])])

    def parts() -> Iterator[str]:
        whole, at = text(pattern), 0
        for found in _FIELD.finditer(whole):
            yield whole[at : found.start()]
            yield one(found)
            at = found.end()
        yield whole[at:]

    return "".join(_grown(parts()))


def join(items: Any, separator: Any = ",") -> str:
    if isinstance(items, list):
        between = text(separator) if primitive(separator) else ","
        return between.join(_grown(map(text, items), len(between)))
    return text(items) if primitive(items) else ""


def from_json_(value: Any) -> Any:
    try:
        return from_json(text(value))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"fromJSON was given what is not JSON: {error}") from None


def to_json_(value: Any) -> str:
    """Deep values grow by their margins, texts by what is escaped in them."""
    waiting, left = [(value, 0)], GROWN
    while waiting:
        one, depth = waiting.pop()
        left -= 2 * depth + (len(one) if isinstance(one, str) else 2)
        if left < 0:
            raise ValueError(f"it grows to more than {GROWN} characters")
        if isinstance(one, Mapping):
            waiting += [(item, depth + 1) for pair in one.items() for item in pair]
        elif isinstance(one, list):
            waiting += [(item, depth + 1) for item in one]
    return to_json(value)


FUNCTIONS: Mapping[str, Function] = {
    function.name.lower(): function
    for function in (
        Function("contains", 2, 2, contains),
        Function("startsWith", 2, 2, starts_with),
        Function("endsWith", 2, 2, ends_with),
        Function("format", 1, None, format_),
        Function("join", 1, 2, join),
        Function("toJSON", 1, 1, to_json_),
        Function("fromJSON", 1, 1, from_json_),
    )
}
