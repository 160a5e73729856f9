"""One execution of a pipeline. A run is its journal; `Run` is what the journal adds up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pilotage.domain.call import Outcome, Principal


class RunState(StrEnum):
    """Where a run stands, apart from how it ended. Waiting: nothing moves until a person says."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    ENDED = "ended"


class StepState(StrEnum):
    """Interrupted: its owner died while it ran. Tried: an attempt ended without success and
    nothing is decided yet. Waiting: a person decides."""

    PENDING = "pending"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    TRIED = "tried"
    WAITING = "waiting"
    ENDED = "ended"


class Kind(StrEnum):
    """What can happen to a run. The first line concerns the run, the second one step, the last
    is what a person (or a tool's progress) said."""

    CREATED, TAKEN, STOPPING, ENDED = "created", "taken", "stopping", "ended"
    STARTED, FINISHED, CLOSED, SKIPPED, PARKED = (
        *("started", "finished", "closed", "skipped", "parked"),
    )
    APPROVED, REJECTED, RESUMED, SAID = "approved", "rejected", "resumed", "said"


@dataclass(frozen=True, slots=True)
class Event:
    """One row of a journal: number `seq` of its run, at `at` (Unix microseconds)."""

    seq: int
    at: int
    kind: Kind
    step: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepRun:
    """A step's execution. `attempt` counts from 1; `spared` of them do not count as retries.

    `well`: what needs this step may start. `began` and `ended` are Unix microseconds of the last
    attempt. `retry`: another attempt may help (a denial never gets better). `approval` is the id of
    what a person must approve before it may run.
    """

    state: StepState = StepState.PENDING
    outcome: Outcome | None = None
    attempt: int = 0
    spared: int = 0
    interruptions: int = 0
    began: int = 0
    ended: int = 0
    value: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    hint: str = ""
    why: str = ""
    idempotent: bool = False
    retry: bool = True
    well: bool = False
    approval: str = ""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a run was started with, and when (Unix microseconds). `by` is who its steps act as;
    `github`, `env` and `inputs` are what expressions read."""

    pipeline: str
    by: Principal
    inputs: Mapping[str, Any]
    github: Mapping[str, Any]
    env: Mapping[str, str]
    at: int


@dataclass(frozen=True, slots=True)
class Run:
    """Where a run stands after event number `seq`, which was at `at`.

    `frontier` names, in order, the steps whose needs have all ended and which have not ended
    themselves; `unmet` counts the needs of each other step that have not. At `deadline` (Unix
    microseconds) its time is over; time in which nobody drives it, or a person is waited for, does
    not count.
    """

    id: str
    beginning: Beginning
    seq: int
    at: int
    deadline: int
    steps: Mapping[str, StepRun]
    frontier: Mapping[str, None]
    unmet: Mapping[str, int]
    owner: str | None = None
    stopping: Outcome | None = None
    outcome: Outcome | None = None
    why: str = ""

    @property
    def state(self) -> RunState:
        if self.outcome is not None:
            return RunState.ENDED
        if self.owner is None:
            return RunState.QUEUED
        states = {self.steps[name].state for name in self.frontier}
        return RunState.WAITING if states == {StepState.WAITING} else RunState.RUNNING

    @property
    def waiting(self) -> tuple[str, ...]:
        """The steps that a person must decide about."""
        return tuple(n for n in self.frontier if self.steps[n].state is StepState.WAITING)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A line of the list of runs. Times are Unix microseconds."""

    id: str
    pipeline: str
    principal: str
    created: int
    changed: int
    state: RunState
    outcome: Outcome | None
