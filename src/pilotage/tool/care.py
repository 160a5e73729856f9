"""What some calls need: a person, the answer that their key has, the cache, another attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from pilotage.domain.call import Answer, Decision, Report, ToolCall, ToolResult
from pilotage.domain.errors import PilotageError
from pilotage.tool.approvals import Approvals
from pilotage.tool.attempts import Attempts
from pilotage.tool.cache import Cache
from pilotage.tool.limits import STEP
from pilotage.tool.retry import retried
from pilotage.tool.tool import Runner, Tool

_log = logging.getLogger(__name__)
Still = Callable[[], object]
"""Raises where a call that has waited, or has failed once, may not run any more."""


class Care:
    """Every call that is not simply allowed comes here."""

    def __init__(self, approvals: Approvals, attempts: Attempts, cache: Cache) -> None:
        self._approvals, self._attempts, self._cache = approvals, attempts, cache

    async def begin(
        self, tool: Tool, call: ToolCall, decision: Decision, report: Report, still: Still
    ) -> Coroutine[Any, Any, ToolResult]:
        """What runs the call, or gives an answer that is there. Raises where nothing may run; an
        answer that a key has already needs no person again. `still` is asked before whatever
        begins later: another attempt, or a run in the place of who left.

        A step has a key as well, but its run's journal is what keeps its answer.
        """
        run: Runner = partial(_tried, tool, still) if tool.retries else tool.run
        if tool.cache_seconds:
            run = partial(self._cache.run, tool, decision.policy, run, still)

        async def settle() -> None:
            if decision.answer is Answer.ASK:
                await _check(tool, call)  # nobody is asked about what cannot be
            if decision.answer is not Answer.ALLOW:
                await self._approvals.settle(call, tool, decision)

        if call.idempotency_key is None or call.via == STEP or decision.answer is Answer.DENY:
            await settle()
            return run(call, report)
        return await self._attempts.begin(tool, call, run, report, settle, still)


async def _check(tool: Tool, call: ToolCall) -> None:
    """Raises what the call would come to in any case; a bug of ours there keeps nobody."""
    try:
        if tool.check is not None:
            await tool.check(call)
    except PilotageError:
        raise
    except Exception:
        _log.exception("%s cannot look at call %s before it runs", tool.name, call.id)


async def _tried(tool: Tool, still: Still, call: ToolCall, report: Report) -> ToolResult:
    again, retries = tool.idempotent, tool.retries
    return await retried(lambda: tool.run(call, report), retries, idempotent=again, still=still)
