"""The one way to a tool. REST, MCP, the command line and pipeline steps all pass here."""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol

from msgspec.structs import replace

from pilotage.audit.log import AuditLog
from pilotage.domain.call import (
    Answer,
    Decision,
    Effect,
    Outcome,
    Progress,
    Report,
    ToolCall,
    ToolResult,
    silent,
)
from pilotage.domain.errors import Busy, Denied, PilotageError
from pilotage.policy.policy import Policy
from pilotage.tool.approvals import Approvals, Current
from pilotage.tool.beside import beside, is_large
from pilotage.tool.care import Care
from pilotage.tool.eager import resume
from pilotage.tool.failure import failed
from pilotage.tool.fair_use import FairUse
from pilotage.tool.limits import Place
from pilotage.tool.redact import Redactor
from pilotage.tool.registry import Entry, Registry
from pilotage.tool.size import small
from pilotage.tool.tool import Tool

logger = logging.getLogger(__name__)
_CANCELLED = ToolResult(Outcome.CANCELLED, error="cancelled")
_DENIALS = (Busy, Denied)
_NO_PLACES: tuple[Place, ...] = ()
_READ, _ALLOW = Effect.READ, Answer.ALLOW  # looked up at an enum, they are slow


class Observer(Protocol):
    """Hears of each call that ended. `tool` is None where there is no such tool."""

    def ended(self, tool: str | None, via: str, outcome: Outcome, seconds: float) -> None: ...

    def refused(self, via: str, error: PilotageError) -> None:
        """It did not run."""

    def kept(self, how: str) -> None:
        """Its answer was there already."""


class Gateway:
    """Audit opens, find, check arguments, policy (and persons, where it asks for them), run,
    redact, audit closes: a straight line. What ran is answered, however it ended; cancelling the
    task of a call cancels its tool."""

    def __init__(
        self,
        registry: Registry,
        policy: Policy,
        approvals: Approvals,
        audit: AuditLog,
        redactor: Redactor,
        fair: FairUse,
        current: Current,
    ) -> None:
        """`current` gives a principal's rights of now, or raises Denied: asked of what waited."""
        self._registry, self._policy, self._limits = registry, policy, fair.limits
        self._audit, self._redactor, self._current = audit, redactor, current
        self._care = Care(approvals, fair.attempts, fair.cache)
        self._observer: Observer | None = None
        self.running = 0  # calls in flight

    def over(self, registry: Registry) -> Gateway:
        """A gateway to other tools; policy, audit and all else are the same."""
        other = copy.copy(self)
        other._registry = registry
        return other

    def tell(self, observer: Observer) -> None:
        """From now on, `observer` hears of each call that ends."""
        self._observer = observer

    async def call(self, call: ToolCall, report: Report = silent) -> ToolResult:
        """Run one call. What is refused before it runs is raised as a PilotageError."""
        began, report = time.perf_counter(), _cleaned(report, self._redactor)
        entry, decision, result, held = None, None, _CANCELLED, _NO_PLACES
        self._audit.open(call, self._redactor.arguments(call.arguments))
        self.running += 1
        try:
            entry = self._registry.find(call.tool)
            if self.running > self._limits.free or entry.tool.effect is not _READ:
                entry, call, held = await self._enter(entry, call, report)
            tool = entry.tool
            arguments, ignored = entry.arguments.check(call.arguments)
            call = call if arguments is call.arguments else replace(call, arguments=arguments)
            decision = self._decide(tool, call)
            if decision.answer is _ALLOW and call.idempotency_key is None and tool.plain:
                running = tool.run(call, report)
            else:  # denied, or a person has approved this very call, or its answer is there
                held = held or self._limits.hold(call, tool)  # it may wait for another's
                running = await self._begin(tool, call, decision, report)
            try:
                wants = running.send(None)
            except StopIteration as end:
                result = end.value
            except Exception as error:
                result = failed(call, error)
            else:
                held = held or self._limits.hold(call, tool)
                result = await _wait(tool, call, running, wants)
            said = ignored or result.error is not None or self._redactor.knows
            if said or tool.owner or not small(result):
                whole, result = result, ToolResult(result.outcome)  # should nobody wait for it
                result = await self._fitted(entry, whole, ignored)
            return result
        except PilotageError as refused:
            result = self._refusal(call, refused)
            raise
        finally:
            self._limits.release(held)
            self._close(entry, call, decision, result, time.perf_counter() - began)

    async def _begin(
        self, tool: Tool, call: ToolCall, decision: Decision, report: Report
    ) -> Coroutine[Any, Any, ToolResult]:
        still = partial(self._still, call, decision)
        return await self._care.begin(tool, call, decision, report, still)

    def _refusal(self, call: ToolCall, refused: PilotageError) -> ToolResult:
        if self._observer is not None:
            self._observer.refused(call.via, refused)
        outcome = Outcome.DENIED if isinstance(refused, _DENIALS) else Outcome.FAILED
        return ToolResult(outcome, error=self._redactor.text(refused.what), hint=refused.hint)

    async def _enter(
        self, entry: Entry, call: ToolCall, report: Report
    ) -> tuple[Entry, ToolCall, tuple[Place, ...]]:
        """Within its limits; and what may change something only once its intent is on disk, counted
        from here on. Its tool and its rights as they are after that, and the places it has."""
        if self.running > self._limits.free:
            waits = partial(self._waits, call, report, [])
            if await self._limits.let_in(call, entry.tool, waits):
                entry, call = self._now(call)
        if entry.tool.effect is _READ:
            return entry, call, _NO_PLACES
        held = self._limits.hold(call, entry.tool)
        try:
            await self._audit.settled()
            self._registry.find(call.tool)
        except BaseException:
            self._limits.release(held)
            raise
        return entry, call, held

    def _waits(self, call: ToolCall, report: Report, told: list[str], why: str) -> None:
        """A step waits for its turn: said once a reason. It ends where it has no rights by now."""
        self._now(call)
        if why not in told:
            told.append(why)
            report(Progress(f"waits for its turn: {why}"))

    def _decide(self, tool: Tool, call: ToolCall) -> Decision:
        effect = tool.effect_of(call.arguments)
        return self._policy.decide(call.by, call.tool, effect, call, tool.behind)

    def _now(self, call: ToolCall) -> tuple[Entry, ToolCall]:
        """The tool as it is now, and the call with the rights of now. Raises where there are none:
        a key that is revoked, a tool that is disabled, quarantined or gone."""
        by = self._current(call.by)
        return self._registry.find(call.tool), call if by == call.by else replace(call, by=by)

    def _still(self, call: ToolCall, before: Decision) -> None:
        """Raises where a call that was let in `before` would not be let in now. What a person
        approved was approved under one version of the policy."""
        entry, call = self._now(call)
        now = self._decide(entry.tool, call)
        asked = before.answer is Answer.ASK and now.policy == before.policy
        if now.answer is Answer.DENY or (now.answer is Answer.ASK and not asked):
            raise Denied(f"not tried again: {now.why}", now.hint)

    async def _fitted(
        self, entry: Entry, result: ToolResult, ignored: tuple[str, ...]
    ) -> ToolResult:
        """See _fit. A large one is looked through beside the event loop."""
        if is_large(result):
            return await beside(self._fit, entry, result, ignored)
        return self._fit(entry, result, ignored)

    def _fit(self, entry: Entry, result: ToolResult, ignored: tuple[str, ...]) -> ToolResult:
        """Within its limit, without known secrets, with the names of arguments that did not count;
        that of another's tool without what hides in it."""
        result = self._limits.fitting(entry.tool.name, result)
        if ignored:
            warnings = entry.arguments.warnings(ignored)
            result = replace(result, ignored=ignored, warnings=warnings)
        if entry.tool.owner:
            from pilotage.tool.results import screened  # here: a start without such tools saves it

            result = screened(result)
        if ignored or result.error is not None or self._redactor.knows:
            result = self._redactor.whole(result)
        return result

    def _close(
        self,
        entry: Entry | None,
        call: ToolCall,
        decision: Decision | None,
        result: ToolResult,
        seconds: float,
    ) -> None:
        self.running -= 1
        self._audit.close(call, decision, result, seconds)
        if self._observer is not None:
            name = None if entry is None else call.tool
            self._observer.ended(name, call.via, result.outcome, seconds)
            if result.kept is not None:
                self._observer.kept(result.kept.how)


def _cleaned(report: Report, redactor: Redactor) -> Report:
    """Progress without secrets: it goes to whoever waits, and into the log of a run."""
    if report is silent:
        return report

    def told(progress: Progress) -> None:
        message = redactor.text(progress.message)
        report(
            progress
            if message == progress.message
            else Progress(message, progress.done, progress.total)
        )

    return told


async def _wait(
    tool: Tool, call: ToolCall, running: Coroutine[Any, Any, ToolResult], wants: Any
) -> ToolResult:
    """The rest of a call that did not end in its first step, with a deadline."""
    limit = tool.timeout if call.timeout is None else min(call.timeout, tool.timeout)
    deadline = asyncio.timeout(limit)
    stands = call.peer.deadline if call.peer is not None else None
    if stands is not None:
        stands.begin(deadline)
    try:
        async with deadline:
            return await resume(running, wants)
    except Exception as error:
        if deadline.expired():
            late = stands.why if stands is not None else ""
            why = late or f"{call.tool} took longer than {limit:g} s"
            return ToolResult(Outcome.TIMED_OUT, error=why)
        return failed(call, error)
