"""Look at runs of pipelines, and say what a person has to: approve, reject, resume, cancel."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from pilotage import config
from pilotage.cli import summary, terminal
from pilotage.cli.desk import Desk, File, open_desk
from pilotage.domain.errors import BadInput, NotFound
from pilotage.domain.run import RunState
from pilotage.domain.text import visible
from pilotage.pipeline import told
from pilotage.pipeline.tell import Teller

Act = Callable[[Desk, str, argparse.Namespace], Awaitable[int]]
SPOKEN = ("approve", "reject", "resume", "cancel")
INTERRUPTED = 130


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = verbs.add_parser("list", help="the newest runs")
    listed.add_argument(
        "--limit", type=terminal.rows, default=20, metavar="N", help="(default: %(default)s)"
    )
    listed.add_argument("--state", choices=[s.value for s in RunState], help="only these")
    listed.add_argument("--pipeline", metavar="NAME", help="only runs of it")
    for name, (_, help_) in _VERBS.items():
        verb = verbs.add_parser(name, help=help_)
        verb.add_argument("run", metavar="RUN", help="a run's id, or how it begins")
        _add_options(verb, name)


def _add_options(verb: argparse.ArgumentParser, name: str) -> None:
    add = verb.add_argument
    if name == "show":
        add("--json", action="store_true", help="all that is known of it")
    if name in ("logs", "events"):
        add("--follow", action="store_true", help="until it has ended")
    if name == "events":
        add("--after", type=int, default=-1, metavar="N", help="only those after this number")
    if name == "artifacts":
        add("--output", type=Path, metavar="DIR", help="fetch them into this folder, by step")
        add("--name", metavar="STEP/NAME", help="only this one")
    if name in ("approve", "reject", "resume"):
        add("--step", metavar="NAME", help="which, where more than one waits")
    if name in SPOKEN:
        add("--reason", default="", metavar="TEXT", help="kept with the run")
        root = "steps may read and write in it; repeatable (default: here)"
        add("--root", action="append", default=[], metavar="DIR", help=root)


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    try:
        return asyncio.run(_run(arguments, settings))
    except KeyboardInterrupt:
        if arguments.what not in SPOKEN or not settings.text("mcp.serverUrl"):
            raise
        print(f"interrupted; {arguments.run} goes on at the server", file=sys.stderr)
        return INTERRUPTED


async def _run(arguments: argparse.Namespace, settings: config.Settings) -> int:
    async with open_desk(settings, getattr(arguments, "root", [])) as desk:
        if arguments.what == "list":
            return await _list(desk, arguments)
        act, _ = _VERBS[arguments.what]
        return await act(desk, await desk.find(arguments.run), arguments)


async def _list(desk: Desk, arguments: argparse.Namespace) -> int:
    state = RunState(arguments.state) if arguments.state else None
    runs = await desk.newest(arguments.limit, state, arguments.pipeline)
    for one in runs:
        ended = one.outcome or one.state
        began = datetime.fromtimestamp(one.created / 1e6, UTC).astimezone()
        row = f"{one.id}  {ended:<9}  {began:%Y-%m-%d %H:%M:%S}  {one.pipeline}  {one.principal}"
        print(visible(row))
    if not runs:
        print("no runs", file=sys.stderr)
    return 0


async def _show(desk: Desk, run: str, arguments: argparse.Namespace) -> int:
    shown = await desk.show(run)
    if arguments.json:
        print(json.dumps(shown, indent=2))
        return 0
    print(summary.table(shown))
    if shown["process"] is not None:
        print(visible(f"process {shown['process']} runs it"))
    elif shown["state"] == RunState.RUNNING:
        again = f"pilotage runs resume {run}"
        print(visible(f"no process runs it any more; it goes on with: {again}"))
    return 0


async def _logs(desk: Desk, run: str, arguments: argparse.Namespace) -> int:
    teller = Teller()
    last = (await desk.show(run))["seq"]
    async for event in desk.events(run, -1, settled=False):
        at = time.strftime("%H:%M:%S", time.localtime(event.at / 1e6))
        for line in teller.lines(event):
            print(f"{at}  {line}", flush=True)
        if event.seq >= last and not arguments.follow:
            break
    return 0


async def _events(desk: Desk, run: str, arguments: argparse.Namespace) -> int:
    """One JSON object a line."""
    last = (await desk.show(run))["seq"]
    if arguments.after >= last and not arguments.follow:
        return 0
    async for event in desk.events(run, arguments.after, settled=False):
        print(json.dumps(told.shown(event)), flush=True)
        if event.seq >= last and not arguments.follow:
            break
    return 0


async def _artifacts(desk: Desk, run: str, arguments: argparse.Namespace) -> int:
    """3 where one of those that were asked for is not there any more."""
    files = await desk.files(run)
    if arguments.name is not None:
        files = [one for one in files if f"{one.step}/{one.name}" == arguments.name]
        if not files:
            raise NotFound(f"run {run} has no artifact {arguments.name!r}", "see its list")
    for one in files:
        size = f"{one.size} bytes" if one.size is not None else f"gone: {one.why}"
        print(visible(f"{one.step}/{one.name}  {size}"))
        if arguments.output is not None and one.size is not None:
            await _fetch(desk, one, arguments.output)
    if not files:
        print("no artifacts", file=sys.stderr)
    gone = any(one.size is None for one in files)
    return 3 if gone and arguments.output is not None else 0


async def _fetch(desk: Desk, one: File, folder: Path) -> None:
    """Written whole or not at all, and never outside of `folder`: names are not ours."""
    place = folder / one.step / one.name
    if not place.resolve().is_relative_to(folder.resolve()):
        raise BadInput(f"the artifact {one.name!r} would lie outside of {folder}", "look at it")
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(place.name + ".part")
    with part.open("wb") as into:
        await desk.fetch(one, into)
    part.replace(place)


async def _speak(desk: Desk, run: str, arguments: argparse.Namespace) -> int:
    """Say it, then follow the run from there to its end, or to where it waits again."""
    after = await desk.say(arguments.what, run, arguments.step, arguments.reason)
    teller = Teller(len((await desk.show(run))["steps"]))
    async for event in desk.events(run, after, settled=True):
        for line in teller.lines(event):
            print(f"  {line}", file=sys.stderr, flush=True)
    shown = await desk.show(run)
    print(summary.table(shown))
    return summary.exit_code(shown)


async def _cancel(desk: Desk, run: str, arguments: argparse.Namespace) -> int:
    after = await desk.say("cancel", run, None, arguments.reason)
    async for _ in desk.events(run, after, settled=False):
        pass
    print(visible(f"run {run}: cancelled"))
    return 0


_VERBS: dict[str, tuple[Act, str]] = {
    "show": (_show, "how one stands"),
    "logs": (_logs, "what happened in it"),
    "events": (_events, "the same for programs: a JSON object a line"),
    "artifacts": (_artifacts, "the files that its steps have written"),
    "resume": (_speak, "go on: take up what was cut off, try again what failed or waits"),
    "approve": (_speak, "take a step that waits as it is, and go on"),
    "reject": (_speak, "give a step that waits up: the run fails"),
    "cancel": (_cancel, "end it"),
}
