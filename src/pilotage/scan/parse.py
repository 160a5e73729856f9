"""What parsers share: bytes into checked values, a scanner's words into ours.

Nothing here reads a file or guesses. What is not a report is `Unusable`; a word that a table does
not know is UNKNOWN and says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from pilotage.domain.finding import Confidence, Severity
from pilotage.scan.scanner import Unusable

Shape = TypeVar("Shape")

_CWE = re.compile(r"CWE[-_ ]?(\d{1,5})", re.IGNORECASE)


def decode(data: bytes, shape: type[Shape], what: str) -> Shape:
    """JSON as a value of `shape` (a msgspec type: unknown fields are let through, missing and
    mistyped ones are not). `what` names the report in the error ("a bandit report").

    A byte order mark, UTF-16, broken UTF-8 and lone surrogates (a file name may bring them) are
    repaired. Raises Unusable for anything else: empty, cut off, another tool's report.
    """
    if not data.strip():
        raise Unusable(f"nothing was printed where {what} was expected")
    try:
        try:
            return msgspec.json.decode(data, type=shape)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(_repaired(data), type=shape)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"this is not {what}: {error}") from None


def _repaired(data: bytes) -> bytes:
    """The same JSON in clean UTF-8, bad characters replaced by `?` or U+FFFD."""
    text = data.decode(json.detect_encoding(data), "replace")
    return json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "replace")


def severity(native: str, table: Mapping[str, Severity], source: str) -> tuple[Severity, str]:
    """Our severity for a scanner's word, and how we got there (`Finding.severity_from`).

    `table` has lower-case keys; `source` names the scanner or the field ("bandit").
    """
    known = table.get(native.strip().lower())
    if known is None:
        return Severity.UNKNOWN, f"{source} says {native!r}, which is no severity we know"
    return known, f"{source}: {native}"


WORDS: Mapping[str, Severity] = {
    "critical": Severity.CRITICAL,
    "high": Severity.HIGH,
    "moderate": Severity.MEDIUM,
    "medium": Severity.MEDIUM,
    "low": Severity.LOW,
    "negligible": Severity.INFO,
    "informational": Severity.INFO,
    "info": Severity.INFO,
    "unknown": Severity.UNKNOWN,
}
"""The plain words, for scanners that use them in their plain sense."""


def confidence(native: str) -> Confidence:
    """A scanner's word for how sure it is; UNKNOWN for any word we do not know."""
    try:
        return Confidence(native.strip().lower())
    except ValueError:
        return Confidence.UNKNOWN


def cvss(vector: str) -> tuple[float, str] | None:
    """Base score and version ("3.1") of a CVSS vector (2.0, 3.x, 4.0), None where it is not one."""
    import cvss as library

    vector = vector.strip()
    try:
        if vector.startswith("CVSS:4"):
            return float(library.CVSS4(vector).base_score), "4.0"
        if vector.startswith("CVSS:3"):
            return float(library.CVSS3(vector).scores()[0]), vector[5:8]
        return float(library.CVSS2(vector).scores()[0]), "2.0"
    except library.CVSSError:
        return None


def banded(score: float) -> Severity:
    """The severity of a CVSS score by the bands of the CVSS 3.1 specification, section 5.
    0.0 is its "None" and our INFO; a number that is no score is UNKNOWN."""
    if not 0.0 <= score <= 10.0:
        return Severity.UNKNOWN
    if score == 0.0:
        return Severity.INFO
    bands = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM))
    return next((level for low, level in bands if score >= low), Severity.LOW)


def cwes(texts: Iterable[str]) -> tuple[int, ...]:
    """The CWE numbers that texts name ("CWE-89", "cwe_089"), each once, as they come."""
    found = (int(number) for text in texts for number in _CWE.findall(text))
    return tuple(dict.fromkeys(found))
