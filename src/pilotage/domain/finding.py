"""A finding: one weakness in one place, as one scanner tells it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ScanType(StrEnum):
    """What kind of thing is looked at (the article's five)."""

    CODE = "code"
    CONTAINER = "container"
    DEPENDENCY = "dependency"
    INFRASTRUCTURE = "infrastructure"
    SECRET = "secret"


class Severity(StrEnum):
    """Ordered by `rank`, worst first. UNKNOWN is never guessed: the gate says what it counts as."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """0 is the worst; UNKNOWN ranks beside HIGH so that lists show it early."""
        return _RANK.index(self.value)


_RANK = ("critical", "high", "unknown", "medium", "low", "info")


class Confidence(StrEnum):
    """How sure the scanner is; UNKNOWN where it does not say."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Location:
    """Where. `path` is relative to the scanned root, with `/`; lines and columns count from 1.

    `commit` is set where the finding lies in history only; `inside` names the archive or image
    layer that holds `path`.
    """

    path: str
    line: int | None = None
    column: int | None = None
    end_line: int | None = None
    end_column: int | None = None
    commit: str | None = None
    inside: str | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """A dependency. `ecosystem` as OSV spells it (PyPI, npm); `fixed`: versions that mend it."""

    ecosystem: str
    name: str
    version: str
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suppression:
    """A word in the source that asks a scanner to look away. `reason` is the text beside it.

    `line` 0 and the word "configuration" stand for a scanner's own configuration file.
    """

    path: str
    line: int
    word: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """`severity` is ours, `native_severity` the scanner's own word, `severity_from` how we got from
    one to the other. `ids` are vulnerability ids (CVE, GHSA, PYSEC). `fingerprint` is empty until
    the findings are merged; `also` names other scanners that say the same; `suppressed` is set
    where the source asks to look away and the policy lets that count; `line_hash` is GitHub's
    primaryLocationLineHash, filled with the fingerprint."""

    scanner: str
    rule: str
    type: ScanType
    severity: Severity
    message: str
    location: Location
    confidence: Confidence = Confidence.UNKNOWN
    native_severity: str = ""
    severity_from: str = ""
    title: str = ""
    url: str = ""
    cwe: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()
    package: Package | None = None
    fingerprint: str = ""
    also: tuple[str, ...] = ()
    suppressed: Suppression | None = None
    line_hash: str = ""
