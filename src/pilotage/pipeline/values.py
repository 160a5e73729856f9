"""What values of expressions are as a number, as text, as truth, and beside each other.

Values are JSON in Python: None, bool, int, float, str, list, dict. The rules are JavaScript's, but
objects are never turned into text or numbers, and texts are compared without regard to case.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

_DECIMAL = re.compile(r"[-+]?(\d+(\.\d*)?([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|Infinity)", re.ASCII)
_PREFIXED = re.compile(r"0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+", re.ASCII)
_SPACE = " \t\n\r\v\f\ufeff\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008" + (
    "\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_EXACT = 1 << 53


def primitive(value: Any) -> bool:
    return not isinstance(value, (list, Mapping))


def parts(value: Any) -> Iterator[Any]:
    """The value, and all that lies in it, names too. Whoever stops asking spares the rest."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, Mapping):
            waiting += [*one, *one.values()]
        elif isinstance(one, (list, tuple)):
            waiting += one


def truthy(value: Any) -> bool:
    """Null, false, 0, NaN and '' are not; every list and object is."""
    if not primitive(value):
        return True
    return bool(value) and value == value


def number(value: Any) -> float:
    """NaN where it is none."""
    if value is None:
        return 0.0
    if isinstance(value, (bool, int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if not isinstance(value, str):
        return math.nan
    text = value.strip(_SPACE)
    if not text:
        return 0.0
    if _PREFIXED.fullmatch(text):
        return number(int(text, 0))
    return float(text) if _DECIMAL.fullmatch(text) else math.nan


def text(value: Any) -> str:
    """As it stands in the middle of other text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        exact = number(value)
        if math.isfinite(exact) and abs(exact) < 1e21:
            exact = float(f"{exact:.15f}")
        return _digits(exact)
    if isinstance(value, str):
        return value
    return "Array" if isinstance(value, list) else "Object"


def _digits(value: float) -> str:
    """The shortest digits that mean this number, written as JavaScript writes them.
    Source: https://tc39.es/ecma262/#sec-numeric-types-number-tostring"""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    if 1e-6 <= abs(value) < 1e21:
        plain = format(Decimal(repr(value)), "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    sign = "+" if int(exponent) >= 0 else ""
    return f"{mantissa}e{sign}{int(exponent)}"


def equal(left: Any, right: Any) -> bool:
    """Lists and objects equal only themselves."""
    left, right = _alike(left, right)
    if isinstance(left, float) and isinstance(right, float):
        return left == right
    if isinstance(left, str) and isinstance(right, str):
        return upper(left) == upper(right)
    return left is right


def less(left: Any, right: Any) -> bool:
    """Texts are compared by UTF-16 code units, as JavaScript does."""
    left, right = _alike(left, right)
    if isinstance(left, float) and isinstance(right, float):
        return left < right
    if isinstance(left, str) and isinstance(right, str):
        return _units(upper(left)) < _units(upper(right))
    if isinstance(left, bool) and isinstance(right, bool):
        return left < right
    return False


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Both as numbers, unless they are of one kind already."""
    kinds = _kind(left), _kind(right)
    if kinds[0] == kinds[1]:
        return (number(left), number(right)) if kinds[0] == "number" else (left, right)
    soft = {"null", "boolean"}
    if soft & set(kinds) or set(kinds) == {"number", "string"}:
        return (
            number(left) if kinds[0] in {*soft, "number", "string"} else left,
            number(right) if kinds[1] in {*soft, "number", "string"} else right,
        )
    return left, right


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "list" if isinstance(value, list) else "object"


def _units(text: str) -> bytes:
    return text.encode("utf-16-be", "surrogatepass")


def upper(text: str) -> str:
    """Upper case, but for the dotless i, which stays itself."""
    return "\u0131".join(part.upper() for part in text.split("\u0131"))


def to_json(value: Any, margin: str = "\n") -> str:
    """Pretty JSON. Numbers are written as JavaScript does, NaN as null."""
    deeper = margin + "  "
    if isinstance(value, Mapping):
        value = dict(value)
    if isinstance(value, dict) and value:
        items = [f"{_quoted(key)}: {to_json(item, deeper)}" for key, item in value.items()]
        return "{" + deeper + f",{deeper}".join(items) + margin + "}"
    if isinstance(value, list) and value:
        return "[" + deeper + f",{deeper}".join(to_json(i, deeper) for i in value) + margin + "]"
    if isinstance(value, bool) or value is None or not isinstance(value, (int, float)):
        return _quoted(value)
    if isinstance(value, int) and abs(value) <= _EXACT:
        return str(value)
    return _digits(number(value)) if math.isfinite(number(value)) else "null"


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def from_json(text: str) -> Any:
    """JSON, and nothing that only Python takes for it. ValueError where it is none."""
    return json.loads(text, parse_constant=_refuse, parse_int=_whole)


def _whole(digits: str) -> int | float:
    """Beyond 2^53 a number is a double, as it is for GitHub."""
    exact = float(digits)
    return int(digits) if abs(exact) <= _EXACT else exact


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")
