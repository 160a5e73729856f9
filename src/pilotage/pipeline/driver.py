"""Drives one run: asks `advance` what follows, writes it down, and only then does it.

The order is what makes a run durable. An effect begins after its "started" is on disk; a driver
that has lost its run (another process took it) cannot write, so it begins nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from pilotage.domain.call import LET_GO, Outcome, Principal, Progress, Report, ToolCall, ToolResult
from pilotage.domain.errors import Busy, Denied, NeedsApproval, PilotageError, Unavailable
from pilotage.domain.ids import new_id
from pilotage.domain.run import Kind, Run, RunState, StepRun, StepState
from pilotage.pipeline import journal
from pilotage.pipeline.advance import News, advance
from pilotage.pipeline.catalogue import Catalogue
from pilotage.pipeline.decide import Move
from pilotage.pipeline.fold import fold
from pilotage.pipeline.plan import Plan
from pilotage.pipeline.template import fill, holes
from pilotage.store.database import Database
from pilotage.store.runs import Overtaken

logger = logging.getLogger(__name__)
_MAY_MEND = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.UNAVAILABLE)
SAY_SECONDS = 0.2
SAY_LINES = 200
"""Lines of progress kept of one step within SAY_SECONDS."""

Caller = Callable[[ToolCall, Report], Awaitable[ToolResult]]


class Lost(Exception):
    """Another process drives this run now."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a driver works with. `current` gives a principal's rights as they are now, or raises
    Denied; `told` is called with a run's id after each change of it."""

    database: Database
    call: Caller
    tools: Catalogue
    current: Callable[[Principal], Principal]
    told: Callable[[str], None]


class Driver:
    """Of one run that this process owns under the name `owner`."""

    def __init__(self, means: Means, plan: Plan, run: Run, owner: str) -> None:
        self.plan, self.run = plan, run
        self._means, self._owner = means, owner
        self._bell = asyncio.Event()
        self._news: list[News] = []
        self._said: dict[str, list[str]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._stale = False
        self._due: int | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def nudge(self) -> None:
        """Somebody else has written into the journal."""
        self._stale = True
        self._bell.set()

    @property
    def at_rest(self) -> bool:
        """Over, or waiting for a person, as far as is known here."""
        return not self._stale and self.run.state in (RunState.WAITING, RunState.ENDED)

    async def drive(self) -> None:
        """To the end of the run. Cancelling it lets go of the run without ending it."""
        try:
            while self.run.outcome is None:
                await self._rest(await self._advance())
        except Lost:
            logger.warning("run %s was taken by another process", self.run.id)
        finally:
            await self._let_go()

    async def _advance(self) -> Move:
        """Write down the news and what follows from it, then do it."""
        self._bell.clear()
        if self._stale:
            self._catch_up()
        news, self._news = self._news, []
        while True:
            now = time.time_ns() // 1000
            run, events, move = advance(self.plan, self.run, news, now, self._idempotent)
            if not events:
                break
            try:
                await self._means.database.write(
                    partial(journal.append, before=self.run, after=run, events=events)
                )
            except Overtaken:
                self._catch_up()
                continue
            self.run = run
            self._means.told(run.id)
            for event in events:
                if event.kind is Kind.STARTED and event.step is not None:
                    self._start(event.step)
            break
        for name in move.cancel:
            if name in self._tasks and name not in self._cancelled:
                self._cancelled.add(name)
                self._tasks[name].cancel()
        return move

    def _catch_up(self) -> None:
        """Take in what others wrote: approvals, a cancellation; or that the run is ours no more."""
        self._stale = False
        events = journal.read(self._means.database, self.run.id, self.run.seq)
        if any(e.kind is Kind.TAKEN and e.body["owner"] != self._owner for e in events):
            raise Lost
        self.run = fold(self.plan, self.run, events)
        self._means.told(self.run.id)

    async def _rest(self, move: Move) -> None:
        """Until there is news, or something is due."""
        if self.run.outcome is not None:
            return
        if move.due != self._due:
            self._set_alarm(move.due)
        await self._bell.wait()

    def _set_alarm(self, due: int | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._due, self._alarm = due, None
        if due is not None:
            delay = max(0.0, due / 1e6 - time.time())
            self._alarm = asyncio.get_running_loop().call_later(delay, self._ring)

    def _ring(self) -> None:
        self._due = None
        self._bell.set()

    def _idempotent(self, name: str) -> bool:
        known = self._means.tools.get(self.plan.steps[name].tool)
        return known is not None and known.idempotent

    def _start(self, name: str) -> None:
        self._cancelled.discard(name)
        self._tasks[name] = asyncio.create_task(self._attempt(name))

    async def _attempt(self, name: str) -> None:
        """One call of a step's tool; how it ended becomes news."""
        try:
            body = await self._call(name)
        except asyncio.CancelledError:
            if name not in self._cancelled:
                raise
            body = {"outcome": Outcome.CANCELLED, "error": "cancelled", "retry": False}
        finally:
            self._tasks.pop(name, None)
        self._take_said()
        self._news.append((Kind.FINISHED, name, body))
        self._bell.set()

    async def _call(self, name: str) -> Mapping[str, Any]:
        step, run = self.plan.steps[name], self.run
        stands = run.steps[name]
        try:
            call = ToolCall(
                id=new_id(),
                tool=step.tool,
                arguments=await _filled(step.params, contexts(run)),
                by=self._means.current(run.beginning.by),
                via="step",
                idempotency_key=f"{run.id}/{name}",
                run=run.id,
                step=name,
                timeout=step.timeout,
                attempt=stands.attempt - stands.interruptions,
            )
            return _body(await self._means.call(call, partial(self._hear, name)))
        except NeedsApproval as waits:
            body = _failed(Outcome.DENIED, waits.what, waits.hint, False)
            return {**body, "approval": waits.approval["id"]}
        except PilotageError as refused:
            outcome = Outcome.DENIED if isinstance(refused, Denied) else Outcome.FAILED
            again = isinstance(refused, (Busy, Unavailable))
            return _failed(outcome, refused.what, refused.hint, again)
        except Exception as error:
            logger.exception("step %s of run %s broke", name, run.id)
            what = f"{step.tool} broke: {type(error).__name__}: {error}"
            return _failed(Outcome.FAILED, what, "", True)

    def _hear(self, name: str, progress: Progress) -> None:
        """A line of progress; written with the next event, or within SAY_SECONDS."""
        if not self._said:
            asyncio.get_running_loop().call_later(SAY_SECONDS, self._say)
        lines = self._said.setdefault(name, [])
        if len(lines) < SAY_LINES:
            lines.append(progress.message[:1000])
        elif len(lines) == SAY_LINES:
            lines.append("... and more")

    def _say(self) -> None:
        if self._said:
            self._take_said()
            self._bell.set()

    def _take_said(self) -> None:
        self._news += [(Kind.SAID, name, {"lines": lines}) for name, lines in self._said.items()]
        self._said = {}

    async def _let_go(self) -> None:
        """End what runs; its steps stay started in the journal, so that whoever drives next
        finds them cut off."""
        self._set_alarm(None)
        tasks = list(self._tasks.values())
        self._cancelled.clear()
        for task in tasks:
            task.cancel(LET_GO)
        if tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)


async def _filled(params: Any, contexts: Mapping[str, Any]) -> Any:
    """What there is to evaluate is evaluated beside the loop: it may take a while."""
    if next(holes(params), None) is None:
        return fill(params, contexts)
    return await asyncio.to_thread(fill, params, contexts)


class _Steps(Mapping[str, Any]):
    """What expressions read of steps, made only for those that are read."""

    def __init__(self, steps: Mapping[str, StepRun]) -> None:
        self._steps = steps

    def __getitem__(self, name: str) -> dict[str, Any]:
        step = self._steps[name]
        if step.outcome is None or step.state is not StepState.ENDED:
            return {}
        return {"outcome": step.outcome.value, "error": step.error, "outputs": step.value}

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)


def contexts(run: Run) -> dict[str, Any]:
    """What `${{ }}` reads."""
    given, steps = run.beginning, _Steps(run.steps)
    return {"github": given.github, "env": given.env, "inputs": given.inputs, "steps": steps}


def _body(result: ToolResult) -> Mapping[str, Any]:
    """A result as the journal keeps it: plain JSON, the same before and after a crash."""
    if result.succeeded and not result.value:
        return {"outcome": result.outcome}
    body: dict[str, Any] = {"outcome": result.outcome, "retry": result.outcome in _MAY_MEND}
    if result.value:
        body["value"] = msgspec.json.decode(msgspec.json.encode(result.value, enc_hook=str))
    if result.error:
        body["error"] = result.error
    if result.hint:
        body["hint"] = result.hint
    return body


def _failed(outcome: Outcome, error: str, hint: str, retry: bool) -> Mapping[str, Any]:
    return {"outcome": outcome, "error": error, "hint": hint, "retry": retry}
