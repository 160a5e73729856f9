"""A scan: what was to be looked at, by whom, what they saw and what they did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pilotage.domain.call import Outcome
from pilotage.domain.finding import Finding, ScanType, Severity, Suppression
from pilotage.domain.verdict import Verdict


class Coverage(StrEnum):
    """The evidence a scanner gives of what it read: names, a count, or nothing at all.

    NONE is printed as "none" and never shown as complete.
    """

    LISTED = "listed"
    COUNTED = "counted"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that was to be looked at and was not. `scanner` is empty where none saw it."""

    path: str
    why: str
    scanner: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the project is made of. `files` are the staged paths; `kinds` maps a kind of content
    (python, javascript, dockerfile, terraform, github-workflow, lock-file, ...) to its files."""

    files: tuple[str, ...]
    kinds: Mapping[str, tuple[str, ...]]
    bytes: int = 0
    has_history: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Why a pass of a scanner runs or does not. `required`: without it the scan is INCOMPLETE."""

    scanner: str
    pass_name: str
    type: ScanType
    chosen: bool
    why: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class ScannerRun:
    """One pass of one scanner. Only SUCCEEDED with nothing unread means that it has looked.

    `read` and `expected` count files; `read` is None where the scanner gives no evidence.
    `seconds` is wall time, `memory` the peak of the process tree in bytes.
    """

    scanner: str
    pass_name: str
    type: ScanType
    outcome: Outcome
    why: str = ""
    findings: tuple[Finding, ...] = ()
    unread: tuple[Unread, ...] = ()
    coverage: Coverage = Coverage.NONE
    read: int | None = None
    expected: int | None = None
    required: bool = True
    seconds: float = 0.0
    memory: int = 0
    exit: int | None = None
    version: str = ""
    started: str = ""

    @property
    def complete(self) -> bool:
        """It ran to its end and says nothing was left out."""
        return self.outcome is Outcome.SUCCEEDED and not self.unread


@dataclass(frozen=True, slots=True)
class Scan:
    """One execution. `id` is a ULID, `content_key` names what was scanned under which rules.

    `findings` are merged over all runs; `unread` gathers what no scanner could look at.
    """

    id: str
    target: str
    started: str
    seconds: float
    profile: str
    policy: str
    content_key: str
    inventory: Inventory
    choices: tuple[Choice, ...]
    runs: tuple[ScannerRun, ...]
    findings: tuple[Finding, ...]
    suppressions: tuple[Suppression, ...]
    unread: tuple[Unread, ...]
    verdict: Verdict
    notes: tuple[str, ...] = ()
    counts: Mapping[Severity, int] = field(default_factory=dict)
