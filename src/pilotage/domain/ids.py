"""Names for executions: ULIDs, which sort by time."""

from __future__ import annotations

import functools
import os
from collections import deque
from time import time_ns

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LETTERS = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))
_SHIFTS = tuple(range(45, -1, -5))
_tails: deque[str] = deque()


def new_id() -> str:
    """26 characters of Crockford base 32: 48 bits of milliseconds, then 80 random bits.
    Source: https://github.com/ulid/spec"""
    try:
        tail = _tails.popleft()
    except IndexError:
        tail = _refill()
    return _head(time_ns() // 1_000_000) + tail


def made_at(id: str) -> float:
    """When such an id was made, in Unix seconds. ValueError where it is none."""
    milliseconds = 0
    for letter in id[:10]:
        milliseconds = milliseconds << 5 | _ALPHABET.index(letter)
    return milliseconds / 1000


@functools.lru_cache(2)
def _head(milliseconds: int) -> str:
    return "".join([_ALPHABET[(milliseconds >> shift) & 31] for shift in _SHIFTS])


def _refill() -> str:
    """Many random tails from one request to the system: 16 letters of five bits, and a space that
    parts them."""
    letters = bytearray(os.urandom(256 * 17).translate(_LETTERS))
    letters[16::17] = b" " * 256
    first, *rest = letters.decode("ascii").split()
    _tails.extend(rest)
    return first


os.register_at_fork(after_in_child=_tails.clear)  # or a child would repeat its parent's ids
