"""Run a pipeline. Takes a pipeline file as JSON, beside what a run is given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pilotage.domain.call import Effect, Outcome, ToolResult
from pilotage.domain.run import Run, RunState, StepRun
from pilotage.domain.text import visible
from pilotage.pipeline import lint
from pilotage.pipeline.load import Document
from pilotage.pipeline.plan import Plan
from pilotage.pipeline.prepare import Given
from pilotage.pipeline.runs import Runs
from pilotage.pipeline.tell import Teller, problem_line
from pilotage.pipeline.values import text
from pilotage.tool.tool import Call, tool

LONGEST = 30 * 86_400.0
"""A pipeline has a limit of its own (mcp.pipeline.timeout), which does not count waiting."""
TEXT_LIMIT = 1_000
FINDINGS = 100
_FINDING = {"rule", "severity", "location"}


@tool(Effect.WRITE, idempotent=True, open=True, timeout=LONGEST)
async def pipeline_orchestrator(
    name: str,
    steps: list[dict[str, Any]],
    description: str = "",
    inputs: dict[str, Any] = {},  # noqa: B006
    env: dict[str, Any] = {},  # noqa: B006
    context: dict[str, Any] = {},  # noqa: B006
    values: dict[str, Any] = {},  # noqa: B006
    environment: dict[str, str] = {},  # noqa: B006
    *,
    runs: Runs,
    here: Call,
) -> ToolResult:
    """Run a pipeline of tool calls to its end, or until it waits for a person.

    `name`, `description`, `inputs`, `env` and `steps` are those of a pipeline file. `values` are
    for its inputs, `context` is what `${{ github.* }}` reads, `environment` what `${{ env.* }}`
    reads. The same idempotency key is the same run: a caller that was cut off attaches again.

    The answer names the run, its state and each step. `variables` are texts: what a step's result
    holds under `variables`, and `STEP_FIELD` for each plain field of it. `artifacts` are those of
    the steps' results.
    """
    value: dict[str, Any] = {"name": name, "steps": steps, "description": description}
    value |= {"inputs": inputs, "env": env}
    linted = lint.lint(Document(value), runs.tools)
    pipeline = lint.checked(linted)
    given = Given(values, _github(context), environment, here.call.idempotency_key)
    run = await runs.start(pipeline, given, here.call.by)
    here.tell(f"run {run}", 0, len(steps))
    teller = Teller(len(steps))
    async for event in runs.events(run, settled=True):
        for line in teller.lines(event):
            here.tell(line, teller.done, teller.total)
    return result(*runs.show(run), [problem_line(each) for each in linted.problems])


def result(plan: Plan, run: Run, warnings: Sequence[str] = ()) -> ToolResult:
    """How the run stands."""
    answer: dict[str, Any] = {
        "run": run.id,
        "pipeline": run.beginning.pipeline,
        "state": run.state.value,
        "steps": [_step(plan, name, step) for name, step in run.steps.items()],
        "variables": dict(_variables(run)),
        "artifacts": [
            {"name": str(one["name"]), "file_path": str(one["file_path"])}
            for step in run.steps.values()
            for one in _listed(step.value, "artifacts", {"name", "file_path"})
        ],
        "findings": [
            one for step in run.steps.values() for one in _listed(step.value, "findings", _FINDING)
        ][:FINDINGS],
    }
    if warnings:
        answer["warnings"] = list(warnings)
    if run.state is RunState.WAITING:
        whys = "; ".join(f"{name}: {run.steps[name].why}" for name in run.waiting)
        hint = (
            f"pilotage runs approve {run.id} takes it as it is and goes on, resume tries it again, "
            "reject gives it up"
        )
        answer["waiting"] = list(run.waiting)
        return ToolResult(Outcome.FAILED, answer, f"waits for a person: {whys}", hint)
    if run.outcome is Outcome.SUCCEEDED:
        return ToolResult(Outcome.SUCCEEDED, answer)
    whys = run.why or "; ".join(
        f"{name}: {step.error or step.why}"
        for name, step in run.steps.items()
        if not step.well and step.outcome is not Outcome.SKIPPED
    )
    hint = f"pilotage runs logs {run.id}; pilotage runs resume {run.id} tries again"
    return ToolResult(run.outcome or Outcome.FAILED, answer, whys, hint)


def _github(context: Mapping[str, Any]) -> dict[str, Any]:
    """The article's Jenkins client names two things otherwise."""
    github = dict(context)
    for ours, theirs in (("sha", "git_commit"), ("ref", "git_branch")):
        if not github.get(ours) and github.get(theirs):
            github[ours] = github[theirs]
    return github


def _step(plan: Plan, name: str, step: StepRun) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": name,
        "tool": plan.steps[name].tool,
        "state": step.state.value,
        "outcome": step.outcome.value if step.outcome is not None else None,
        "well": step.well,
        "attempt": step.attempt,
        "seconds": round(max(0, step.ended - step.began) / 1e6, 3) if step.began else 0,
        "outputs": dict(_plain(step.value)),
    }
    for key, value in (("error", step.error), ("hint", step.hint), ("why", step.why)):
        if value:
            told[key] = value
    for key in ("reports", "rendered"):
        if isinstance(step.value.get(key), Mapping):
            told[key] = step.value[key]
    return told


def _variables(run: Run) -> Iterator[tuple[str, str]]:
    """On one line each, so that no value can be read as a second line by whoever prints it."""
    for name, step in run.steps.items():
        if step.outcome is not None:
            yield _name(f"{name}_outcome"), step.outcome.value
        for field, value in _plain(step.value):
            yield _name(f"{name}_{field}"), text(value)
    for step in run.steps.values():
        given = step.value.get("variables")
        for field, value in given.items() if isinstance(given, Mapping) else ():
            yield _name(str(field)), visible(text(value))


def _plain(value: Mapping[str, Any]) -> Iterator[tuple[str, str | int | float | bool]]:
    """The fields that are one short line, a number, or yes or no."""
    for field, one in value.items():
        number = isinstance(one, (int, float))
        line = isinstance(one, str) and len(one) <= TEXT_LIMIT and visible(one) == one
        if number or line:
            yield field, one


def _name(text: str) -> str:
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return f"_{name}" if name[:1].isdigit() else name


def _listed(value: Mapping[str, Any], key: str, fields: set[str]) -> list[Mapping[str, Any]]:
    items = value.get(key)
    if not isinstance(items, list):
        return []
    return [item for item in items if isinstance(item, dict) and fields <= item.keys()]
