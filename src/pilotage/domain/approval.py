"""An approval: what somebody wants to do that needs a person, and what persons said to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ApprovalState(StrEnum):
    """Pending: not enough persons have spoken. Approved: it may be used, once. The others are
    ends: rejected, used, expired, or stale (the tool or the policy is not what it was)."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    USED = "used"
    EXPIRED = "expired"
    STALE = "stale"


class Verdict(StrEnum):
    """What one person says."""

    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's word, at (Unix microseconds)."""

    by: str
    verdict: Verdict
    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class Approval:
    """It belongs to one call: of `principal`, to `tool`, with arguments of this `digest` (SHA-256
    of their canonical JSON), while the tool's `pin` and the version of the `policy` stay.

    `arguments` are as the audit keeps them, secrets taken out. `run` and `step` are "" outside of
    pipelines. `call` is the one that used it, "" while none did. Times are Unix microseconds.
    """

    id: str
    principal: str
    tool: str
    effect: str
    arguments: Mapping[str, Any]
    digest: str
    pin: str
    policy: str
    rule: str
    why: str
    via: str
    run: str
    step: str
    needed: int
    created: int
    expires: int
    state: ApprovalState
    changed: int
    call: str
    votes: tuple[Vote, ...] = ()

    @property
    def given(self) -> int:
        """How many have approved so far."""
        return sum(vote.verdict is Verdict.APPROVED for vote in self.votes)
