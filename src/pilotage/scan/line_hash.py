"""GitHub's primaryLocationLineHash: how code scanning knows a line again after others moved it.

Source: github/codeql-action src/fingerprints.ts. A rolling 64-bit hash (multiplier 37) over the 100
UTF-16 units from the start of the line, spaces and tabs left out, CR and CRLF read as LF, the end
marked by the unit 65535; then `:` and how often this hash has come up so far.
"""

from __future__ import annotations

from array import array

_WINDOW = 100
_MULTIPLIER = 37
_MASK = (1 << 64) - 1
_FIRST = pow(_MULTIPLIER, _WINDOW, 1 << 64)
_END = 65535
_LF, _SPACE, _TAB = 10, 32, 9


def line_hashes(text: str) -> list[str]:
    """The hash of each line, first line first. Lone surrogates count as the units they are."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    units = array("H", text.encode("utf-16-le", "surrogatepass"))
    kept: list[int] = []
    starts = [0]
    for unit in units:
        if unit in (_SPACE, _TAB):
            continue
        kept.append(unit)
        if unit == _LF:
            starts.append(len(kept))
    kept.append(_END)
    return _numbered(_windows(kept), starts)


def _windows(kept: list[int]) -> list[int]:
    """The hash of the 100 units that follow each position; zeros stand after the end."""
    padded = [*kept, *([0] * _WINDOW)]
    value = 0
    for unit in padded[:_WINDOW]:
        value = (value * _MULTIPLIER + unit) & _MASK
    hashes = []
    for position in range(len(kept)):
        hashes.append(value)
        incoming = padded[position + _WINDOW] if position + _WINDOW < len(padded) else 0
        value = (value * _MULTIPLIER + incoming - _FIRST * padded[position]) & _MASK
    return hashes


def _numbered(windows: list[int], starts: list[int]) -> list[str]:
    seen: dict[int, int] = {}
    named = []
    for start in starts:
        value = windows[start]
        seen[value] = seen.get(value, 0) + 1
        named.append(f"{value:x}:{seen[value]}")
    return named
