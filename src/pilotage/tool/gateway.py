"""The one way to a tool. REST, MCP, the command line and pipeline steps all pass here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, Protocol

from msgspec.structs import replace

from pilotage.audit.log import AuditLog
from pilotage.domain.call import (
    Answer,
    Effect,
    Outcome,
    Report,
    ToolCall,
    ToolResult,
    silent,
)
from pilotage.domain.errors import Denied, PilotageError
from pilotage.policy.policy import Policy
from pilotage.tool.approvals import Approvals
from pilotage.tool.eager import resume
from pilotage.tool.redact import Redactor
from pilotage.tool.registry import Entry, Registry

logger = logging.getLogger(__name__)
_CANCELLED = ToolResult(Outcome.CANCELLED, error="cancelled")
_READ, _ALLOW = Effect.READ, Answer.ALLOW  # looked up at an enum, they are slow


class Observer(Protocol):
    """Hears of each call that ended. `tool` is None where there is no such tool."""

    def ended(self, tool: str | None, via: str, outcome: Outcome, seconds: float) -> None: ...


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
    ) -> None:
        self._registry, self._policy, self._approvals = registry, policy, approvals
        self._audit, self._redactor = audit, redactor
        self._observer: Observer | None = None
        self.running = 0  # calls in flight

    def tell(self, observer: Observer) -> None:
        """From now on, `observer` hears of each call that ends."""
        self._observer = observer

    async def call(self, call: ToolCall, report: Report = silent) -> ToolResult:
        """Run one call. What is refused before it runs is raised as a PilotageError."""
        began = time.perf_counter()
        entry, decision, result = None, None, _CANCELLED
        self._audit.open(call, self._redactor.arguments(call.arguments))
        self.running += 1
        try:
            entry = self._registry.find(call.tool)
            if entry.tool.effect is not _READ:
                await self._audit.settled()
            arguments, ignored = entry.arguments.check(call.arguments)
            call = call if arguments is call.arguments else replace(call, arguments=arguments)
            decision = self._policy.decide(call.by, call.tool, entry.tool.effect, call)
            if decision.answer is not _ALLOW:  # denied, or a person has approved this very call
                await self._approvals.settle(call, entry.tool, decision)
            running = entry.tool.run(call, report)
            try:
                wants = running.send(None)
            except StopIteration as end:
                result = end.value
            except Exception as error:
                result = _failed(call, error)
            else:
                result = await _wait(entry, call, running, wants)
            if ignored or result.error is not None or self._redactor.knows:
                result = self._clean(entry, result, ignored)
            return result
        except PilotageError as refused:
            outcome = Outcome.DENIED if isinstance(refused, Denied) else Outcome.FAILED
            result = ToolResult(outcome, error=self._redactor.text(refused.what), hint=refused.hint)
            raise
        finally:
            seconds = time.perf_counter() - began
            self.running -= 1
            self._audit.close(call, decision, result, seconds)
            if self._observer is not None:
                name = None if entry is None else call.tool
                self._observer.ended(name, call.via, result.outcome, seconds)

    def _clean(self, entry: Entry, result: ToolResult, ignored: tuple[str, ...]) -> ToolResult:
        """Without known secrets, and with the names of arguments that did not count."""
        return replace(
            result,
            value=self._redactor.result(result.value),
            content=tuple(self._redactor.result(list(result.content))),
            error=self._redactor.text(result.error) if result.error else None,
            ignored=ignored,
            warnings=entry.arguments.warnings(ignored),
            wire=self._redactor.wire(result.wire) if result.wire is not None else None,
        )


async def _wait(
    entry: Entry, call: ToolCall, running: Coroutine[Any, Any, ToolResult], wants: Any
) -> ToolResult:
    """The rest of a call that did not end in its first step, with a deadline."""
    limit = entry.tool.timeout if call.timeout is None else min(call.timeout, entry.tool.timeout)
    deadline = asyncio.timeout(limit)
    try:
        async with deadline:
            return await resume(running, wants)
    except Exception as error:
        if deadline.expired():
            why = f"{call.tool} took longer than {limit:g} s"
            return ToolResult(Outcome.TIMED_OUT, error=why)
        return _failed(call, error)


def _failed(call: ToolCall, error: Exception) -> ToolResult:
    """What a tool raised is its answer; a bug of ours says so."""
    if isinstance(error, Denied):
        return ToolResult(Outcome.DENIED, error=error.what, hint=error.hint)
    if isinstance(error, PilotageError):
        outcome = Outcome.UNAVAILABLE if error.status == 503 else Outcome.FAILED
        return ToolResult(outcome, error=error.what, hint=error.hint)
    logger.error("%s broke in call %s", call.tool, call.id, exc_info=error)
    return ToolResult(Outcome.FAILED, error=f"{call.tool} broke: {type(error).__name__}: {error}")
