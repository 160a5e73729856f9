"""Which call an approval is for. Pure: an approval, a call and the time; what is against it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pilotage.domain.approval import Approval, ApprovalState
from pilotage.domain.call import Decision, ToolCall
from pilotage.domain.errors import NeedsApproval
from pilotage.store.approvals import LIVE

CLOCK_SECONDS = 60
"""An approval that is this far from the future means that the clock went back."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as an approval knows it."""

    call: ToolCall
    decision: Decision
    effect: str
    digest: str
    pin: str


def expired(one: Approval, now: int) -> bool:
    """The time is over, or it seems not to have come yet, since the clock went back."""
    live = one.state in LIVE
    return live and not one.created - CLOCK_SECONDS * 1_000_000 <= now < one.expires


def today(one: Approval, now: int) -> Approval:
    return replace(one, state=ApprovalState.EXPIRED) if expired(one, now) else one


_ENDS = {
    ApprovalState.USED: "was used already, and is good for one call",
    ApprovalState.EXPIRED: "has expired",
    ApprovalState.STALE: "is for what the tool or the policy was before",
}


def unfit(one: Approval | None, asked: Asked, now: int) -> str:
    """Why this approval is not for this call now, "" where it is."""
    call = asked.call
    if one is None:
        return f"there is no approval {(call.approval or '')[:100]}"
    name = f"approval {one.id}"
    if one.principal != call.by.name:
        return f"{name} is not for {call.by.name}"
    if one.tool != call.tool:
        return f"{name} is for the tool {one.tool}"
    if one.digest != asked.digest:
        return f"{name} is for other arguments"
    if (one.run, one.step) != (call.run or "", call.step or ""):
        return f"{name} is for another run or step"
    if one.state is ApprovalState.REJECTED:
        last = one.votes[-1]
        return f"{name} was rejected by {last.by}" + (f": {last.reason}" if last.reason else "")
    if one.state in _ENDS:
        return f"{name} {_ENDS[one.state]}"
    if expired(one, now):
        return f"{name} has expired"
    if one.pin != asked.pin:
        return f"{name} is stale: the tool has changed since it was asked for"
    if one.policy != asked.decision.policy or asked.decision.needed > one.needed:
        return f"{name} is stale: the policy has changed since it was asked for"
    return ""


def needs(one: Approval, earlier: str) -> NeedsApproval:
    left = one.needed - one.given
    persons = "a person" if left == 1 else f"{left} persons"
    told = "" if one.why.startswith(one.rule) else f": {one.why}"  # its @why
    rule = f"(rule {one.rule}{told})"
    what = f"{one.tool} waits for {persons} to approve this call {rule}{earlier}"
    then = ", and its run goes on" if one.run else "; then send the very same call again"
    hint = f"somebody else: pilotage approvals approve {one.id}{then}"
    about = {
        "id": one.id,
        "state": one.state.value,
        "needed": one.needed,
        "given": one.given,
        "expires": one.expires // 1_000_000,
    }
    return NeedsApproval(what, hint, about)
