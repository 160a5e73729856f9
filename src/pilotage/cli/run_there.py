"""Run a pipeline at a server: start it once, follow it through every break, leave it running."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from typing import Any

from pilotage.ci.client import Client, Unlinted
from pilotage.ci.runs import RunsThere
from pilotage.cli.desk import note
from pilotage.domain.call import Progress, Report
from pilotage.domain.errors import BadInput
from pilotage.domain.ids import new_id
from pilotage.domain.pipeline import Problem
from pilotage.domain.text import visible
from pilotage.pipeline import told
from pilotage.pipeline.tell import Teller, problem_line


async def run_there(
    client: Client, body: Mapping[str, Any], key: str | None, file: str, report: Report
) -> dict[str, Any] | None:
    """How it stands at its end or where it waits; None where a signal came: the run goes on, and
    how to go on with it is said. `file` is the pipeline's, for the places of what is wrong."""
    following = _Following(RunsThere(client, note), report)
    work = asyncio.ensure_future(following.to_its_rest(body, key or f"cli-{new_id()}", file))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        following.say_how_to_go_on()
        return None


class _Following:
    def __init__(self, runs: RunsThere, report: Report) -> None:
        self._runs, self._report = runs, report
        self._run = ""

    async def to_its_rest(self, body: Mapping[str, Any], key: str, file: str) -> dict[str, Any]:
        try:
            begun = await self._runs.start(body, key)
        except Unlinted as error:
            raise _told(error, file) from None
        self._run, total = str(begun["run"]), len(begun["steps"])
        for warning in begun.get("warnings", ()):
            print(visible(str(warning)), file=sys.stderr)
        self._report(Progress(f"run {self._run}", 0, total))
        teller = Teller(total)
        async for shown in self._runs.events(self._run, settled=True):
            for line in teller.lines(told.event(shown)):
                self._report(Progress(line, teller.done, teller.total))
        return await self._runs.one(self._run)

    def say_how_to_go_on(self) -> None:
        if not self._run:
            print("interrupted; whether a run began says: pilotage runs list", file=sys.stderr)
            return
        run = visible(self._run)
        print(f"interrupted; run {run} goes on at the server", file=sys.stderr)
        print(f"hint:  pilotage runs logs {run} --follow; ... runs cancel {run}", file=sys.stderr)


def _told(error: Unlinted, file: str) -> BadInput:
    """Each problem is a line, with its place in the file that the server has never seen."""
    fields = ("level", "what", "hint", "path", "line", "column")
    for each in error.problems:
        problem = Problem(**{name: each[name] for name in fields if name in each})
        print(problem_line(problem, file), file=sys.stderr)
    return BadInput(error.what, error.hint)
