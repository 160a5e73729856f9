"""Run a pipeline: here, or at the server of mcp.serverUrl where one is named."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage import config, shelf
from pilotage.app import App, local_principal
from pilotage.ci.detect import detect
from pilotage.ci.job import Job
from pilotage.ci.platform import Platform
from pilotage.cli import summary, terminal
from pilotage.cli.door import Door, open_door
from pilotage.domain.call import Outcome, Report
from pilotage.domain.ci import Context
from pilotage.domain.errors import BadInput, Unavailable
from pilotage.domain.pipeline import Pipeline
from pilotage.domain.run import RunState
from pilotage.domain.text import visible
from pilotage.pipeline import load
from pilotage.pipeline.catalogue import Catalogue
from pilotage.pipeline.lint import checked, lint
from pilotage.pipeline.prepare import variables_read
from pilotage.pipeline.runs import Runs
from pilotage.pipeline.tell import problem_line
from pilotage.tool.answer import answer as answer_of
from pilotage.tool.roots import roots

INTERRUPTED = 130


def register(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a pipeline, YAML or JSON")
    value = "a value for an input of the pipeline; repeatable"
    add("--input", action="append", default=[], metavar="K=V", help=value)
    key = "the same key is the same run: one that was cut off goes on, one that ended answers again"
    add("--key", metavar="KEY", help=key)
    add("--platform", default="", metavar="NAME", help="the CI system, where it is not recognised")
    root = "steps may read and write in it; repeatable (default: here, and the checkout's top)"
    add("--root", action="append", default=[], metavar="DIR", help=root)
    add("--timeout", type=int, metavar="SECONDS", help="for the whole run, waiting left out")


def run(arguments: argparse.Namespace) -> int:
    flags = {"mcp.pipeline.timeout": arguments.timeout}
    settings = config.read(flags, file=arguments.settings)
    document = load.file(arguments.file)
    return asyncio.run(_run(arguments, settings, document))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where this runs: the CI system's job and what it says of it."""

    job: Job
    context: Context


async def _run(
    arguments: argparse.Namespace, settings: config.Settings, document: load.Document
) -> int:
    place = await _place(arguments.platform)
    folders = arguments.root or [".", place.context.github.get("workspace") or "."]
    async with open_door(settings, roots(*folders, base=".")) as door:
        for secret in place.context.secrets:
            place.job.mask(secret)
            if door.app is not None:
                door.app.redactor.mask(secret)
        tools: Catalogue = door.app.runs.tools if door.app is not None else {}
        pipeline = _pipeline(arguments.file, document, tools, local=door.app is not None)
        if door.app is not None and arguments.key is None:
            _tell_of_one_cut_off(door.app.runs, pipeline)
        given = _given(pipeline, arguments.input, place.context)
        with terminal.progress() as report:
            if door.app is None:
                answer = await _there(door, arguments, given, report)
            else:
                asked = {**document.value, **given}
                answer = await _here(door.app, asked, arguments.key, report)
                await door.app.leave()
    if answer is None:
        return INTERRUPTED
    if "run" not in answer:
        kind = Unavailable if answer["outcome"] == Outcome.UNAVAILABLE else BadInput
        raise kind(answer["error"], answer.get("hint", ""))
    for text in summary.reports(answer):
        terminal.show(text)
    print(summary.table(answer))
    code = summary.exit_code(answer)
    missing = summary.publish_to(place.job, answer)
    return 3 if missing and code == 0 else code


def _tell_of_one_cut_off(runs: Runs, pipeline: Pipeline) -> None:
    """A run that died can go on, but only a person knows whether what it has done still holds."""
    for one in runs.newest(5, state=RunState.RUNNING):
        if one.pipeline == pipeline.name and runs.owner(one.id) is None:
            hint = f"pilotage runs resume {one.id} goes on with it; this starts another"
            print(f"note: a run of this pipeline was cut off: {hint}", file=sys.stderr)
            return


async def _place(name: str) -> _Place:
    platforms = shelf.parts("pilotage.platforms", Platform)
    platform, note = detect(os.environ, platforms, name)
    context = await platform.context(os.environ, Path.cwd())
    for line in (note, *context.notes):
        if line:
            print(visible(f"note: {line}"), file=sys.stderr)
    return _Place(Job(platform, os.environ), context)


def _pipeline(file: Path, document: load.Document, tools: Catalogue, *, local: bool) -> Pipeline:
    """Checked here for the places of its errors. A server checks the tools, which are its own."""
    linted = lint(document, tools)
    for problem in linted.problems if local else linted.errors:
        print(problem_line(problem, str(file)), file=sys.stderr)
    return checked(linted)


def _given(pipeline: Pipeline, inputs: list[str], context: Context) -> dict[str, Any]:
    """What the run is given. Of the environment goes only what the pipeline reads."""
    values = {}
    for pair in inputs:
        name, equals, given = pair.partition("=")
        if not equals or not name:
            raise BadInput(f"--input {pair!r} is not K=V")
        values[name] = given
    read = variables_read(pipeline)
    environment = {k: v for k, v in context.env.items() if k.lower() in read}
    return {
        "context": {**context.native, **context.github},
        "values": values,
        "environment": environment,
    }


async def _there(
    door: Door, arguments: argparse.Namespace, given: Mapping[str, Any], report: Report
) -> dict[str, Any] | None:
    from pilotage.cli.run_there import run_there  # here, as in door.py

    if arguments.root:
        raise BadInput("--root is for runs of here, and mcp.serverUrl is set", "leave it out")
    assert door.client is not None
    body = {
        "pipeline": arguments.file.read_text("utf-8-sig"),
        "inputs": given["values"],
        "context": given["context"],
        "environment": given["environment"],
        "timeout": arguments.timeout,
    }
    return await run_there(door.client, body, arguments.key, str(arguments.file), report)


async def _here(
    app: App, asked: Mapping[str, Any], key: str | None, report: Report
) -> dict[str, Any] | None:
    """The answer; None where it was interrupted before a run began."""
    loop = asyncio.get_running_loop()
    by = local_principal()
    calling = app.call("pipeline_orchestrator", asked, by, "cli", report, key)
    call = asyncio.ensure_future(calling)
    ending: set[asyncio.Task[Any]] = set()

    def interrupt() -> None:
        if ending:
            call.cancel()
            return
        print("interrupted: ending the run", file=sys.stderr)
        for run in app.runs.driven():
            ending.add(asyncio.ensure_future(app.runs.cancel(run, by, "interrupted")))
        if not ending:
            call.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        return answer_of(await call)
    except asyncio.CancelledError:
        return None
