"""JSON that lies deeper than a reader may go. Whoever may write one object (a JSON schema within a
tool, say) must not end the process of everybody who reads it: what is too deep is cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from pilotage.domain.pattern import pattern

CUT = 200
"""Levels that are kept; msgspec reads about as many as Python's recursion limit, 1,000."""
_LEFT_OUT = b'"(nested too deep: left out)"'
_TOKEN = pattern(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]')
T = TypeVar("T")


def decoder(type: type[T]) -> Callable[[bytes], T]:
    """Reads JSON as `type`. Raises what msgspec raises, and never RecursionError."""
    decode = msgspec.json.Decoder(type).decode

    def read(data: bytes) -> T:
        try:
            return decode(data)
        except RecursionError:
            return decode(shallow(data, CUT))

    return read


def shallow(data: bytes, most: int) -> bytes:
    """The same JSON, with a text in the place of what lies deeper than `most` levels."""
    kept: list[bytes] = []
    depth = begin = 0
    for found in _TOKEN.finditer(data):
        mark = found[0][:1]
        if mark in b"[{":
            depth += 1
            if depth == most + 1:
                kept += [data[begin : found.start()], _LEFT_OUT]
        elif mark in b"]}":
            depth -= 1
            if depth == most:
                begin = found.end()
    return b"".join([*kept, data[begin:]] if depth <= most else kept)


def deeper(value: Any, most: int) -> bool:
    """Does it lie deeper than `most` levels?"""
    level, depth = [value], 0
    while level:
        depth += 1
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
            elif isinstance(one, list):
                below += one
        level = [one for one in below if isinstance(one, dict | list)]
        if level and depth >= most:
            return True
    return False
