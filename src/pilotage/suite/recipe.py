"""How the tests of one kind of project are run, as values; and running them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from pilotage.domain.call import Progress, Report
from pilotage.process.run import Finished, Limits, Program, run
from pilotage.process.sandbox import Sandbox
from pilotage.suite.copy import copy_tree
from pilotage.suite.junit import Unreadable
from pilotage.suite.results import Results, judge

MEMORY = 4 << 30
PROCESSES = 500
OUTPUT = 16 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """`tree` is the copy that the tests work in, `out` where results and installed packages go."""

    tree: Path
    out: Path


@dataclass(frozen=True, slots=True)
class Recipe:
    """`setup` runs first, with a network; an empty one is left out. `reads` are folders or files
    that both need to see. `results` reads what the tests left (raises Unreadable)."""

    argv: tuple[str, ...]
    results: Callable[[Place, Finished], Results]
    setup: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    setup_environment: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """`seconds` bound each of the two steps."""

    sandboxed: bool
    network: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """`wrong` is "" where the tests ran and passed. `log` is what they printed, both streams."""

    wrong: str
    results: Results
    done: Finished
    seconds: float


async def attempt(
    source: Path, make: Callable[[Place], Recipe], terms: Terms, report: Report
) -> Attempt:
    """Copy, set up, run, read, judge. Nothing is written to `source`. Cancelling kills the tree."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="pilotage-suite-", ignore_cleanup_errors=True) as folder:
        place = Place(Path(folder, "tree"), Path(folder, "out"))
        report(Progress("copying the project"))
        await asyncio.to_thread(copy_tree, source, place.tree)
        place.out.mkdir()
        recipe = make(place)
        if recipe.setup:
            report(Progress("installing what the project needs"))
            done = await _run(place, recipe, terms, setup=True)
            wrong = _setup_failure(done)
            if wrong:
                return Attempt(wrong, Results(), done, time.monotonic() - began)
        report(Progress("running the tests"))
        done = await _run(place, recipe, terms, setup=False)
        results, why = _results(recipe, place, done)
    wrong = judge(done, results, why)
    return Attempt(wrong, results or Results(), done, time.monotonic() - began)


async def _run(place: Place, recipe: Recipe, terms: Terms, *, setup: bool) -> Finished:
    network = terms.network or setup
    writes = (place.tree, place.out)
    return await run(
        Program(
            recipe.setup if setup else recipe.argv,
            folder=place.tree,
            environment={**recipe.environment, **(recipe.setup_environment if setup else {})},
            limits=Limits(terms.seconds, MEMORY, OUTPUT, PROCESSES),
            sandbox=Sandbox(recipe.reads, writes, network) if terms.sandboxed else None,
        )
    )


def _setup_failure(done: Finished) -> str:
    if done.killed:
        return f"installing was stopped: it {done.killed}"
    if done.exit is None:
        return f"installing could not start: {done.missing}"
    return f"installing ended with {done.exit}" if done.exit else ""


def _results(recipe: Recipe, place: Place, done: Finished) -> tuple[Results | None, str]:
    try:
        return recipe.results(place, done), ""
    except Unreadable as error:
        return None, str(error)
