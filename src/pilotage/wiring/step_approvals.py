"""Approvals and runs: what a person says to an approval is told to the step that waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pilotage.domain.approval import Approval, ApprovalState, Verdict
from pilotage.domain.call import Principal
from pilotage.domain.errors import Conflict, PilotageError
from pilotage.domain.run import Kind
from pilotage.pipeline.runs import Runs
from pilotage.tool.approvals import Approvals

logger = logging.getLogger(__name__)
PARK_SECONDS = 10.0


class StepApprovals:
    """`at_client`: does a person use this process directly?"""

    def __init__(self, approvals: Approvals, runs: Runs, at_client: Callable[[], bool]) -> None:
        self._approvals, self._runs, self._at_client = approvals, runs, at_client
        runs.judge = self._judge_step

    async def judge(
        self, approval: str, by: Principal, verdict: Verdict, reason: str = ""
    ) -> Approval:
        """What a person says to an approval. A step of a pipeline that waits for it goes on."""
        at_client = self._at_client()
        one = await self._approvals.judge(approval, by, verdict, reason, at_client=at_client)
        if one.run and one.state is not ApprovalState.PENDING:
            await self._tell_run(one, by, reason)
        return one

    async def _judge_step(self, approval: str, by: Principal, kind: Kind, reason: str) -> bool:
        """The same, said to the run."""
        approves = kind is Kind.APPROVED
        try:
            verdict = Verdict.APPROVED if approves else Verdict.REJECTED
            await self.judge(approval, by, verdict, reason)
        except Conflict:
            one = self._approvals.show(approval, by)
            if not approves:
                return False
            if one.state is not ApprovalState.APPROVED:
                raise
            await self._tell_run(one, by, reason)
        return True

    async def _tell_run(self, one: Approval, by: Principal, reason: str) -> None:
        """Once its step has parked, which it may be about to."""
        try:
            async with asyncio.timeout(PARK_SECONDS):
                while one.step not in (stands := self._runs.show(one.run)[1]).waiting:
                    if stands.outcome is not None:
                        return
                    await asyncio.sleep(0.02)
            if one.state is ApprovalState.APPROVED:
                await self._runs.resume(one.run, by, one.step, reason)
            else:
                await self._runs.give_up(one.run, by, one.step, reason)
        except (PilotageError, TimeoutError) as error:
            logger.warning("run %s was not told of approval %s: %s", one.run, one.id, error)
