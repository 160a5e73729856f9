"""What a run is given, settled once and kept in its journal, so that nothing vanishes or changes
when it is taken up again elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilotage.domain.errors import BadInput
from pilotage.domain.pipeline import Input, InputType, Pipeline
from pilotage.pipeline import template
from pilotage.pipeline.values import text
from pilotage.pipeline.work import Work

_EMPTY: Mapping[InputType, str | int | bool] = {
    InputType.STRING: "",
    InputType.NUMBER: 0,
    InputType.BOOLEAN: False,
}


@dataclass(frozen=True, slots=True)
class Given:
    """What a run starts with beside its pipeline. `environment` is the job's; only the names that
    the pipeline reads are kept. `key`: the same key of the same principal is the same run.
    `timeout` (seconds) can only shorten the house's own."""

    inputs: Mapping[str, Any] = field(default_factory=dict)
    github: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    timeout: float | None = None


def github(context: Mapping[str, Any]) -> dict[str, Any]:
    """What `${{ github.* }}` reads; the article's Jenkins client names two things otherwise."""
    known = dict(context)
    for ours, theirs in (("sha", "git_commit"), ("ref", "git_branch")):
        if not known.get(ours) and known.get(theirs):
            known[ours] = known[theirs]
    return known


@dataclass(frozen=True, slots=True)
class Terms:
    """`folder` is where relative paths of this process begin: a run goes on only where it began.
    `timeout` (seconds) bounds a run, `retry_count` is for steps that name none."""

    folder: str
    timeout: float = 3600
    retry_count: int = 0


def prepared(pipeline: Pipeline, given: Given) -> dict[str, Any]:
    """`inputs` checked and completed, `github` without what is not known, and `env`: the
    pipeline's own, and of the job's environment only the names that the pipeline reads."""
    settled = _inputs(pipeline, given.inputs)
    known = {key: value for key, value in given.github.items() if value is not None}
    first = {"github": known, "inputs": settled}
    work = Work()
    own = {name: text(template.fill(value, first, work)) for name, value in pipeline.env.items()}
    read = variables_read(pipeline)
    job = {name: value for name, value in given.environment.items() if name.lower() in read}
    return {"inputs": settled, "github": known, "env": {**job, **own}}


def _inputs(pipeline: Pipeline, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(pipeline.inputs))
    if unknown:
        names = f"its inputs: {', '.join(pipeline.inputs)}" if pipeline.inputs else "it has none"
        raise BadInput(f"pipeline {pipeline.name} has no input {unknown[0]!r}", names)
    return {name: _input(name, one, given.get(name)) for name, one in pipeline.inputs.items()}


def _input(name: str, one: Input, given: Any) -> Any:
    """A value of the input's type; text from a command line is read as one."""
    if given is None:
        if one.default is None and one.required:
            raise BadInput(
                f"input {name!r} is required", f"--input {name}=..., over REST and MCP in `inputs`"
            )
        return _EMPTY[one.type] if one.default is None else one.default
    if one.type is InputType.STRING and isinstance(given, (str, int, float, bool)):
        return text(given)
    if one.type is InputType.BOOLEAN:
        if isinstance(given, bool):
            return given
        if given in ("true", "false"):
            return given == "true"
    if one.type is InputType.NUMBER and not isinstance(given, bool):
        if isinstance(given, (int, float)):
            return given
        try:
            return int(given) if str(given).lstrip("-").isdigit() else float(given)
        except (TypeError, ValueError):
            pass
    raise BadInput(f"input {name!r} is not a {one.type}: {given!r}")


def variables_read(pipeline: Pipeline) -> set[str]:
    """Names of environment variables that some expression spells out, in lower case."""
    texts = [value for step in pipeline.steps for _, value in template.holes(step.params)]
    reads = [read for value in texts for one in template.expressions(value) for read in one.reads]
    return {read[1].lower() for read in reads if read[:1] == ("env",) and len(read) > 1 and read[1]}
