"""How large an answer is, without making a second one of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pilotage.domain.call import ToolResult

FEW, SLICE = 16, 100
SMALL = 60
"""No limit on answers is under FEW texts of this length."""
_PLAIN = frozenset((int, float, bool, type(None)))
_encode = msgspec.json.Encoder(enc_hook=str).encode


def small(result: ToolResult) -> bool:
    """Is it certainly within any limit? Most answers are, and this is all that they pay."""
    value = result.value
    if len(value) > FEW or result.content or result.wire is not None:
        return False
    for item in value.values():
        kind = type(item)
        if kind is str:
            if len(item) > SMALL:
                return False
        elif kind not in _PLAIN:
            return False
    return True


def size_of(result: ToolResult, limit: int) -> int:
    """About how many bytes of JSON, counted no further than a little over `limit`."""
    size = _size(result.value, limit) if result.value else 0
    if result.wire is not None:
        size = max(size, len(result.wire))
    if result.content and size <= limit:
        size += _size(result.content, limit - size)
    return size


def _size(value: Any, limit: int) -> int:
    """Of an object or a list: few parts one by one, many in slices, which C counts faster."""
    size = 2
    if len(value) > FEW:
        items = list(value.values()) if isinstance(value, Mapping) else value
        for start in range(0, len(items), SLICE):
            size += len(_encode(items[start : start + SLICE]))
            if size > limit:
                break
        return size
    for item in value.values() if isinstance(value, Mapping) else value:
        if isinstance(item, (str, bytes)):
            size += len(item) + 2
        else:
            size += _size(item, limit - size) if isinstance(item, (dict, list, tuple)) else 8
        if size > limit:
            break
    return size
