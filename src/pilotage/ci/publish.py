"""Hand a run's answer to the job it ran in: outputs, environment, annotations, summary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pilotage.ci.job import Job
from pilotage.ci.markdown import escape
from pilotage.ci.platform import Ability, Acts
from pilotage.domain.ci import Annotation
from pilotage.domain.errors import PilotageError
from pilotage.domain.finding import Finding, Severity

_LEVEL = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.UNKNOWN: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "notice",
    Severity.INFO: "notice",
}


@dataclass(frozen=True, slots=True)
class Results:
    """What a run has to say. `variables` become outputs (what is no text, compact JSON),
    `environment` the variables of later steps. `artifacts` have `name` and `file_path`, as the
    article's. `findings` are those of a tool's answer, in any order; `under` is the folder of
    their root inside the workspace. `summary` is Markdown: the caller has escaped what it quotes.
    """

    variables: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    artifacts: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Finding | Mapping[str, Any]] = ()
    under: str = ""
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """`notes` are for people. `problems` name what the job would rely on and does not have: the
    job must not end well with one."""

    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def publish(job: Job, results: Results) -> Published:
    """Do all that can be done, and say the rest. Nothing is left out because another part failed.

    The summary comes last, so that it can tell what was not set.
    """
    platform, env = job.platform, job.env
    problems: list[str] = []
    for name, value in results.variables.items():
        text = value if isinstance(value, str) else _compact(value)
        _try(job, problems, lambda n=name, v=text: platform.set_output(env, n, v))
    for name, value in results.environment.items():
        _try(job, problems, lambda n=name, v=value: platform.set_env(env, n, v))
    notes = [*_annotate(job, results), *_artifacts(job, results.artifacts)]
    said = results.summary + _list("Not set", problems) + _list("Notes", notes)
    if said and job.can(Ability.SUMMARY):
        _try(job, problems, lambda: platform.summarise(env, said))
    return Published(tuple(notes), tuple(problems))


def annotation(finding: Finding | Mapping[str, Any], under: str = "") -> Annotation:
    """A finding as a remark on its line. One that lies in history or inside an archive has no line
    in this checkout, so it keeps its place in words only."""
    told = finding if isinstance(finding, Finding) else _finding(finding)
    place = told.location
    title = f"{told.severity.value}: {told.rule} ({told.scanner})"
    if place.commit or place.inside:
        where = f"commit {place.commit}" if place.commit else str(place.inside)
        return Annotation(_LEVEL[told.severity], f"{told.message} [{place.path}, {where}]", title)
    path = f"{under.strip('/')}/{place.path}" if under.strip("/") else place.path
    return Annotation(
        _LEVEL[told.severity], told.message, title, path,
        place.line, place.end_line, place.column, place.end_column,
    )  # fmt: skip


def _finding(value: Mapping[str, Any]) -> Finding:
    try:
        return msgspec.convert(dict(value), Finding, strict=False)
    except msgspec.ValidationError as error:
        raise PilotageError(f"this is not a finding: {error}") from None


def _annotate(job: Job, results: Results) -> Iterable[str]:
    """The worst first, as many of each level as the platform shows; the rest are counted."""
    told = [f if isinstance(f, Finding) else _finding(f) for f in results.findings]
    told.sort(key=lambda finding: finding.severity.rank)
    if not told or not job.can(Ability.ANNOTATE):
        return
    left: dict[str, int] = {}
    used: dict[str, int] = {}
    for finding in told:
        made = annotation(finding, results.under)
        if job.platform.budget and used.get(made.level, 0) >= job.platform.budget:
            left[made.level] = left.get(made.level, 0) + 1
            continue
        used[made.level] = used.get(made.level, 0) + 1
        job.act(job.platform.annotate(made))
    if left:
        counts = ", ".join(f"{count} of level {level}" for level, count in left.items())
        yield (
            f"{sum(left.values())} findings are not shown as annotations ({counts}): "
            f"{job.platform.name} shows {job.platform.budget} of a level a step"
        )


def _artifacts(job: Job, artifacts: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for artifact in artifacts:
        name, path = str(artifact.get("name", "")), str(artifact.get("file_path", ""))
        yield (
            f"artifact {name} lies at {path}; a step of {job.platform.name} cannot upload it, "
            "so upload that path in a step after this one"
        )


def _try(job: Job, problems: list[str], make: Any) -> None:
    try:
        acts: Acts = make()
        job.act(acts)
    except PilotageError as error:
        problems.append(error.what)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return f"\n**{title}**\n\n" + "".join(f"- {escape(line)}\n" for line in lines)
