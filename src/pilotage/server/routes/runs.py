"""Runs of pipelines: start, look at, and say what a person has to."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from pilotage.app import App
from pilotage.domain.call import Principal, ToolCall
from pilotage.domain.errors import BadInput, Busy
from pilotage.domain.ids import new_id
from pilotage.domain.pipeline import Pipeline, Problem
from pilotage.domain.run import RunState, RunSummary
from pilotage.pipeline import lint, load, told
from pilotage.pipeline.prepare import Given, github
from pilotage.pipeline.tell import problem_line
from pilotage.server.http import Detailed
from pilotage.server.routes.permission import may, speaker
from pilotage.store.runs import Wanted
from pilotage.tool.answer import answer

START, LINT = "run_start", "pipeline_lint"
KEY = r"^[\x21-\x7e][\x20-\x7e]{0,254}$"
Limit = Annotated[int, Query(ge=1, le=1000)]
Refusals = dict[int | str, dict[str, Any]]


class Start(BaseModel):
    """A pipeline file as text (YAML) or as an object, and what its run is given: `inputs` for its
    inputs, `context` for `${{ github.* }}`, `environment` for `${{ env.* }}` (only the names that
    it reads are kept). `timeout` in seconds can only shorten the server's own."""

    model_config = ConfigDict(extra="forbid")
    pipeline: str | dict[str, Any]
    inputs: dict[str, Any] = Field(default_factory=dict)
    context: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    timeout: float | None = Field(default=None, gt=0, le=86_400)


class Lint(BaseModel):
    """A pipeline file as text (YAML) or as an object."""

    model_config = ConfigDict(extra="forbid")
    pipeline: str | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`valid`: it could be started here and now. `problems` are warnings then."""

    valid: bool
    problems: list[Problem]


class Said(BaseModel):
    """Why, kept with the run and in the audit; which step, where more than one waits."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(default="", max_length=2_000)
    step: str | None = None


@dataclass(frozen=True, slots=True)
class RunList:
    """The newest first; `next` pages back as `before`, null at the end. Times are Unix
    microseconds."""

    runs: list[RunSummary]
    next: str | None


@dataclass(frozen=True, slots=True)
class StepView:
    """`well`: what needs it may start. `seconds` of its last attempt. `error`, `hint` and `why` are
    there where they say something, `approval` where a person must approve its call."""

    name: str
    tool: str
    state: str
    outcome: str | None
    well: bool
    attempt: int
    seconds: float
    outputs: dict[str, Any]
    error: str | None = None
    hint: str | None = None
    why: str | None = None
    approval: str | None = None


@dataclass(frozen=True, slots=True)
class RunView:
    """How a run stands after event `seq`. `success` and `outcome` are null until it has ended;
    `waiting` names the steps that a person decides about, `error` and `why` say what is wrong,
    `hint` the mend. `process` drives it now, null where none does. `results` of the steps stand
    there if asked for, `warnings` of lint where the run was started.
    """

    run: str
    pipeline: str
    state: RunState
    success: bool | None
    outcome: str | None
    principal: str
    created: int
    changed: int
    seq: int
    process: int | None
    why: str
    steps: list[StepView]
    variables: dict[str, str]
    inputs: dict[str, Any]
    github: dict[str, Any]
    plan: dict[str, Any]
    waiting: list[str] | None = None
    error: str | None = None
    hint: str | None = None
    results: dict[str, Any] | None = None
    warnings: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that says no. `problems` are all that lint has found."""

    success: bool
    error: str
    hint: str | None = None
    problems: list[dict[str, Any]] | None = None


def refusals(*more: int) -> Refusals:
    """The answers that say no, for the description of a route."""
    why = {
        400: "the arguments do not fit", 401: "no valid key", 403: "the policy says no",
        404: "there is no such run, or it is not yours to see", 409: "it has moved on",
        422: "lint names all that is wrong with the pipeline", 429: "a limit or a queue is full",
    }  # fmt: skip
    return {code: {"model": Refusal, "description": why[code]} for code in (401, 403, *more)}


def view(app: App, run: str, *, results: bool = False) -> dict[str, Any]:
    """How a run stands now (a RunView), without known secrets."""
    plan, stands = app.runs.show(run)
    body = {
        **answer(told.result(plan, stands)),
        **told.beside(plan, stands, results=results),
        "process": app.runs.owner(run),
    }
    shown: dict[str, Any] = app.redactor.result(body)
    return shown


def add(api: FastAPI, app: App) -> None:
    _add_start(api, app)
    _add_lint(api, app)
    _add_looks(api, app)
    for verb, summary in VERBS.items():
        _add_verb(api, app, verb, summary)


def _add_start(api: FastAPI, app: App) -> None:
    @api.post(
        "/api/v2/runs",
        operation_id="start_run",
        tags=["runs"],
        status_code=201,
        response_model=None,
        responses={201: {"model": RunView}, **refusals(400, 409, 422, 429)},
        dependencies=[may(app, "runs:write")],
    )
    async def start_run(
        body: Start,
        request: Request,
        response: Response,
        key: Annotated[str | None, Header(alias="Idempotency-Key", pattern=KEY)] = None,
    ) -> dict[str, Any]:
        """Start a run; it goes on whether or not the client stays. The same Idempotency-Key of the
        same principal is the same run again; with another pipeline or other inputs it is a 409."""
        by = speaker(app, request)
        _let_in(app, by, LINT if app.run_access.started(by, key) else START)
        # Beside the event loop, since who sends a long one should hold up nobody else.
        pipeline, warnings = await asyncio.to_thread(_pipeline, app, body.pipeline)
        given = Given(body.inputs, github(body.context), body.environment, key, body.timeout)
        run = await app.run_access.start(pipeline, given, by)
        response.headers["Location"] = f"/api/v2/runs/{run}"
        return {**view(app, run), "warnings": warnings}


def _add_lint(api: FastAPI, app: App) -> None:
    @api.post(
        "/api/v2/pipelines/lint",
        operation_id="lint_pipeline",
        tags=["runs"],
        responses=refusals(400, 429),
        dependencies=[may(app, "runs:write")],
    )
    async def lint_pipeline(body: Lint, request: Request) -> Verdict:
        """What is wrong with a pipeline, and whether it could be started here and now. Nothing
        runs."""
        _let_in(app, speaker(app, request), LINT)
        return await asyncio.to_thread(_linted, app, body.pipeline)


def _add_looks(api: FastAPI, app: App) -> None:
    access = app.run_access

    @api.get("/api/v2/runs", operation_id="list_runs", tags=["runs"], responses=refusals(400))
    def list_runs(
        request: Request,
        limit: Limit = 100,
        before: str | None = None,
        state: RunState | None = None,
        pipeline: str | None = None,
        principal: str | None = None,
        begins: Annotated[str | None, Query(description="how the id begins")] = None,
        key: Annotated[str | None, Query(description="one's own run under this key")] = None,
    ) -> RunList:
        """Runs, the newest first: all with runs:read, else those that who asks has started. With
        `key`, the one that they have started under this Idempotency-Key, whatever else is asked."""
        by = speaker(app, request)
        if key is not None:
            return RunList(access.under(by, key), None)
        wanted = Wanted(pipeline, principal, begins.upper() if begins else None)
        found = access.listed(by, limit, before, state, wanted)
        return RunList(found, found[-1].id if len(found) == limit else None)

    @api.get(
        "/api/v2/runs/{run}",
        operation_id="get_run",
        tags=["runs"],
        response_model=None,
        responses={200: {"model": RunView}, **refusals(404)},
    )
    def one_run(run: str, request: Request, results: bool = False) -> dict[str, Any]:
        """How a run stands: its plan, its steps, what it waits for and why; with `results=true`,
        what its steps have answered."""
        access.seen(run, speaker(app, request))
        return view(app, run, results=results)


VERBS = {
    "cancel": "End it: what runs is stopped with all its processes, what has not begun is skipped.",
    "approve": "Take a step that waits as it is: what needs it may start.",
    "reject": "Give a step that waits up: what needs it does not run, and the run fails.",
    "resume": "Go on from where it stopped: what failed, was skipped or waits is tried again.",
}


def _add_verb(api: FastAPI, app: App, verb: str, summary: str) -> None:
    @api.post(
        f"/api/v2/runs/{{run}}/{verb}",
        tags=["runs"],
        operation_id=f"{verb}_run",
        name=f"{verb} run",
        description=summary,
        response_model=None,
        responses={200: {"model": RunView}, **refusals(400, 404, 409)},
    )
    async def say(run: str, request: Request, body: Said | None = None) -> dict[str, Any]:
        said, by = body or Said(), speaker(app, request)
        app.run_access.spoken_to(run, by, verb)
        if verb == "cancel":
            if said.step is not None:
                raise BadInput("a run is cancelled whole", "leave `step` out")
            after = await app.runs.cancel(run, by, said.reason)
        else:
            after = await getattr(app.runs, verb)(run, by, said.step, said.reason)
        # What follows may have happened already: `seq` is where to listen from.
        return {**view(app, run), "seq": after.seq}


def _let_in(app: App, by: Principal, tool: str) -> None:
    """A run that is started here counts as a call of the tool that starts one, or its steps would
    be calls that no limit of the key has ever met. What is only linted counts as pipeline_lint, and
    so does the same start again, which starts nothing."""
    try:
        app.fair.limits.admit(ToolCall(new_id(), tool, {}, by, "rest"))
    except Busy as busy:
        app.audit.refuse(new_id(), tool, by.name, "rest", busy.what)
        raise


def _linted(app: App, given: str | dict[str, Any]) -> Verdict:
    linted = lint.lint(load.given(given), app.runs.tools)
    try:
        lint.runnable(linted, app.runs.tools)
    except lint.NotRunnable as error:
        return Verdict(False, list(error.problems))
    return Verdict(True, list(linted.problems))


def _pipeline(app: App, given: str | dict[str, Any]) -> tuple[Pipeline, list[str]]:
    """Linted against the tools of here, with what else lint has to say. A tool that is not here
    is an error at this door."""
    linted = lint.lint(load.given(given), app.runs.tools)
    try:
        pipeline = lint.runnable(linted, app.runs.tools)
    except lint.NotRunnable as error:
        problems = [asdict(problem) for problem in error.problems]
        raise Detailed(error.status, error.what, error.hint, {"problems": problems}) from None
    return pipeline, [problem_line(each) for each in linted.problems]
