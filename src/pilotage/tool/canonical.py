"""JSON in the one form that digests are taken of. Source: RFC 8785 (JCS).

Two departures, so that no two different documents share a form: an integer is written out in full,
also one that came as a double (9223372036854775808.0 is that, not ...6000), and a lone surrogate is
written as its escape.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from pilotage.domain.pattern import pattern

DEPTH = 64
_PLAIN = 1e21
"""From here on, ECMAScript writes an exponent."""
_SURROGATE = pattern("[\ud800-\udfff]")


def digest(value: Any) -> str:
    """SHA-256 of the canonical form, in hex. Raises ValueError as `canonical` does."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def canonical(value: Any) -> str:
    """No spaces, keys in order of their UTF-16 units, numbers as ECMAScript writes them. Raises
    ValueError for what is no JSON, and for what is nested deeper than `DEPTH`."""
    out: list[str] = []
    _write(value, out, 0)
    return "".join(out)


def _write(value: Any, out: list[str], depth: int) -> None:
    if depth > DEPTH:
        raise ValueError(f"it is nested more than {DEPTH} deep")
    if value is None or isinstance(value, bool):
        out.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, str):
        out.append(_text(value))
    elif isinstance(value, int):
        out.append(str(int(value)) if value else "0")
    elif isinstance(value, float):
        out.append(number(value))
    elif isinstance(value, Mapping):
        _write_object(value, out, depth)
    elif isinstance(value, (list, tuple)):
        for at, item in enumerate(value):
            out.append("," if at else "[")
            _write(item, out, depth + 1)
        out.append("]" if value else "[]")
    else:
        raise ValueError(f"{type(value).__name__} is no JSON")


def _write_object(value: Mapping[Any, Any], out: list[str], depth: int) -> None:
    if not all(isinstance(key, str) for key in value):
        raise ValueError("a key of an object is no text")
    ordered = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
    for at, key in enumerate(ordered):
        out.append(("," if at else "{") + _text(key) + ":")
        _write(value[key], out, depth + 1)
    out.append("}" if value else "{}")


def _text(text: str) -> str:
    written = json.dumps(text, ensure_ascii=False)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def number(value: float) -> str:
    """A double as ECMAScript's Number::toString gives it (ECMA-262, 6.1.6.1.20), but an integer in
    all its digits where that would end in zeros that are not its own."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no JSON")
    if value == 0:
        return "0"
    if value.is_integer() and abs(value) < _PLAIN:
        return str(int(value))
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)  # where the decimal point stands in `digits`
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    return sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    exponent = f"e{point - 1:+d}"
    return digits + exponent if len(digits) == 1 else f"{digits[0]}.{digits[1:]}{exponent}"
