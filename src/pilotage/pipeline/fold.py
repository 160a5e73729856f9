"""What a journal adds up to: (plan, run, events) -> run. Pure; reading a journal runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from pilotage.domain.call import Outcome, Principal
from pilotage.domain.errors import PilotageError
from pilotage.domain.run import Beginning, Event, Kind, Run, StepRun, StepState
from pilotage.pipeline.plan import Plan

_PENDING = StepRun()
PAUSES = {Kind.TAKEN, Kind.APPROVED, Kind.REJECTED, Kind.RESUMED}


def opened(run: str, event: Event, plan: Plan) -> Run:
    """The run as its first event made it."""
    if event.kind is not Kind.CREATED or event.seq != 0:
        raise PilotageError(f"the journal of run {run} does not begin with its creation")
    body = event.body
    by = msgspec.convert(body["by"], Principal)
    name = plan.pipeline.name
    return Run(
        id=run,
        beginning=Beginning(name, by, body["inputs"], body["github"], body["env"], event.at),
        seq=0,
        at=event.at,
        deadline=event.at + int(body["timeout"] * 1e6),
        steps=dict.fromkeys(plan.steps, _PENDING),
        frontier={name: None for name, step in plan.steps.items() if not step.needs},
        unmet={name: len(step.needs) for name, step in plan.steps.items()},
    )


def fold(plan: Plan, run: Run, events: Sequence[Event]) -> Run:
    """The run after these events, which must follow its last one without a gap."""
    draft = Draft(plan, run)
    for event in events:
        draft.apply(event)
    return draft.run()


class Draft:
    """A run that events are added to: one copy of its tables for all of them."""

    def __init__(self, plan: Plan, run: Run) -> None:
        self.plan, self.start = plan, run
        self.steps = dict(run.steps)
        self.frontier: dict[str, None] = run.frontier  # type: ignore[assignment]
        self.unmet: dict[str, int] = run.unmet  # type: ignore[assignment]
        self.seq, self.at, self.deadline = run.seq, run.at, run.deadline
        self.owner, self.stopping = run.owner, run.stopping
        self.outcome, self.why = run.outcome, run.why

    def run(self) -> Run:
        """Where it stands now. Of several asked of one draft, only the last stays as it is."""
        return Run(
            self.start.id, self.start.beginning, self.seq, self.at, self.deadline, self.steps,
            self.frontier, self.unmet, self.owner, self.stopping, self.outcome, self.why,
        )  # fmt: skip

    def apply(self, event: Event) -> None:
        if event.seq != self.seq + 1:
            raise PilotageError(
                f"the journal of run {self.start.id} jumps from event {self.seq} to {event.seq}"
            )
        if event.kind in PAUSES and (event.kind is Kind.TAKEN or self._idle()):
            self.deadline += event.at - self.at
        self.seq, self.at = event.seq, event.at
        if event.kind in _OF_A_STEP:
            assert event.step is not None
            step = _OF_A_STEP[event.kind](self.steps[event.step], event)
            self._put(event.step, step)
        elif event.kind is Kind.TAKEN:
            self.owner = event.body["owner"]
            for name in self.frontier:
                self._interrupt(name)
        elif event.kind is Kind.STOPPING:
            self.stopping = Outcome(event.body["outcome"])
            self.why = event.body.get("why", "")
        elif event.kind is Kind.ENDED:
            self.outcome = Outcome(event.body["outcome"])
        elif event.kind is Kind.RESUMED:
            self._reopen([event.step] if event.step is not None else list(self.steps))

    def _idle(self) -> bool:
        states = {self.steps[name].state for name in self.frontier}
        return states <= {StepState.WAITING}

    def _put(self, name: str, step: StepRun) -> None:
        ended = step.state is StepState.ENDED and self.steps[name].state is not StepState.ENDED
        self.steps[name] = step
        if ended:
            if self.frontier is self.start.frontier:
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
        self.outcome, self.stopping, self.why = None, None, ""
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
        approval=body.get("approval", ""),
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
