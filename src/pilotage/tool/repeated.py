"""Objects of JSON that name a member twice: what they say is up to who reads them. Our parser takes
the last one, others the first, and then each has read another answer."""

from __future__ import annotations

import json
from typing import Any

from pilotage.domain.pattern import pattern

_NAMED = pattern(rb'"[ \t\r\n]*:')
_DECIDING = (
    b'"content"',
    b'"structuredContent"',
    b'"isError"',
    b'"resultType"',
    b'"inputRequests"',
)


def may_decide(document: bytes) -> bool:
    """Quick, for most results of tools: may a member that decides something be there twice? Only
    asked of a document without escapes, where each name is written in one way."""
    return any(document.count(name) > 1 for name in _DECIDING)


def is_there(document: bytes, members: int) -> bool:
    """Is one there twice in this JSON, of which `members` were read? Raises what decoding does."""
    if len(_NAMED.findall(document)) <= members:
        return False
    found = False

    def seen(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({name for name, _ in pairs}) < len(pairs)

    json.loads(document, object_pairs_hook=seen, parse_int=len, parse_float=len)
    return found
