"""The functions of `${{ }}`. Source: GitHub's own, npm @actions/expressions, dist/funcs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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


_FIELD = re.compile(r"\{\{|\}\}|\{(\d+)[^}]*\}|[{}]", re.ASCII)


def format_(pattern: Any, *values: Any) -> str:
    """`{0}` is the first value, `{{` a brace."""

    def fill(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] is None:
            raise ValueError(f"the format string is not one: {text(pattern)}")
        if int(found[1]) >= len(values):
            raise ValueError(f"the format string names more values than there are: {text(pattern)}")
        return text(values[int(found[1])])

    return _FIELD.sub(fill, text(pattern))


def join(items: Any, separator: Any = ",") -> str:
    if isinstance(items, list):
        return (text(separator) if primitive(separator) else ",").join(map(text, items))
    return text(items) if primitive(items) else ""


def from_json_(value: Any) -> Any:
    try:
        return from_json(text(value))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"fromJSON was given what is not JSON: {error}") from None


FUNCTIONS: Mapping[str, Function] = {
    function.name.lower(): function
    for function in (
        Function("contains", 2, 2, contains),
        Function("startsWith", 2, 2, starts_with),
        Function("endsWith", 2, 2, ends_with),
        Function("format", 1, None, format_),
        Function("join", 1, 2, join),
        Function("toJSON", 1, 1, to_json),
        Function("fromJSON", 1, 1, from_json_),
    )
}
