"""A plan: a pipeline frozen with its graph and its digest. What a run follows to its end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from pilotage.domain.errors import BadInput
from pilotage.domain.pipeline import Pipeline, Step


@dataclass(frozen=True, slots=True)
class Plan:
    """`dependents` names, for each step, the steps that need it, in the order of the file.
    `digest` is the SHA-256 of the pipeline as JSON: two plans with one digest do the same."""

    pipeline: Pipeline
    steps: Mapping[str, Step]
    dependents: Mapping[str, tuple[str, ...]]
    digest: str


def plan(pipeline: Pipeline, retry_count: int = 0) -> Plan:
    """Freeze a pipeline; `retry_count` is for steps that name none. A graph that is none is
    refused: what `lint` says about one is kinder."""
    steps = {
        step.name: step if step.retry_count is not None else replace(step, retry_count=retry_count)
        for step in pipeline.steps
    }
    if not steps or len(steps) != len(pipeline.steps):
        raise BadInput(f"pipeline {pipeline.name}: no steps, or two of one name", "pilotage lint")
    dependents: dict[str, list[str]] = {name: [] for name in steps}
    for step in steps.values():
        for need in step.needs:
            if need not in dependents:
                raise BadInput(f"step {step.name} needs {need!r}, which is no step")
            dependents[need].append(step.name)
    if circle := cycle(pipeline):
        raise BadInput("steps wait for each other: " + " -> ".join(circle))
    frozen = replace(pipeline, steps=tuple(steps.values()))
    try:
        text = msgspec.json.encode(frozen, order="deterministic")
    except UnicodeEncodeError:
        raise BadInput("the pipeline holds half a character", "such as \\ud800") from None
    digest = hashlib.sha256(text).hexdigest()
    return Plan(frozen, steps, {n: tuple(names) for n, names in dependents.items()}, digest)


def waves(pipeline: Pipeline) -> tuple[tuple[str, ...], ...]:
    """Steps by the earliest moment they can start: each wave needs only those before it. Steps
    on a circle, and what needs them, are in none."""
    unmet = {step.name: len(step.needs) for step in pipeline.steps}
    dependents: dict[str, list[str]] = {}
    for step in pipeline.steps:
        for need in step.needs:
            dependents.setdefault(need, []).append(step.name)
    wave = [name for name, count in unmet.items() if count == 0]
    found = []
    while wave:
        found.append(tuple(wave))
        following = []
        for name in wave:
            for dependent in dependents.get(name, ()):
                unmet[dependent] -= 1
                if unmet[dependent] == 0:
                    following.append(dependent)
        wave = following
    return tuple(found)


def cycle(pipeline: Pipeline) -> tuple[str, ...]:
    """One circle of steps, its first name at both ends; empty where there is none."""
    ordered = {name for wave in waves(pipeline) for name in wave}
    needs = {
        step.name: [need for need in step.needs if need not in ordered]
        for step in pipeline.steps
        if step.name not in ordered
    }
    if not needs:
        return ()
    path: list[str] = [next(iter(needs))]
    while path[-1] not in path[:-1]:
        path.append(needs[path[-1]][0])
    return tuple(reversed(path[path.index(path[-1]) :]))


def before(pipeline: Pipeline) -> Mapping[str, int]:
    """For each step, all steps that have ended whenever it starts: a bit for each, by its place in
    the file, since sets of names grow with the square of a long pipeline. Needs no circle."""
    needs = {step.name: step.needs for step in pipeline.steps}
    bits = {step.name: 1 << place for place, step in enumerate(pipeline.steps)}
    found: dict[str, int] = {}
    for wave in waves(pipeline):
        for name in wave:
            found[name] = 0
            for need in needs[name]:
                found[name] |= found[need] | bits[need]
    return found
