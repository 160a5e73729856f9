"""How a run stands, as the outside reads it: a tool's answer, an event, an artifact. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pilotage.domain.call import Outcome, ToolResult
from pilotage.domain.run import Event, Kind, Run, RunState, StepRun
from pilotage.domain.text import visible
from pilotage.pipeline.plan import Plan
from pilotage.pipeline.values import text

TEXT_LIMIT = 1_000
FINDINGS = 100
_FINDING = {"rule", "severity", "location"}


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that a step says it has written. `name` is its name in the step; `since` (Unix
    microseconds) is when the step ended."""

    step: str
    tool: str
    name: str
    file_path: str
    since: int


def shown(event: Event) -> dict[str, Any]:
    """An event as a follower sees it: `event` of it is the event again, but for what is read with
    the run (results, inputs) and what concerns the machine only (environment, folder, rights)."""
    body = {key: value for key, value in event.body.items() if key != "value"}
    if event.kind is Kind.CREATED:
        pipeline = event.body["pipeline"]
        steps = [{"name": step["name"]} for step in pipeline["steps"]]
        body = {"pipeline": {"name": pipeline["name"], "steps": steps}}
    return {
        "seq": event.seq, "at": event.at, "kind": event.kind.value, "step": event.step,
        "body": body,
    }  # fmt: skip


def event(shown: Mapping[str, Any]) -> Event:
    """The event that was shown so."""
    seq, at, body = int(shown["seq"]), int(shown["at"]), shown["body"]
    return Event(seq, at, Kind(shown["kind"]), shown["step"], body)


def beside(plan: Plan, run: Run, *, results: bool) -> dict[str, Any]:
    """What is known of a run beside its result: what it was given, what it follows, and, asked
    for, what its steps have answered. One that has not ended has neither failed nor succeeded."""
    given = run.beginning
    steps = [
        {"name": step.name, "tool": step.tool, "needs": list(step.needs),
         "on_failure": step.on_failure.value}
        for step in plan.steps.values()
    ]  # fmt: skip
    told: dict[str, Any] = {
        "principal": given.by.name,
        "created": given.at,
        "changed": run.at,
        "seq": run.seq,
        "why": run.why,
        "inputs": dict(given.inputs),
        "github": dict(given.github),
        "plan": {"digest": plan.digest, "steps": steps},
    }
    if run.state is not RunState.ENDED:
        told["success"] = told["outcome"] = None
    if results:
        told["results"] = {name: step.value for name, step in run.steps.items()}
    return told


def artifacts(plan: Plan, run: Run) -> list[Artifact]:
    """Files of the steps: their `artifacts` (name, file_path), and their `reports` by format."""
    found: dict[tuple[str, str], Artifact] = {}
    for step, one in run.steps.items():
        reports = one.value.get("reports")
        files = [
            (str(each["name"]), str(each["file_path"]))
            for each in _listed(one.value, "artifacts", {"name", "file_path"})
        ]
        if isinstance(reports, Mapping):
            files += [(PurePath(str(path)).name, str(path)) for path in reports.values()]
        for name, path in files:
            tool = plan.steps[step].tool
            found.setdefault((step, name), Artifact(step, tool, name, path, one.ended))
    return list(found.values())


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
        asked = [run.steps[name].approval for name in run.waiting if run.steps[name].approval]
        does = "lets it run" if asked else "takes it as it is and goes on"
        hint = f"pilotage runs approve {run.id} {does}, resume tries it again, reject gives it up"
        answer["waiting"] = list(run.waiting)
        if asked:
            answer["approvals"] = asked
        return ToolResult(Outcome.FAILED, answer, f"waits for a person: {whys}", hint)
    if run.outcome is Outcome.SUCCEEDED:
        return ToolResult(Outcome.SUCCEEDED, answer)
    whys = run.why or "; ".join(
        f"{name}: {step.error or step.why}"
        for name, step in run.steps.items()
        if not step.well and step.outcome not in (None, Outcome.SKIPPED)
    )
    if run.state is not RunState.ENDED:
        return ToolResult(Outcome.FAILED, answer, whys or None)
    hint = f"pilotage runs logs {run.id}; pilotage runs resume {run.id} tries again"
    return ToolResult(run.outcome or Outcome.FAILED, answer, whys, hint)


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
    for key, value in (
        ("error", step.error),
        ("hint", step.hint),
        ("why", step.why),
        ("approval", step.approval),
    ):
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
