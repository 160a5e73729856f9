"""What a person may say to a run, as news for its journal. Pure: each takes the run as it stands
when the words are written down, and raises Conflict where they do not fit."""

from __future__ import annotations

from collections.abc import Callable

from pilotage.domain.call import Outcome, Principal
from pilotage.domain.errors import Conflict
from pilotage.domain.run import Kind, Run
from pilotage.pipeline.advance import News

Said = Callable[[Run], list[News]]


def judged(kind: Kind, by: Principal, step: str | None, reason: str) -> Said:
    """APPROVED or REJECTED: the one step that waits, or the one that is named."""

    def news(run: Run) -> list[News]:
        waiting = ", ".join(run.waiting)
        if not waiting:
            raise Conflict(f"run {run.id} does not wait for anybody", f"it is {run.state}")
        if step is not None and step not in run.waiting:
            raise Conflict(f"step {step!r} of run {run.id} does not wait", f"waiting: {waiting}")
        if step is None and len(run.waiting) > 1:
            raise Conflict(f"run {run.id} waits in {waiting}", "say which: --step NAME")
        return [(kind, step or run.waiting[0], {"by": by.name, "reason": reason})]

    return news


def resumed(by: Principal, step: str | None, reason: str) -> Said:
    """RESUMED, or nothing for a run whose owner died: that is only taken up."""

    def news(run: Run) -> list[News]:
        if run.outcome is Outcome.SUCCEEDED:
            raise Conflict(f"run {run.id} has succeeded: nothing is left to do")
        if step is not None and step not in run.waiting:
            raise Conflict(f"step {step!r} of run {run.id} does not wait")
        if run.outcome is None and not run.waiting:
            return []
        return [(Kind.RESUMED, step, {"by": by.name, "reason": reason})]

    return news


def stopped(by: Principal, reason: str) -> Said:
    """STOPPING, as cancelled."""
    why = f"cancelled by {by.name}" + (f": {reason}" if reason else "")

    def news(run: Run) -> list[News]:
        if run.outcome is not None:
            raise Conflict(f"run {run.id} has ended already: {run.outcome}")
        return [(Kind.STOPPING, None, {"outcome": Outcome.CANCELLED, "why": why})]

    return news
