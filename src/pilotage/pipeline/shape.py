"""Keys and types of a document against spec.py: every one that is wrong, and what is sound. Pure.

What is sound goes on to be judged further, so that one wrong key does not hide every other error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pilotage.domain.pipeline import Problem
from pilotage.pipeline.catalogue import Path
from pilotage.pipeline.load import Document, spelt
from pilotage.pipeline.spec import KEYS, InputSpec, Name, PipelineSpec, StepSpec

MOST = 100
"""Problems of shape that are told: finding out what may be meant by a key takes time."""
Spec = type[PipelineSpec] | type[StepSpec] | type[InputSpec]
_TYPES: Mapping[Spec, Mapping[str, Any]] = {
    kind: {field.name: field.type for field in msgspec.structs.fields(kind)} for kind in KEYS
} | {
    PipelineSpec: {field.name: field.type for field in msgspec.structs.fields(PipelineSpec)}
    | {
        "steps": Annotated[list[Any], Meta(min_length=1, max_length=10_000)],
        "inputs": dict[Name, Any],  # what stands in these two is judged one by one
    }
}


@dataclass(frozen=True, slots=True)
class Shape:
    """`spec` holds what is sound, of the steps in `broken` no more than the name; None where the
    steps cannot be told apart. `problems` are those of reading and those of shape."""

    problems: tuple[Problem, ...]
    spec: PipelineSpec | None
    broken: frozenset[int] = frozenset()


def shape(document: Document) -> Shape:
    """Judge each key and each value by itself."""
    value, read = document.value, document.problems
    if not isinstance(value, dict):
        mapping = document.problem((), "a pipeline is a mapping", "begin with name: and steps:")
        return Shape(read or (mapping,), None)
    found = _entry(document, (), value, PipelineSpec)
    steps, inputs = value.get("steps"), value.get("inputs")
    for place, step in enumerate(steps if isinstance(steps, list) else []):
        if len(found) >= MOST:
            break
        found += _entry(document, ("steps", place), step, StepSpec)
    for name, one in (inputs if isinstance(inputs, dict) else {}).items():
        if len(found) >= MOST:
            break
        found += _entry(document, ("inputs", name), one, InputSpec)
    if not found and not read:
        found = _types(document, (), value, PipelineSpec)
    problems = (*read, *(one for one in found if not _follows(one, read)))
    return Shape(problems, *_sound(value, {one.path for one in problems}))


def _entry(document: Document, path: Path, value: Any, kind: Spec) -> list[Problem]:
    """A mapping: its keys, then the type of each value that it knows, then what it lacks."""
    if not isinstance(value, dict):
        return _types(document, path, value, kind)
    found, meant = _keys(document, path, value, kind)
    for key, type_ in _TYPES[kind].items():
        if key in value:
            found += _types(document, (*path, key), value[key], type_)
    for field in msgspec.structs.fields(kind):
        if field.required and field.name not in value and field.name not in meant:
            what = f"object missing required field `{field.name}`"
            found.append(document.problem(path, what))
    return found


def _keys(
    document: Document, path: Path, value: Iterable[str], kind: Spec
) -> tuple[list[Problem], set[str]]:
    """Keys that are not known, and the keys that they may stand for."""
    found: list[Problem] = []
    meant: set[str] = set()
    for key in value:
        if key not in KEYS[kind] and len(found) < MOST:
            close = difflib.get_close_matches(key, KEYS[kind], 1)
            hint = f"did you mean {close[0]}?" if close else "known: " + ", ".join(KEYS[kind])
            problem = document.problem((*path, "key", key), f"unknown key {key!r}", hint)
            found.append(replace(problem, path=spelt((*path, key))))
            meant.update(close)
    return found, meant


def _types(document: Document, path: Path, value: Any, kind: Any) -> list[Problem]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        return [document.problem((*path, *_parsed(where)), what[0].lower() + what[1:])]
    return []


def _parsed(where: str) -> Path:
    """`[0].retry_count` as msgspec spells a path; it writes `[...]` for the key of a map."""
    path: list[str | int] = []
    for part in where.rstrip("`").replace("[", ".[").split(".")[1:]:
        if part.startswith("["):
            if not part[1:-1].isdigit():
                break
            path.append(int(part[1:-1]))
        else:
            path.append(part)
    return tuple(path)


def _follows(problem: Problem, read: Iterable[Problem]) -> bool:
    """What could not be read has no type either: said once is enough."""
    pairs = [(problem.path, one.path) for one in read if one.path]
    return any(_inside(a, b) or _inside(b, a) for a, b in pairs if a)


def _inside(path: str, around: str) -> bool:
    return path == around or path.startswith((f"{around}.", f"{around}["))


def _sound(value: Mapping[str, Any], wrong: set[str]) -> tuple[PipelineSpec | None, frozenset[int]]:
    """What is left without all that is wrong, and the steps of which only the name is."""
    steps = value.get("steps")
    if not isinstance(steps, list) or not steps or "steps" in wrong:
        return None, frozenset()
    broken = frozenset(
        place
        for place in range(len(steps))
        if any(_inside(path, f"steps[{place}]") for path in wrong)
    )
    kept = {
        key: value[key]
        for key in KEYS[PipelineSpec]
        if key in value and not any(_inside(path, key) for path in wrong)
    }
    names = {place: _name(steps[place]) for place in broken}
    kept["steps"] = [
        {"name": names[place], "tool": "?", "depends_on": []} if place in broken else step
        for place, step in enumerate(steps)
    ]
    try:
        return msgspec.convert({"name": "?", **kept}, PipelineSpec), broken
    except msgspec.ValidationError:  # a step without a name
        return None, broken


def _name(step: Any) -> Any:
    return step.get("name") if isinstance(step, dict) else None
