"""A document -> a pipeline, or what is wrong with it, each with its place. Pure.

Unknown keys, wrong types, circles, unknown names, bad expressions, params that the tool's schema
refuses. A value that an expression hides is not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from pilotage.domain.errors import BadInput
from pilotage.domain.pipeline import Input, InputType, Level, Pipeline, Problem, Step
from pilotage.domain.text import did_you_mean
from pilotage.pipeline import plan, template
from pilotage.pipeline.catalogue import Catalogue, Path
from pilotage.pipeline.load import Document
from pilotage.pipeline.shape import shape
from pilotage.pipeline.spec import PipelineSpec

MOST, AMONG = 100, 1_000
"""Problems of one sort that are told, and among how many names the one that may be meant is looked
for: that takes time."""
HIDING = {"anyOf", "oneOf", "allOf", "enum", "const", "not", "if", "contains", "uniqueItems"}


@dataclass(frozen=True, slots=True)
class Linted:
    """`pipeline` is None where there is an error."""

    pipeline: Pipeline | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.level is Level.ERROR)


def lint(document: Document, tools: Catalogue) -> Linted:
    """Problems in the order of the file: as many of them as can be told at once."""
    found = shape(document)
    if found.spec is None:
        return Linted(None, _sorted(found.problems))
    pipeline = _pipeline(found.spec)
    problems = [*found.problems, *_names(document, pipeline)]
    problems += _expressions(document, pipeline, whole=not problems)
    problems += _inputs(document, pipeline)
    problems += _calls(document, pipeline, tools, found.broken)
    bad = any(p.level is Level.ERROR for p in problems)
    return Linted(None if bad else pipeline, _sorted(problems))


def checked(linted: Linted) -> Pipeline:
    """The pipeline; BadInput with the first error where there is none."""
    if linted.pipeline is not None:
        return linted.pipeline
    first, *others = linted.errors
    more = f" (and {len(others)} more)" if others else ""
    where = f"{first.path}: " if first.path else ""
    raise BadInput(f"{where}{first.what}{more}", first.hint or "pilotage lint FILE names each")


class NotRunnable(BadInput):
    """What keeps a pipeline from running here; `problems` are all that lint has to say of it."""

    status = 422

    def __init__(self, what: str, hint: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(what, hint)
        self.problems = problems


def runnable(linted: Linted, tools: Catalogue) -> Pipeline:
    """The pipeline, for who starts it now: a tool that is not here is an error as well."""
    pipeline = linted.pipeline
    if pipeline is not None and all(step.tool in tools for step in pipeline.steps):
        return pipeline
    first, *others = linted.errors or linted.problems
    more = f" (and {len(others)} more)" if others else ""
    where = f"{first.path}: " if first.path else ""
    raise NotRunnable(
        f"{where}{first.what}{more}", first.hint or "`problems` names each", linted.problems
    )


def refuse_unknown_tools(pipeline: Pipeline, tools: Catalogue) -> None:
    """A pipeline whose tools are not all there does not start."""
    missing = sorted({step.tool for step in pipeline.steps if step.tool not in tools})
    if missing:
        raise BadInput(
            f"pipeline {pipeline.name} needs tools that are not here: {', '.join(missing)}",
            "here: " + ", ".join(sorted(tools)),
        )


def _pipeline(spec: PipelineSpec) -> Pipeline:
    steps: list[Step] = []
    for one in spec.steps:
        above = (steps[-1].name,) if steps else ()
        needs = above if one.depends_on is None else tuple(dict.fromkeys(one.depends_on))
        steps.append(
            Step(one.name, one.tool, one.params, needs, one.on_failure, one.retry_count,
                 one.retry_delay, one.timeout)
        )  # fmt: skip
    inputs = {
        name: Input(one.type, one.default, one.required, one.description)
        for name, one in spec.inputs.items()
    }
    env = {name: _word(value) for name, value in spec.env.items()}
    return Pipeline(spec.name, tuple(steps), spec.description, inputs, env)


def _word(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _names(document: Document, pipeline: Pipeline) -> list[Problem]:
    """Names that are used twice or not there, and circles."""
    found: list[Problem] = []
    known: dict[str, int] = {}
    seen: dict[str, int] = {}
    for place, step in enumerate(pipeline.steps):
        folded = step.name.lower()
        if folded in seen and len(found) < MOST:
            what = f"two steps are called {step.name!r} (the other is step {seen[folded] + 1})"
            hint = "expressions do not see the difference of A and a"
            found.append(document.problem(("steps", place, "name"), what, hint))
        seen.setdefault(folded, place)
        known.setdefault(step.name, place)
    for place, step in enumerate(pipeline.steps):
        for number, need in enumerate(step.needs):
            if need not in known and len(found) < MOST:
                at = ("steps", place, "depends_on", number)
                what = f"step {step.name!r} depends on {need!r}, which is no step"
                found.append(document.problem(at, what, _nearest(need, known)))
    if not found and (circle := plan.cycle(pipeline)):
        what = "steps wait for each other: " + " -> ".join(circle)
        found.append(document.problem(("steps", known[circle[0]], "depends_on"), what))
    return found


def _inputs(document: Document, pipeline: Pipeline) -> list[Problem]:
    kinds: Mapping[InputType, tuple[type, ...]] = {
        InputType.STRING: (str,),
        InputType.NUMBER: (int, float),
        InputType.BOOLEAN: (bool,),
    }
    found = []
    for name, one in pipeline.inputs.items():
        if one.default is None:
            continue
        fits = isinstance(one.default, kinds[one.type])
        if not fits or (one.type is InputType.NUMBER and isinstance(one.default, bool)):
            what = f"the default of input {name!r} is not a {one.type}"
            found.append(document.problem(("inputs", name, "default"), what))
    return found


def _expressions(document: Document, pipeline: Pipeline, *, whole: bool) -> list[Problem]:
    """`whole`: the graph and the inputs are sound, so that what is read of them can be judged."""
    found: list[Problem] = []
    names = [step.name for step in pipeline.steps]
    places = {name.lower(): place for place, name in enumerate(names)}
    before = plan.before(pipeline) if whole else dict.fromkeys(names, (1 << len(names)) - 1)
    inputs = {name.lower() for name in pipeline.inputs} if whole else None
    texts: list[tuple[Path, str, int | None]] = []
    for key, value in pipeline.env.items():
        texts += [(("env", key), text, None) for _, text in template.holes(value)]
    for place, step in enumerate(pipeline.steps):
        texts += [
            (("steps", place, "params", *path), text, before[step.name])
            for path, text in template.holes(step.params)
        ]
    for path, text, ended in texts:
        if len(found) >= MOST:
            break
        try:
            reads = [read for one in template.expressions(text) for read in one.reads if read]
        except BadInput as error:
            found.append(document.problem(path, error.what, error.hint))
            continue
        for read in reads:
            wrong = _wrong_read(read, inputs, places, ended)
            if wrong:
                found.append(document.problem(path, *wrong))
    return found


def _wrong_read(
    read: tuple[str, ...],
    inputs: Set[str] | None,
    places: Mapping[str, int],
    ended: int | None,
) -> tuple[str, str] | None:
    """What an expression reads that is not there. `inputs` None: they are not known. `places` of
    steps, by their names in lower case. `ended`: steps over by then (plan.before); None: in env."""
    context, name = read[0], read[1] if len(read) > 1 else ""
    if context == "inputs" and name and inputs is not None and name.lower() not in inputs:
        return f"there is no input {name!r}", _nearest(name, inputs)
    if ended is None and context not in ("github", "inputs"):
        return f"env cannot read {context}", "it is settled before the first step: github, inputs"
    if context != "steps" or not name or ended is None:
        return None
    place = places.get(name.lower())
    if place is None:
        return f"there is no step {name!r}", _nearest(name, places)
    if not ended >> place & 1:
        return f"step {name!r} need not have ended by then", f"add it to depends_on: [{name}]"
    part = read[2] if len(read) > 2 else ""
    if part and part.lower() not in ("outcome", "outputs", "error"):
        return f"a step has no {part!r}", "steps.NAME.outcome, .error, .outputs.FIELD"
    return None


def _calls(
    document: Document, pipeline: Pipeline, tools: Catalogue, broken: frozenset[int]
) -> list[Problem]:
    """Tools that are not there, and arguments that theirs refuse; not of steps that are broken."""
    found: list[Problem] = []
    for place, step in enumerate(pipeline.steps):
        if place in broken or len(found) >= MOST:
            continue
        known = tools.get(step.tool)
        if known is None:
            what = f"there is no tool {step.tool!r} here: the pipeline will not run"
            at: Path = ("steps", place, "tool")
            found.append(document.problem(at, what, _nearest(step.tool, tools), Level.WARNING))
            continue
        if step.timeout is not None and step.timeout > known.timeout:
            what = f"{step.tool} ends after {known.timeout:g} s whatever this says"
            at = ("steps", place, "timeout")
            found.append(document.problem(at, what, "", Level.WARNING))
        hidden = [path for path, _ in template.holes(step.params)]
        for wrong in known.wrong(step.params):
            if not _hidden(wrong.path, wrong.keyword, hidden):
                level = Level.WARNING if wrong.keyword == "ignored" else Level.ERROR
                at = ("steps", place, "params", *wrong.path)
                what = f"{step.tool}: {wrong.what}"
                found.append(document.problem(at, what, "", level))
    return found


def _hidden(path: Path, keyword: str, hidden: list[Path]) -> bool:
    """Does an expression hide whether this is wrong? It never hides the name of an argument."""
    if keyword in ("ignored", "unknown"):
        return False
    if any(path[: len(hole)] == hole for hole in hidden):
        return True
    return keyword in HIDING and any(hole[: len(path)] == path for hole in hidden)


def _nearest(name: str, known: Iterable[str]) -> str:
    among = list(known)
    return did_you_mean(name, among) if len(among) <= AMONG else ""


def _sorted(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda p: (p.line, p.column)))
