"""What the audit remembers, and what verification says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row. `event` is "open" or "close" of a call, "call" for both in one, "refused" at the
    door, what a person said to a run, or what became of something ("key.created", "tool.changed",
    "approval.used", "policy.broken"); `call` is the id of the call, run, key or approval, or the
    version of the policy. `at` is Unix microseconds; `body` holds what the event says (arguments
    redacted, decision, outcome, a key's roles)."""

    seq: int
    at: int
    event: str
    call: str
    tool: str
    principal: str
    body: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call as the audit knows it: its "open" or "call" row `seq`, and how it closed.

    `outcome` None: it still runs, or its process died. `ms` are milliseconds.
    """

    seq: int
    at: int
    call: str
    tool: str
    principal: str
    via: str
    outcome: str | None
    decision: str | None
    rule: str | None
    ms: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Verification:
    """`bad_seq` is the first row that is wrong and `why` says how; None: the chain holds.

    Rows after `protected_to` (the last signed checkpoint) are not protected against a cut tail.
    """

    rows: int
    protected_to: int
    bad_seq: int | None
    why: str
