"""Look at runs of pipelines, and say what a person has to: approve, reject, resume, cancel."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.cli import summary, terminal
from pilotage.domain.errors import BadInput
from pilotage.domain.run import Run, RunState
from pilotage.domain.text import visible
from pilotage.pipeline.tell import Teller
from pilotage.pipeline.told import result
from pilotage.tool.answer import answer
from pilotage.tool.roots import roots

Act = Callable[[App, str, argparse.Namespace], Awaitable[int]]


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = verbs.add_parser("list", help="the newest runs")
    listed.add_argument(
        "--limit", type=terminal.rows, default=20, metavar="N", help="(default: %(default)s)"
    )
    listed.add_argument("--state", choices=[s.value for s in RunState], help="only these")
    for name, (_, help_) in _VERBS.items():
        verb = verbs.add_parser(name, help=help_)
        verb.add_argument("run", metavar="RUN", help="a run's id, or how it begins")
        if name == "show":
            verb.add_argument("--json", action="store_true", help="all that is known of it")
        if name == "logs":
            verb.add_argument("--follow", action="store_true", help="until it has ended")
        if name in ("approve", "reject", "resume"):
            verb.add_argument("--step", metavar="NAME", help="which, where more than one waits")
        if name in ("approve", "reject", "resume", "cancel"):
            verb.add_argument("--reason", default="", metavar="TEXT", help="kept with the run")
            root = "steps may read and write in it; repeatable (default: here)"
            verb.add_argument("--root", action="append", default=[], metavar="DIR", help=root)


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    if settings.text("mcp.serverUrl"):
        raise BadInput(
            "mcp.serverUrl is set, so runs are at that server and this verb sees those of here",
            "on the server's machine, or with mcp.serverUrl empty",
        )
    return asyncio.run(_run(arguments, settings))


async def _run(arguments: argparse.Namespace, settings: config.Settings) -> int:
    app = App(settings, roots(*getattr(arguments, "root", ()), base="."))
    try:
        if arguments.what == "list":
            return _list(app, arguments)
        act, _ = _VERBS[arguments.what]
        return await act(app, app.runs.find(arguments.run), arguments)
    finally:
        await app.leave()
        app.close()


def _list(app: App, arguments: argparse.Namespace) -> int:
    state = RunState(arguments.state) if arguments.state else None
    runs = app.runs.newest(arguments.limit, state=state)
    for one in runs:
        ended = one.outcome or one.state
        began = datetime.fromtimestamp(one.created / 1e6, UTC).astimezone()
        print(
            f"{one.id}  {ended:<9}  {began:%Y-%m-%d %H:%M:%S}  {visible(one.pipeline)}  "
            f"{visible(one.principal)}"
        )
    if not runs:
        print("no runs", file=sys.stderr)
    return 0


async def _show(app: App, run: str, arguments: argparse.Namespace) -> int:
    frozen, stands = app.runs.show(run)
    told = answer(result(frozen, stands))
    if arguments.json:
        values = {name: step.value for name, step in stands.steps.items()}
        given = {"inputs": stands.beginning.inputs, "github": stands.beginning.github}
        print(json.dumps({**told, **given, "results": values}, indent=2))
        return 0
    print(summary.table(told))
    owner = app.runs.owner(run)
    if owner is not None:
        print(f"process {owner} runs it")
    elif stands.state is RunState.RUNNING:
        print(f"no process runs it any more; it goes on with: pilotage runs resume {run}")
    return 0


async def _logs(app: App, run: str, arguments: argparse.Namespace) -> int:
    teller = Teller()
    last = app.runs.show(run)[1].seq
    async for event in app.runs.events(run):
        at = time.strftime("%H:%M:%S", time.localtime(event.at / 1e6))
        for line in teller.lines(event):
            print(f"{at}  {line}", flush=True)
        if event.seq >= last and not arguments.follow:
            break
    return 0


async def _approve(app: App, run: str, arguments: argparse.Namespace) -> int:
    say = app.runs.approve(run, local_principal(), arguments.step, arguments.reason)
    return await _go_on(app, run, await say)


async def _reject(app: App, run: str, arguments: argparse.Namespace) -> int:
    say = app.runs.reject(run, local_principal(), arguments.step, arguments.reason)
    return await _go_on(app, run, await say)


async def _resume(app: App, run: str, arguments: argparse.Namespace) -> int:
    say = app.runs.resume(run, local_principal(), arguments.step, arguments.reason)
    return await _go_on(app, run, await say)


async def _cancel(app: App, run: str, arguments: argparse.Namespace) -> int:
    await app.runs.cancel(run, local_principal(), arguments.reason)
    await app.runs.wait(run)
    print(f"run {run}: cancelled")
    return 0


async def _go_on(app: App, run: str, stands: Run) -> int:
    """Follow it from here to its end, or to where it waits again."""
    owner = app.runs.owner(run)
    if run not in app.runs.driven() and owner is not None:
        print(f"process {owner} goes on with it", file=sys.stderr)
    teller = Teller(len(stands.steps))
    async for event in app.runs.events(run, stands.seq, settled=True):
        for line in teller.lines(event):
            print(f"  {line}", file=sys.stderr, flush=True)
    told = answer(result(*app.runs.show(run)))
    print(summary.table(told))
    return summary.exit_code(told)


_VERBS: dict[str, tuple[Act, str]] = {
    "show": (_show, "how one stands"),
    "logs": (_logs, "what happened in it"),
    "resume": (_resume, "go on: take up what was cut off, try again what failed or waits"),
    "approve": (_approve, "take a step that waits as it is, and go on"),
    "reject": (_reject, "give a step that waits up: the run fails"),
    "cancel": (_cancel, "end it"),
}
