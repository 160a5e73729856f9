"""What a journal adds up to: (plan, run, events) -> run. Pure; reading a journal runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from pilotage.domain.call import Outcome, Principal
from pilotage.domain.errors import PilotageError
from pilotage.domain.run import Event, Kind, Run, StepRun, StepState
from pilotage.pipeline.plan import Plan

_PENDING = StepRun()
PAUSES = {Kind.TAKEN, Kind.APPROVED, Kind.REJECTED, Kind.RESUMED}


def opened(run: str, event: Event, plan: Plan) -> Run:
    """The run as its first event made it."""
    if event.kind is not Kind.CREATED or event.seq != 0:
        raise PilotageError(f"the journal of run {run} does not begin with its creation")
    body = event.body
    return Run(
        id=run,
        seq=0,
        at=event.at,
        pipeline=plan.pipeline.name,
        by=msgspec.convert(body["by"], Principal),
        inputs=body["inputs"],
        github=body["github"],
        env=body["env"],
        began=event.at,
        deadline=event.at + int(body["timeout"] * 1e6),
        steps=dict.fromkeys(plan.steps, _PENDING),
        frontier={name: None for name, step in plan.steps.items() if not step.needs},
        unmet={name: len(step.needs) for name, step in plan.steps.items()},
    )


def fold(plan: Plan, run: Run, events: Sequence[Event]) -> Run:
    """The run after these events, which must follow its last one without a gap."""
    if not events:
        return run
    draft = _Draft(plan, run)
    for event in events:
        draft.apply(event)
    return draft.done()


class _Draft:
    """One copy of a run's tables for a batch of events, and none of those that stay."""

    def __init__(self, plan: Plan, run: Run) -> None:
        self.plan, self.run = plan, run
        self.steps = dict(run.steps)
        self.frontier: dict[str, None] = run.frontier  # type: ignore[assignment]
        self.unmet: dict[str, int] = run.unmet  # type: ignore[assignment]
        self.changes: dict[str, Any] = {}
        self.seq, self.at, self.deadline = run.seq, run.at, run.deadline

    def done(self) -> Run:
        return replace(
            self.run,
            seq=self.seq,
            at=self.at,
            deadline=self.deadline,
            steps=self.steps,
            frontier=self.frontier,
            unmet=self.unmet,
            **self.changes,
        )

    def apply(self, event: Event) -> None:
        if event.seq != self.seq + 1:
            raise PilotageError(
                f"the journal of run {self.run.id} jumps from event {self.seq} to {event.seq}"
            )
        if event.kind in PAUSES and (event.kind is Kind.TAKEN or self._idle()):
            self.deadline += event.at - self.at
        self.seq, self.at = event.seq, event.at
        if event.kind in _OF_A_STEP:
            assert event.step is not None
            step = _OF_A_STEP[event.kind](self.steps[event.step], event)
            self._put(event.step, step)
        elif event.kind is Kind.TAKEN:
            self.changes["owner"] = event.body["owner"]
            for name in self.frontier:
                self._interrupt(name)
        elif event.kind is Kind.STOPPING:
            self.changes["stopping"] = Outcome(event.body["outcome"])
            self.changes["why"] = event.body.get("why", "")
        elif event.kind is Kind.ENDED:
            self.changes["outcome"] = Outcome(event.body["outcome"])
        elif event.kind is Kind.RESUMED:
            self._reopen([event.step] if event.step is not None else list(self.steps))

    def _idle(self) -> bool:
        states = {self.steps[name].state for name in self.frontier}
        return states <= {StepState.WAITING}

    def _put(self, name: str, step: StepRun) -> None:
        ended = step.state is StepState.ENDED and self.steps[name].state is not StepState.ENDED
        self.steps[name] = step
        if ended:
            if self.frontier is self.run.frontier:
                self.frontier, self.unmet = dict(self.frontier), dict(self.unmet)
            self.frontier.pop(name, None)
            for dependent in self.plan.dependents[name]:
                self.unmet[dependent] -= 1
                if not self.unmet[dependent]:
                    self.frontier[dependent] = None

    def _interrupt(self, name: str) -> None:
        step = self.steps[name]
        if step.state is StepState.RUNNING:
            self.steps[name] = replace(
                step,
                state=StepState.INTERRUPTED,
                interruptions=step.interruptions + 1,
                spared=step.spared + 1,
            )

    def _reopen(self, names: Sequence[str]) -> None:
        """What of these did not end well is done again; what was cut off has no new retries."""
        for name in names:
            step = self.steps[name]
            again = step.state is StepState.ENDED and not step.well
            if again or step.state is StepState.WAITING:
                self.steps[name] = replace(
                    _PENDING,
                    attempt=step.attempt,
                    spared=step.spared if step.outcome is None else step.attempt,
                )
        self.changes.update(outcome=None, stopping=None, why="")
        self.unmet = {
            name: sum(self.steps[need].state is not StepState.ENDED for need in step.needs)
            for name, step in self.plan.steps.items()
        }
        self.frontier = {
            name: None
            for name, count in self.unmet.items()
            if not count and self.steps[name].state is not StepState.ENDED
        }


def _started(step: StepRun, event: Event) -> StepRun:
    return StepRun(
        state=StepState.RUNNING,
        attempt=step.attempt + 1,
        spared=step.spared,
        interruptions=step.interruptions,
        began=event.at,
        idempotent=event.body["idempotent"],
    )


def _finished(step: StepRun, event: Event) -> StepRun:
    body = event.body
    outcome = Outcome(body["outcome"])
    good = outcome is Outcome.SUCCEEDED
    return replace(
        step,
        state=StepState.ENDED if good else StepState.TRIED,
        outcome=outcome,
        well=good,
        ended=event.at,
        value=body.get("value", {}),
        error=body.get("error", ""),
        hint=body.get("hint", ""),
        retry=body.get("retry", True),
    )


def _closed(step: StepRun, event: Event) -> StepRun:
    outcome = Outcome(event.body["outcome"])
    why = event.body.get("why", "")
    return replace(
        step, state=StepState.ENDED, outcome=outcome, well=event.body["well"], why=why,
        ended=step.ended or event.at,
    )  # fmt: skip


def _skipped(step: StepRun, event: Event) -> StepRun:
    return replace(
        step, state=StepState.ENDED, outcome=Outcome.SKIPPED, why=event.body["why"], ended=event.at
    )


def _parked(step: StepRun, event: Event) -> StepRun:
    return replace(step, state=StepState.WAITING, why=event.body["why"])


def _judged(step: StepRun, event: Event) -> StepRun:
    """A person took the step as it is (approved: what needs it may start) or gave it up."""
    by, reason = event.body["by"], event.body.get("reason", "")
    why = f"{event.kind} by {by}" + (f": {reason}" if reason else "")
    return replace(
        step,
        state=StepState.ENDED,
        outcome=step.outcome or Outcome.FAILED,
        well=event.kind is Kind.APPROVED,
        why=why,
        ended=step.ended or event.at,
    )


_OF_A_STEP: Mapping[Kind, Callable[[StepRun, Event], StepRun]] = {
    Kind.STARTED: _started,
    Kind.FINISHED: _finished,
    Kind.CLOSED: _closed,
    Kind.SKIPPED: _skipped,
    Kind.PARKED: _parked,
    Kind.APPROVED: _judged,
    Kind.REJECTED: _judged,
}


def read(run: str, events: Iterable[Event], plan_of: Callable[[Event], Plan]) -> tuple[Plan, Run]:
    """A whole journal from its first event."""
    following = iter(events)
    first = next(following, None)
    if first is None:
        raise PilotageError(f"run {run} has no journal")
    plan = plan_of(first)
    return plan, fold(plan, opened(run, first, plan), list(following))
