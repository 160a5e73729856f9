"""Runs, wherever they are: of this state folder, or of the server of mcp.serverUrl."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import msgspec

from pilotage.app import App, local_principal
from pilotage.cli.door import open_door
from pilotage.config import Settings
from pilotage.domain.errors import BadInput, PilotageError
from pilotage.domain.run import Event, RunState, RunSummary
from pilotage.domain.text import visible
from pilotage.pipeline import told
from pilotage.store.runs import Wanted
from pilotage.tool.answer import answer
from pilotage.tool.roots import roots

if TYPE_CHECKING:
    from pilotage.ci.runs import RunsThere


@dataclass(frozen=True, slots=True)
class File:
    """A file of a run, `name` under its `step`. `size` in bytes, None where it cannot be read any
    more, and `why`. `handle` is what its desk knows it by."""

    step: str
    name: str
    size: int | None
    why: str
    handle: Any


class Desk(Protocol):
    """Where runs are looked at and spoken to."""

    async def find(self, start: str) -> str:
        """The run whose id is or begins with `start`."""

    async def newest(
        self, limit: int, state: RunState | None, pipeline: str | None
    ) -> list[RunSummary]:
        """The newest first."""

    async def show(self, run: str) -> dict[str, Any]:
        """All that is known of it: see server/routes/runs.py, RunView."""

    def events(self, run: str, after: int, *, settled: bool) -> AsyncIterator[Event]:
        """What happens after event `after`, until it has ended; `settled`: or waits."""

    async def say(self, verb: str, run: str, step: str | None, reason: str) -> int:
        """Approve, reject, resume or cancel. The number of the event after which to listen."""

    async def files(self, run: str) -> list[File]:
        """What its steps have written."""

    async def fetch(self, file: File, into: BinaryIO) -> None:
        """The bytes of one of these."""


@asynccontextmanager
async def open_desk(settings: Settings, folders: list[str]) -> AsyncIterator[Desk]:
    """The server's, where one is named; nothing falls back from one to the other."""
    if settings.text("mcp.serverUrl") and folders:
        raise BadInput("--root is for runs of here, and mcp.serverUrl is set", "leave it out")
    async with open_door(settings, roots(*folders, base=".")) as door:
        if door.app is not None:
            yield _Here(door.app)
            return
        from pilotage.ci.runs import RunsThere  # here, as in door.py

        assert door.client is not None
        yield _There(RunsThere(door.client, note))


def note(line: str) -> None:
    """A line beside the output."""
    print(visible(f"note: {line}"), file=sys.stderr, flush=True)


class _Here:
    def __init__(self, app: App) -> None:
        self._app, self._runs = app, app.runs

    async def find(self, start: str) -> str:
        return self._runs.find(start)

    async def newest(
        self, limit: int, state: RunState | None, pipeline: str | None
    ) -> list[RunSummary]:
        return self._runs.newest(limit, state=state, wanted=Wanted(pipeline))

    async def show(self, run: str) -> dict[str, Any]:
        plan, stands = self._runs.show(run)
        return {
            **answer(told.result(plan, stands)),
            **told.beside(plan, stands, results=True),
            "process": self._runs.owner(run),
        }

    def events(self, run: str, after: int, *, settled: bool) -> AsyncIterator[Event]:
        return self._runs.events(run, after, settled=settled)

    async def say(self, verb: str, run: str, step: str | None, reason: str) -> int:
        by = local_principal()
        if verb == "cancel":
            return (await self._runs.cancel(run, by, reason)).seq
        stands = await getattr(self._runs, verb)(run, by, step, reason)
        owner = self._runs.owner(run)
        if run not in self._runs.driven() and owner is not None:
            print(f"process {owner} goes on with it", file=sys.stderr)
        seq: int = stands.seq
        return seq

    async def files(self, run: str) -> list[File]:
        return [self._file(one) for one in told.artifacts(*self._runs.show(run))]

    def _file(self, one: told.Artifact) -> File:
        try:
            with self._app.open_artifact(one) as opened:
                size = opened.seek(0, 2)
        except PilotageError as error:
            return File(one.step, one.name, None, str(error), one)
        return File(one.step, one.name, size, "", one)

    async def fetch(self, file: File, into: BinaryIO) -> None:
        with self._app.open_artifact(file.handle) as opened:
            shutil.copyfileobj(opened, into)


class _There:
    def __init__(self, runs: RunsThere) -> None:
        self._runs = runs

    async def find(self, start: str) -> str:
        return await self._runs.find(start)

    async def newest(
        self, limit: int, state: RunState | None, pipeline: str | None
    ) -> list[RunSummary]:
        wanted: dict[str, str | int] = {"limit": limit}
        wanted |= {"state": state.value} if state is not None else {}
        wanted |= {"pipeline": pipeline} if pipeline is not None else {}
        return msgspec.convert(await self._runs.newest(**wanted), list[RunSummary])

    async def show(self, run: str) -> dict[str, Any]:
        return await self._runs.one(run, results=True)

    async def events(self, run: str, after: int, *, settled: bool) -> AsyncIterator[Event]:
        async for shown in self._runs.events(run, after, settled=settled):
            yield told.event(shown)

    async def say(self, verb: str, run: str, step: str | None, reason: str) -> int:
        return int((await self._runs.say(verb, run, step, reason))["seq"])

    async def files(self, run: str) -> list[File]:
        return [
            File(one["step"], one["name"], one["size"], one["why"], one["href"])
            for one in await self._runs.artifacts(run)
        ]

    async def fetch(self, file: File, into: BinaryIO) -> None:
        await self._runs.fetch(file.handle, into)
