"""The durable runs of one state folder: start, follow, judge, take up again.

A run belongs to the process that holds its lock; others follow its journal. What a person says is
an event like any other: it is appended, and wakes the owner at once, or within WATCH_SECONDS where
that is another process. A run that nobody holds is taken by whoever wants it to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pilotage.domain.call import Outcome, Principal, holder_of
from pilotage.domain.errors import Conflict, NotFound, PilotageError
from pilotage.domain.ids import new_id
from pilotage.domain.pipeline import Pipeline
from pilotage.domain.run import Event, Kind, Run, RunState, RunSummary
from pilotage.pipeline import fold, journal, lint
from pilotage.pipeline.catalogue import Catalogue
from pilotage.pipeline.driver import Caller, Driver, Means
from pilotage.pipeline.lock import Locks
from pilotage.pipeline.plan import Plan, plan
from pilotage.pipeline.prepare import Given, Terms, prepared
from pilotage.pipeline.say import Said, judged, resumed, stopped
from pilotage.pipeline.tell import left_alone
from pilotage.pipeline.watch import Watch
from pilotage.store import runs as rows
from pilotage.store.database import Database

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Judge = Callable[[str, Principal, Kind, str], Awaitable[bool]]
"""Tells an approval what a person says of it. False: it does not wait any more, so only the run
is to be told."""
TAKE_SECONDS = 1.0
"""How often one who waits for a run tries whether its owner is gone."""
PAGE = 100
"""Events of a journal that are read at once for who follows it."""
SETTLED = (RunState.WAITING, RunState.ENDED)


class Runs:
    """One of these a process. Close it. `tools` are those that steps may call; `record` is told,
    in the writer's transaction, what a person said to a run: event, run, who, and the words."""

    def __init__(
        self,
        database: Database,
        home: Path,
        call: Caller,
        tools: Catalogue,
        terms: Terms,
        current: Callable[[Principal], Principal],
        record: Callable[[str, str, Principal, Mapping[str, Any]], None],
    ) -> None:
        self._database, self.tools, self._terms = database, tools, terms
        self._record = record
        self._locks = Locks(home / "runs.lock")
        self._owner = new_id()
        self._live: dict[str, tuple[Driver, asyncio.Task[None]]] = {}
        self._watch = Watch(database, self._live)
        self._means = Means(database, call, tools, current, self._watch.ring)
        self._taking: dict[str, asyncio.Task[bool]] = {}
        self._unfinished: set[asyncio.Task[Any]] = set()
        self._broken: dict[str, Exception] = {}
        self._closed = False
        self.judge: Judge | None = None

    async def start(self, pipeline: Pipeline, given: Given, by: Principal) -> str:
        """A new run, driven by this process; or, where `key` was used before, that run, taken up
        again if it was cut off. Returns once it is on disk. The caller may go away."""
        return await self._whole(self._start(pipeline, given, by))

    async def _start(self, pipeline: Pipeline, given: Given, by: Principal) -> str:
        lint.refuse_unknown_tools(pipeline, self.tools)
        frozen = plan(pipeline, self._terms.retry_count)
        ready = await asyncio.to_thread(prepared, frozen.pipeline, given)  # may take a while
        now = time.time_ns() // 1000
        body = {
            "pipeline": frozen.pipeline,
            "by": {"name": by.name, "roles": sorted(by.roles), "tools": by.tools},
            "folder": self._terms.folder,
            "timeout": min(given.timeout or self._terms.timeout, self._terms.timeout),
            **ready,
        }
        first = journal.row(Event(0, now, Kind.CREATED, None, body))
        name, state, whose = pipeline.name, RunState.QUEUED.value, holder_of(by)
        row = rows.RunRow(
            0, new_id(), whose, given.key, name, frozen.digest, None, None, now, now, state, None
        )

        def create(connection: sqlite3.Connection) -> tuple[rows.RunRow, bool]:
            made, new = rows.create(connection, row, first)
            if new:
                words = {"pipeline": name, "digest": frozen.digest, "key": given.key}
                self._record("run.created", made.id, by, words)
            return made, new

        made, new = await self._database.write(create)
        if not new:
            self._refuse_another(made, frozen, body["inputs"])
        if new or made.state not in SETTLED:
            await self.take(made.id)
        return made.id

    def _refuse_another(self, row: rows.RunRow, frozen: Plan, inputs: Mapping[str, Any]) -> None:
        """What a job says of its surroundings may differ when it tries again; its work may not."""
        what = "of another pipeline" if row.digest != frozen.digest else ""
        if not what and journal.read(self._database, row.id, -1, 1)[0].body["inputs"] != inputs:
            what = "with other inputs"
        if what:
            raise Conflict(f"the key {row.key!r} belongs to run {row.id} {what}", "another key")

    async def take(self, run: str) -> bool:
        """Drive a run that nobody drives. False: another process does, or it has ended."""
        if run in self._live:
            return True
        if run not in self._taking:
            self._taking[run] = asyncio.create_task(self._take(run))
            self._taking[run].add_done_callback(lambda _: self._taking.pop(run))
        return await asyncio.shield(self._taking[run])

    async def _take(self, run: str) -> bool:
        row = self._row(run)
        if row.state == RunState.ENDED or not self._locks.take(row.number):
            return False
        try:
            journal.refuse_elsewhere(self._database, run, self._terms.folder)
            frozen, stands = journal.load(self._database, run)
            taken = await self._database.write(lambda c: self._taken(c, frozen, stands))
        except BaseException:
            self._locks.release(row.number)
            raise
        if taken.outcome is not None:
            self._locks.release(row.number)
            return False
        driver = Driver(self._means, frozen, taken, self._owner)
        task = asyncio.create_task(self._drive(driver, row.number), name=f"run {run}")
        self._live[run] = (driver, task)
        self._watch.begin()
        return True

    def _taken(self, connection: sqlite3.Connection, frozen: Plan, run: Run) -> Run:
        run = journal.caught_up(connection, frozen, run)
        if run.outcome is not None:
            return run
        body = {"owner": self._owner, "pid": os.getpid()}
        event = _next(run, Kind.TAKEN, None, body)
        after = fold.fold(frozen, run, [event])
        journal.append(connection, run, after, [event], (self._owner, os.getpid()))
        return after

    async def _drive(self, driver: Driver, number: int) -> None:
        run = driver.run.id
        try:
            await driver.drive()
        except Exception as error:
            logger.error("run %s is not driven any more: %r", run, error)
            self._broken[run] = error
        finally:
            del self._live[run]
            with contextlib.suppress(OSError):  # closed: the lock is gone already
                self._locks.release(number)
            self._watch.ring(run)

    async def recover(self) -> list[str]:
        """Take up every run that is not over and that nobody drives. For a server that starts."""
        found: list[str] = []
        left: Counter[str] = Counter()
        for row in rows.unfinished(self._database):
            try:
                if row.id not in self._live and await self.take(row.id):
                    found.append(row.id)
            except journal.Elsewhere as error:
                left[error.folder] += 1
            except PilotageError as error:
                logger.warning("run %s was left: %s", row.id, error)
        if left:
            logger.warning(left_alone(left))
        return found

    async def wait(self, run: str) -> Run:
        """Until it has ended or waits for a person. Should its owner die meanwhile, this process
        goes on with it. Cancelling the wait leaves the run alone."""
        live = self._live.get(run)
        self._row(run)
        with self._watch.bell(run, each=False) as bell:
            while not self._at_rest(run):
                await self._rung(run, bell)
                bell.clear()
        return live[0].run if live is not None and live[0].run.outcome else self.show(run)[1]

    async def events(
        self, run: str, after: int = -1, *, settled: bool = False, take: bool = True
    ) -> AsyncIterator[Event]:
        """The journal from event `after` on, as it grows, until the run has ended; `settled`: or
        waits for a person, and with the promise of `wait` unless `take` is False. Never more than
        PAGE of them are held, however slowly they are taken."""
        self._row(run)
        with self._watch.bell(run, each=True) as bell:
            over = False
            while True:
                bell.clear()
                while page := journal.read(self._database, run, after, PAGE):
                    for event in page:
                        after = event.seq
                        yield event
                if over or self._closed:
                    return
                over = self._at_rest(run) if settled else self._row(run).state == RunState.ENDED
                if over:
                    continue
                if settled and take:
                    await self._rung(run, bell)
                else:
                    await bell.wait()

    async def _rung(self, run: str, bell: asyncio.Event) -> None:
        """When the journal has grown, or it is time to see whether the owner is gone."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAKE_SECONDS):
                await bell.wait()
                return
        await self.take(run)

    def _at_rest(self, run: str) -> bool:
        """It has ended or waits; and our own driver, if any, sees it so too."""
        if run in self._broken:
            raise self._broken.pop(run)
        live = self._live.get(run)
        if live is not None and not live[0].at_rest:
            return False
        return RunState(self._row(run).state) in SETTLED

    async def approve(
        self, run: str, by: Principal, step: str | None = None, reason: str = ""
    ) -> Run:
        """Take a step that waits as it is: what needs it may start. One that waits to be allowed
        runs, once as many have approved as must."""
        return await self._judge(run, by, Kind.APPROVED, step, reason)

    async def reject(
        self, run: str, by: Principal, step: str | None = None, reason: str = ""
    ) -> Run:
        """Give a step that waits up: what needs it does not run, and the run fails."""
        return await self._judge(run, by, Kind.REJECTED, step, reason)

    async def give_up(self, run: str, by: Principal, step: str, reason: str) -> Run:
        """The same for a step whose approval was rejected."""
        return await self._say(run, by, judged(Kind.REJECTED, by, step, reason))

    async def _judge(
        self, run: str, by: Principal, kind: Kind, step: str | None, reason: str
    ) -> Run:
        said, stands = judged(kind, by, step, reason), self.show(run)[1]
        approval = next((stands.steps[name].approval for _, name, _ in said(stands) if name), "")
        if approval and self.judge and await self.judge(approval, by, kind, reason):
            return self.show(run)[1]
        return await self._say(run, by, said)

    async def resume(
        self, run: str, by: Principal, step: str | None = None, reason: str = ""
    ) -> Run:
        """Go on from where it stopped. Steps that ended well stay; those that failed, were
        skipped, or wait, are tried again (`step`: that one alone, which waits); a run whose owner
        died is taken up."""
        return await self._say(run, by, resumed(by, step, reason))

    async def cancel(self, run: str, by: Principal, reason: str = "") -> Run:
        """End it: what runs is stopped, what has not begun is skipped."""
        return await self._say(run, by, stopped(by, reason))

    async def _whole(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Done to its end, whether or not the caller stays."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return await asyncio.shield(task)

    async def _say(self, run: str, by: Principal, said: Said) -> Run:
        """Append what a person says, wake the owner, or become it."""
        return await self._whole(self._append(run, by, said))

    async def _append(self, run: str, by: Principal, said: Said) -> Run:
        row = self._row(run)
        if run not in self._live and not self._locks.held(row.number):
            journal.refuse_elsewhere(self._database, run, self._terms.folder)
        frozen, stands = journal.load(self._database, run)

        def append(connection: sqlite3.Connection) -> Run:
            now = journal.caught_up(connection, frozen, stands)
            for kind, step, body in said(now):
                event = _next(now, kind, step, body)
                after = fold.fold(frozen, now, [event])
                journal.append(connection, now, after, [event])
                now = after
                self._record(kind, run, by, {"step": step, **body})
            return now

        after = await self._database.write(append)
        self._watch.ring(run)
        if run in self._live:
            self._live[run][0].nudge()
        else:
            await self.take(run)
        return after

    def newest(
        self,
        limit: int = 20,
        before: str | None = None,
        state: RunState | None = None,
        wanted: rows.Wanted = rows.ANY,
    ) -> list[RunSummary]:
        """The newest first."""
        found = rows.newest(self._database, limit, before, state, wanted)
        return [_summary(row) for row in found]

    def summary(self, run: str) -> RunSummary:
        """One line of it, without reading its journal."""
        return _summary(self._row(run))

    def page(self, run: str, after: int, limit: int, step: str | None = None) -> list[Event]:
        """At most so many events after number `after`, of one step where it is named."""
        return journal.read(self._database, run, after, limit, step)

    def tail(self, run: str, limit: int, step: str | None = None) -> list[Event]:
        """The last events, in order."""
        return journal.tail(self._database, run, limit, step)

    def begun(self, run: str, upto: int) -> list[Event]:
        """The attempts of steps that began up to event `upto`: what a Teller must have heard."""
        return journal.begun(self._database, run, upto)

    def show(self, run: str) -> tuple[Plan, Run]:
        """A run and what it follows, as the journal has it: what drives it may still lag behind."""
        live = self._live.get(run)
        if live is not None:
            plan, stands = live[0].plan, live[0].run
            return plan, fold.fold(plan, stands, journal.read(self._database, run, stands.seq))
        self._row(run)
        return journal.load(self._database, run)

    def find(self, start: str) -> str:
        """The run whose id is or begins with `start`."""
        found = rows.alike(self._database, start.upper()) if start else []
        if len(found) != 1:
            what = f"more than one run begins with {start!r}" if found else f"no run {start!r}"
            raise NotFound(what, "pilotage runs list")
        return found[0]

    def driven(self) -> tuple[str, ...]:
        """The runs that this process drives."""
        return tuple(self._live)

    def owner(self, run: str) -> int | None:
        """The process that drives it now, None where nobody does."""
        row = self._row(run)
        if run in self._live:
            return os.getpid()
        return row.pid if self._locks.held(row.number) else None

    async def close(self) -> None:
        """Let go of everything. Runs that were driven here can be taken up by anybody; who
        follows one sees its events end without an end of the run."""
        self._closed = True
        tasks = [task for _, task in self._live.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._watch.close()

    def release(self) -> None:
        """Give up every lock; no loop need be running."""
        self._locks.close()

    def _row(self, run: str) -> rows.RunRow:
        row = rows.find(self._database, run)
        if row is None:
            raise NotFound(f"there is no run {run}", "pilotage runs list")
        return row


def _summary(row: rows.RunRow) -> RunSummary:
    outcome = Outcome(row.outcome) if row.outcome else None
    state = RunState(row.state)
    return RunSummary(row.id, row.pipeline, row.principal, row.created, row.changed, state, outcome)


def _next(run: Run, kind: Kind, step: str | None, body: Mapping[str, Any]) -> Event:
    return Event(run.seq + 1, max(run.at, time.time_ns() // 1000), kind, step, body)
