"""Calls that wait for a person: look at them, approve, reject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from pilotage.app import App
from pilotage.domain.approval import Approval, ApprovalState, Verdict, Vote
from pilotage.domain.call import Principal
from pilotage.server.http import BY
from pilotage.server.routes.permission import speaker

Limit = Annotated[int, Query(ge=1, le=1000)]


class Word(BaseModel):
    """Why, kept with the approval and in the audit."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="", max_length=1_000)


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """A call that needs a person. It counts only while `digest` (SHA-256 of the arguments in
    canonical JSON), `pin` (of the tool) and `policy` (its version) are what they are.

    `arguments` lack what looks like a secret. `needed` persons must approve, `given` have. `run`
    and `step` are "" outside of pipelines; `call` is the one that used it. Times are Unix
    microseconds.
    """

    id: str
    state: ApprovalState
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
    given: int
    created: int
    expires: int
    changed: int
    call: str
    votes: list[Vote]


@dataclass(frozen=True, slots=True)
class ApprovalList:
    """The newest first; `next` pages back as `before`, null at the end."""

    approvals: list[ApprovalView]
    next: str | None


def add(api: FastAPI, app: App) -> None:
    @api.get("/api/v2/approvals", tags=["approvals"])
    def approvals(
        request: Request,
        limit: Limit = 100,
        before: str | None = None,
        state: ApprovalState | None = None,
        mine: bool = False,
    ) -> ApprovalList:
        """What the caller has asked for; all that anybody has, for who manages approvals:read or
        approvals:write."""
        found = app.approvals.newest(_by(request), limit, before, state, mine=mine)
        return ApprovalList(list(map(view, found)), found[-1].id if len(found) == limit else None)

    @api.get("/api/v2/approvals/{id}", tags=["approvals"])
    def approval(id: str, request: Request) -> ApprovalView:
        """One; 404 for who neither asked for it nor may see those of others."""
        return view(app.approvals.show(id, _by(request)))

    @api.post("/api/v2/approvals/{id}/approve", tags=["approvals"])
    async def approve(id: str, request: Request, word: Word | None = None) -> ApprovalView:
        """Let the call run, once. Needs approvals:write, and that somebody else has asked."""
        return view(await app.judge(id, speaker(app, request), Verdict.APPROVED, _reason(word)))

    @api.post("/api/v2/approvals/{id}/reject", tags=["approvals"])
    async def reject(id: str, request: Request, word: Word | None = None) -> ApprovalView:
        """Refuse it for good. Who has asked may withdraw it so."""
        return view(await app.judge(id, speaker(app, request), Verdict.REJECTED, _reason(word)))


def view(one: Approval) -> ApprovalView:
    """As the outside reads it."""
    names = (name for name in ApprovalView.__dataclass_fields__ if name != "votes")
    return ApprovalView(**{name: getattr(one, name) for name in names}, votes=list(one.votes))


def _by(request: Request) -> Principal:
    by: Principal = request.scope[BY]
    return by


def _reason(word: Word | None) -> str:
    return word.reason if word is not None else ""
