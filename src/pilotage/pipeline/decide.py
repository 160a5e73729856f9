"""What a run does next: (plan, run, now) -> Move. Pure: the whole logic of a pipeline is here.

Nothing depends on timing: whatever order steps end in, whichever of them a crash cuts off, the
run ends the same. So a failed step stops what needs it, and independent branches go on.
"""

from __future__ import annotations

from dataclasses import dataclass

from pilotage.domain.call import Outcome
from pilotage.domain.pipeline import OnFailure, Step
from pilotage.domain.run import Run, StepRun, StepState
from pilotage.pipeline.plan import Plan

PARALLEL = 256
"""Steps of one run that run at once, at most."""
INTERRUPTIONS = 3
"""A step that was cut off this often may be what kills its owner: a person decides."""


@dataclass(frozen=True, slots=True)
class Closing:
    """A step that ends as it is."""

    step: str
    outcome: Outcome
    well: bool
    why: str


@dataclass(frozen=True, slots=True)
class Move:
    """Steps to start, close, skip, park (with why) and cancel now. `due` (Unix microseconds) is
    when to ask again though nothing happened. `stop`: the run's time is over. `end`: so it ended.
    """

    start: tuple[str, ...] = ()
    close: tuple[Closing, ...] = ()
    skip: tuple[tuple[str, str], ...] = ()
    park: tuple[tuple[str, str], ...] = ()
    cancel: tuple[str, ...] = ()
    due: int | None = None
    stop: bool = False
    end: Outcome | None = None


def decide(plan: Plan, run: Run, now: int) -> Move:
    """`now` in Unix microseconds. A move that changes nothing holds at most `due`."""
    if run.outcome is not None:
        return Move()
    if not run.frontier:
        return Move(end=_outcome(plan, run))
    if run.stopping is None and now >= run.deadline and not _all_wait(run):
        return Move(stop=True)
    draft = _Draft(plan, run, now)
    for name in run.frontier:
        draft.consider(name)
    return draft.move()


class _Draft:
    def __init__(self, plan: Plan, run: Run, now: int) -> None:
        self.plan, self.run, self.now = plan, run, now
        self.start: list[str] = []
        self.close: list[Closing] = []
        self.skip: list[tuple[str, str]] = []
        self.park: list[tuple[str, str]] = []
        self.cancel: list[str] = []
        self.due: list[int] = []
        running = sum(run.steps[name].state is StepState.RUNNING for name in run.frontier)
        self.room = PARALLEL - running
        if running and run.stopping is None:
            self.due.append(run.deadline)

    def move(self) -> Move:
        due = min(self.due, default=None)
        return Move(
            tuple(self.start[: max(self.room, 0)]), tuple(self.close), tuple(self.skip),
            tuple(self.park), tuple(self.cancel), due,
        )  # fmt: skip

    def consider(self, name: str) -> None:
        step, state = self.plan.steps[name], self.run.steps[name]
        if self.run.stopping is not None:
            self._wind_up(name, state, self.run.stopping)
        elif state.state is StepState.PENDING:
            self._begin(step)
        elif state.state is StepState.INTERRUPTED:
            self._again(name, state)
        elif state.state is StepState.TRIED:
            self._after(step, state)

    def _wind_up(self, name: str, state: StepRun, stopping: Outcome) -> None:
        if state.state is StepState.PENDING:
            self.skip.append((name, f"the run {_said(stopping)}"))
        elif state.state is StepState.RUNNING:
            self.cancel.append(name)
        else:
            outcome = state.outcome or stopping
            self.close.append(Closing(name, outcome, False, f"the run {_said(stopping)}"))

    def _begin(self, step: Step) -> None:
        bad = [need for need in step.needs if not self.run.steps[need].well]
        if bad:
            ends = ", ".join(f"{need} {_said(self.run.steps[need].outcome)}" for need in bad)
            self.skip.append((step.name, ends))
        else:
            self.start.append(step.name)

    def _again(self, name: str, state: StepRun) -> None:
        if state.interruptions >= INTERRUPTIONS:
            why = f"it was cut off {state.interruptions} times: it may be what kills the process"
            self.park.append((name, why))
        elif state.idempotent:
            self.start.append(name)
        else:
            self.park.append((name, "it was cut off, and running it again may do harm"))

    def _after(self, step: Step, state: StepRun) -> None:
        assert state.outcome is not None
        if state.approval:
            self.park.append((step.name, f"{state.error}: {state.hint}"))
            return
        retries = state.attempt - state.spared - 1
        if state.retry and retries < (step.retry_count or 0):
            due = state.ended + int(step.retry_delay * 1e6)
            if due <= self.now:
                self.start.append(step.name)
            else:
                self.due += [due, self.run.deadline]
        elif step.on_failure is OnFailure.MANUAL:
            self.park.append((step.name, f"it {_said(state.outcome)}: {state.error}"))
        else:
            well = step.on_failure is OnFailure.CONTINUE
            why = "on_failure: continue" if well else ""
            self.close.append(Closing(step.name, state.outcome, well, why))


def _outcome(plan: Plan, run: Run) -> Outcome:
    """Succeeded only where every step ended well and the run was left to end by itself."""
    if run.stopping is not None:
        return run.stopping
    well = all(run.steps[name].well for name in plan.steps)
    return Outcome.SUCCEEDED if well else Outcome.FAILED


def _all_wait(run: Run) -> bool:
    return all(run.steps[name].state is StepState.WAITING for name in run.frontier)


_SAID = {
    Outcome.SUCCEEDED: "succeeded",
    Outcome.FAILED: "failed",
    Outcome.DENIED: "was denied",
    Outcome.UNAVAILABLE: "was unavailable",
    Outcome.SKIPPED: "was skipped",
    Outcome.CANCELLED: "was cancelled",
    Outcome.TIMED_OUT: "timed out",
}


def _said(outcome: Outcome | None) -> str:
    """What follows "the step": a step that is given up without an outcome has failed."""
    return _SAID[outcome or Outcome.FAILED]
