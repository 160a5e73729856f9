"""Runs of pipelines as tools: start one, look at it by small pages, say what a person has to.

pipeline_orchestrator waits for the end; these answer at once, with ids that stay.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from pilotage.domain.call import Effect, Principal
from pilotage.domain.errors import BadInput, Denied
from pilotage.domain.pipeline import Pipeline
from pilotage.domain.run import RunState
from pilotage.pipeline import lint, load
from pilotage.pipeline.access import WRITE, RunAccess
from pilotage.pipeline.catalogue import Catalogue
from pilotage.pipeline.prepare import Given, github
from pilotage.pipeline.tell import Teller, problem_line
from pilotage.store.runs import Wanted
from pilotage.tool.tool import Call, tool

PROBLEMS = 20
TEXT = 500
State = Literal["", "queued", "running", "waiting", "ended"]


@dataclass(frozen=True, slots=True)
class StepLine:
    """`state` is pending, running, waiting or ended; `why` says what is wrong, if anything is."""

    name: str
    state: str
    outcome: str | None
    why: str


@dataclass(frozen=True, slots=True)
class RunStatus:
    """`state` is queued, running, waiting (for a person, in the steps `waiting`) or ended; then
    `outcome` says how. `seq` numbers its last event: run_logs goes on after it."""

    run: str
    pipeline: str
    state: str
    outcome: str | None
    seq: int
    waiting: list[str]
    why: str
    steps: list[StepLine]
    hint: str = ""


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run of the list."""

    run: str
    pipeline: str
    state: str
    outcome: str | None
    principal: str


@dataclass(frozen=True, slots=True)
class RunPage:
    """The newest first; `next` pages back as `before`, null at the end."""

    runs: list[RunLine]
    next: str | None


@dataclass(frozen=True, slots=True)
class LogLine:
    seq: int
    step: str | None
    line: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """In order. `next` pages on as `after`, null where there is no more yet."""

    lines: list[LogLine] = field(default_factory=list)
    next: int | None = None


@tool(Effect.WRITE, idempotent=True)
async def run_start(
    pipeline: str | dict[str, Any],
    inputs: dict[str, Any] = {},  # noqa: B006
    context: dict[str, Any] = {},  # noqa: B006
    key: str = "",
    *,
    access: RunAccess,
    here: Call,
) -> RunStatus:
    """Start a run of a pipeline and answer at once; run_status says how it stands.

    `pipeline` is a pipeline file as text (YAML) or as an object, `inputs` are for its inputs,
    `context` is what `${{ github.* }}` reads. The same `key` is the same run again.
    """
    _refuse_steps(here)
    access.check(here.call.by, WRITE)
    # Beside the event loop, since who sends a long one should hold up nobody else.
    made = await asyncio.to_thread(_linted, pipeline, access.runs.tools)
    given = Given(inputs, github(context), {}, key or here.call.idempotency_key)
    return _status(access, await access.start(made, given, here.call.by))


@tool(Effect.READ, idempotent=True)
async def run_list(
    state: State = "",
    pipeline: str = "",
    limit: int = 20,
    before: str = "",
    *,
    access: RunAccess,
    here: Call,
) -> RunPage:
    """List runs that are yours to see, the newest first."""
    limit = min(max(limit, 1), 100)
    wanted = Wanted(pipeline or None)
    which = RunState(state) if state else None
    found = access.listed(here.call.by, limit, before or None, which, wanted)
    lines = [RunLine(r.id, r.pipeline, r.state, r.outcome, r.principal) for r in found]
    return RunPage(lines, found[-1].id if len(found) == limit else None)


@tool(Effect.READ, idempotent=True)
async def run_status(run: str, *, access: RunAccess, here: Call) -> RunStatus:
    """How a run stands: its state, how each step ended, what it waits for, and the mend."""
    access.seen(run, here.call.by)
    return _status(access, run)


@tool(Effect.READ, idempotent=True)
async def run_logs(
    run: str,
    after: int = -1,
    limit: int = 50,
    step: str = "",
    tail: bool = False,
    *,
    access: RunAccess,
    here: Call,
) -> LogPage:
    """What happened in a run, in words, by the page.

    A page has at most `limit` events after number `after`; with `tail`, the last ones. `step`
    narrows it to one.
    """
    access.seen(run, here.call.by)
    limit, only, runs = min(max(limit, 1), 200), step or None, access.runs
    events = runs.tail(run, limit, only) if tail else runs.page(run, after, limit, only)
    if not events:
        return LogPage()
    teller = Teller()
    for begun in runs.begun(run, events[0].seq - 1):
        teller.lines(begun)
    lines = [LogLine(e.seq, e.step, line[:TEXT]) for e in events for line in teller.lines(e)]
    return LogPage(lines, events[-1].seq if not tail and len(events) == limit else None)


@tool(Effect.WRITE)
async def run_cancel(run: str, reason: str = "", *, access: RunAccess, here: Call) -> RunStatus:
    """End a run: what runs is stopped with all its processes, what has not begun is skipped."""
    by = _speaker(access, run, here, "cancel")
    await access.runs.cancel(run, by, reason)
    return _status(access, run)


@tool(Effect.WRITE)
async def run_approve(
    run: str, step: str = "", reason: str = "", *, access: RunAccess, here: Call
) -> RunStatus:
    """Take a step that waits for a person as it is, so that what needs it may start."""
    by = _speaker(access, run, here, "approve")
    await access.runs.approve(run, by, step or None, reason)
    return _status(access, run)


@tool(Effect.WRITE)
async def run_reject(
    run: str, step: str = "", reason: str = "", *, access: RunAccess, here: Call
) -> RunStatus:
    """Give a step that waits for a person up: what needs it does not run, and the run fails."""
    by = _speaker(access, run, here, "reject")
    await access.runs.reject(run, by, step or None, reason)
    return _status(access, run)


@tool(Effect.WRITE)
async def run_resume(
    run: str, step: str = "", reason: str = "", *, access: RunAccess, here: Call
) -> RunStatus:
    """Go on with a run from where it stopped: what failed, was skipped or waits is tried again."""
    by = _speaker(access, run, here, "resume")
    await access.runs.resume(run, by, step or None, reason)
    return _status(access, run)


def _linted(pipeline: str | dict[str, Any], tools: Catalogue) -> Pipeline:
    """BadInput names what is wrong with it, the first of it."""
    try:
        return lint.runnable(lint.lint(load.given(pipeline), tools), tools)
    except lint.NotRunnable as error:
        lines = [problem_line(each) for each in error.problems[:PROBLEMS]]
        raise BadInput("\n".join(lines), "mend each of these") from None


def _speaker(access: RunAccess, run: str, here: Call, verb: str) -> Principal:
    _refuse_steps(here)
    access.spoken_to(run, here.call.by, verb)
    return here.call.by


def _refuse_steps(here: Call) -> None:
    """A pipeline must not start pipelines without end, nor approve itself."""
    if here.call.run is not None:
        raise Denied(f"a step of a pipeline may not call {here.call.tool}", "leave it to a person")


def _status(access: RunAccess, run: str) -> RunStatus:
    plan, stands = access.runs.show(run)
    hint = ""
    if stands.waiting:
        hint = "run_approve takes a step that waits as it is, run_resume tries it again, "
        hint += "run_reject gives it up"
    return RunStatus(
        run,
        plan.pipeline.name,
        stands.state.value,
        stands.outcome.value if stands.outcome is not None else None,
        stands.seq,
        list(stands.waiting),
        stands.why,
        [
            StepLine(
                name,
                step.state.value,
                step.outcome.value if step.outcome is not None else None,
                (step.error or step.why)[:TEXT],
            )
            for name, step in stands.steps.items()
        ],
        hint,
    )
