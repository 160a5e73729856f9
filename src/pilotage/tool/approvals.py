"""Calls that need a person. A call that the policy asks about waits as an approval that is bound to
this very call; once enough others have approved it, the same call, sent again, runs exactly once.

Every change is in the writer's transaction together with its audit row. See docs/decisions.
"""

from __future__ import annotations

import asyncio
import fnmatch
import secrets
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from pilotage.domain.approval import Approval, ApprovalState, Verdict, Vote
from pilotage.domain.call import (
    Answer,
    Decision,
    Principal,
    Report,
    ToolCall,
    ToolResult,
    spoken_for,
)
from pilotage.domain.errors import (
    BadInput,
    Busy,
    Conflict,
    Denied,
    NeedsApproval,
    NotFound,
    PilotageError,
)
from pilotage.domain.ids import new_id
from pilotage.store import approvals as rows
from pilotage.store.approvals import Wanted
from pilotage.store.database import Database
from pilotage.tool.binding import Asked, expired, needs, today, unfit
from pilotage.tool.canonical import digest
from pilotage.tool.redact import Redactor
from pilotage.tool.surface import surface
from pilotage.tool.tool import Tool

MAY = "approvals:write"
MAY_OWN = "approvals:own"
PENDING_LIMIT = 100
"""Approvals of one principal that may wait at once."""
ARGUMENTS_LIMIT = 65_536
REASON_LIMIT = 1_000
LOOK_SECONDS = 0.25
"""How often who waits looks for what another process has written."""


May = Callable[[Principal, str], bool]
Caller = Callable[[ToolCall, Report], Awaitable[ToolResult]]
Current = Callable[[Principal], Principal]
"""A principal's rights as they are now; raises Denied where the key is not valid any more."""


class Record(Protocol):
    """The audit, within the writer's transaction."""

    def __call__(
        self, event: str, about: str, by: Principal, words: Mapping[str, Any], tool: str, /
    ) -> None: ...


class Approvals:
    """`may` says what a principal may do beside calls; `record` goes to the audit. An approval
    counts `expire` seconds from when it is asked. `own`: who asks may approve as well, as the
    person at the client."""

    def __init__(
        self,
        database: Database,
        record: Record,
        may: May,
        redactor: Redactor,
        current: Current = lambda by: by,
        *,
        expire: float = 900,
        own: bool = False,
    ) -> None:
        self._database, self._record, self._may = database, record, may
        self._redactor, self._current = redactor, current
        self.expire, self.own = expire, own
        self._bells: dict[str, set[asyncio.Event]] = {}

    async def settle(self, call: ToolCall, tool: Tool, decision: Decision) -> None:
        """Return where persons have approved this very call: that is used up now. Else raises
        NeedsApproval, or Denied, which says why."""
        if decision.answer is not Answer.ASK:
            raise Denied(decision.why, decision.hint)
        try:
            arguments, pin = digest(call.arguments), digest(surface(tool))
        except ValueError as error:
            raise BadInput(f"{tool.name}: this call cannot be approved: {error}") from None
        asked = Asked(call, decision, tool.effect_of(call.arguments).value, arguments, pin)
        refused = await self._database.write(lambda c: self._settle(c, asked))
        if refused is not None:
            raise refused

    async def patiently(
        self, run: Caller, call: ToolCall, report: Report, seconds: float
    ) -> ToolResult:
        """`run` the call; where it needs a person, wait so many seconds for one, and send it again.
        Each time it is decided anew, by the tools, the key and the policy of then."""
        give_up = time.monotonic() + seconds
        while True:
            try:
                return await run(call, report)
            except NeedsApproval as waits:
                left = give_up - time.monotonic()
                if left <= 0:
                    raise
                await self._changed(waits.approval["id"], left)
                call = await self.again(call, waits.approval["id"])

    async def again(self, call: ToolCall, approval: str) -> ToolCall:
        """The call as it is sent again after a person was waited for, with the rights that its
        principal has now. Denied, and on record, where those are gone."""
        try:
            by = self._current(call.by)
        except Denied as gone:
            why = gone.what
            raise await self._database.write(lambda _: self._refuse(call, approval, why)) from None
        return replace(call, id=new_id(), by=by, approval=approval)

    def _settle(self, connection: sqlite3.Connection, asked: Asked) -> PilotageError | None:
        """What stands against the call now; None: nothing, and its approval is used up. What is
        refused is returned, not raised, so that what was written about it stays."""
        now = time.time_ns() // 1000
        call, earlier = asked.call, ""
        if call.approval is not None:
            found = rows.find(connection, call.approval)
            why = unfit(found, asked, now)
            if why:
                return self._refuse(call, call.approval, why)
        else:
            key = (call.by.name, call.tool, asked.digest, call.run or "", call.step or "")
            found = rows.live(connection, *key)
            why = unfit(found, asked, now) if found is not None else ""
            if found is not None and why:
                self._lapse(connection, found, why, now, call.by)
                found, earlier = None, f"; {why}"
        if found is None:
            if rows.pending(connection, call.by.name, now) >= PENDING_LIMIT:
                what = f"{call.by.name} waits for {PENDING_LIMIT} approvals already"
                return Busy(what, "pilotage approvals list")
            found = self._ask(connection, asked, now)
        if found.state is ApprovalState.PENDING:
            return needs(found, earlier)
        if not rows.use(connection, found, call.id, now):
            return self._refuse(call, found.id, f"approval {found.id} was used already")
        self._note("approval.used", found, call.by, {"used_by": call.id})
        return None

    def _ask(self, connection: sqlite3.Connection, asked: Asked, now: int) -> Approval:
        call, decision = asked.call, asked.decision
        one = Approval(
            id=new_id() + secrets.token_hex(16).upper(),
            principal=call.by.name,
            tool=call.tool,
            effect=asked.effect,
            arguments=self._shown(call.arguments),
            digest=asked.digest,
            pin=asked.pin,
            policy=decision.policy,
            rule=decision.rule,
            why=self._redactor.text(decision.why),
            via=call.via,
            run=call.run or "",
            step=call.step or "",
            needed=decision.needed,
            created=now,
            expires=now + int(self.expire * 1e6),
            state=ApprovalState.PENDING,
            changed=now,
            call="",
        )
        rows.insert(connection, one)
        more = {"asked_by": call.id, "rule": one.rule, "run": one.run, "step": one.step}
        bound = {"pin": one.pin, "policy": one.policy, "expires": one.expires}
        self._note("approval.asked", one, call.by, {**more, **bound})
        return one

    def _shown(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As the audit keeps them: secrets taken out, what is very large as its digest."""
        shown = self._redactor.arguments(arguments)
        size = len(msgspec.json.encode(shown))
        return shown if size <= ARGUMENTS_LIMIT else {"cut": size}

    def _lapse(
        self, connection: sqlite3.Connection, one: Approval, why: str, now: int, by: Principal
    ) -> None:
        state = ApprovalState.EXPIRED if expired(one, now) else ApprovalState.STALE
        rows.move(connection, one.id, state, now)
        self._note(f"approval.{state}", one, by, {"why": why})

    def _refuse(self, call: ToolCall, id: str, why: str) -> Denied:
        words = {"call": call.id, "why": why}
        self._record("approval.refused", id[:100], call.by, words, call.tool)
        return Denied(why, "send the call without an approval's id to ask anew")

    def _note(self, event: str, one: Approval, by: Principal, words: Mapping[str, Any]) -> None:
        about = {"of": one.principal, "digest": one.digest, "needed": one.needed}
        self._record(event, one.id, by, {**about, **words}, one.tool)

    async def judge(
        self,
        id: str,
        by: Principal,
        verdict: Verdict,
        reason: str = "",
        *,
        at_client: bool = False,
    ) -> Approval:
        """What one person says: the approval as it stands then. `at_client`: `by` is a person at
        the client that made the call (a terminal, an elicitation). NotFound, Conflict where it
        does not wait any more, Denied to who may not say it."""
        reason = self._redactor.text(reason)[:REASON_LIMIT]
        said = Vote(by.name, verdict, reason, time.time_ns() // 1000)
        judged = await self._database.write(lambda c: self._judge(c, id, by, said, at_client))
        if isinstance(judged, PilotageError):
            raise judged
        for bell in self._bells.get(id, ()):
            bell.set()
        return judged

    def _judge(
        self, connection: sqlite3.Connection, id: str, by: Principal, said: Vote, at_client: bool
    ) -> Approval | PilotageError:
        one = rows.find(connection, id)
        if one is None:
            return NotFound(f"there is no approval {id}", "pilotage approvals list")
        why = self._forbidden(one, by, said.verdict, at_client)
        if why:
            self._note("approval.refused", one, by, {"verdict": said.verdict, "why": why})
            return Denied(why, "somebody else must: see `approvals:write` in roles.yaml")
        if expired(one, said.at):
            self._lapse(connection, one, f"approval {id} has expired", said.at, by)
            return Conflict(f"approval {id} has expired", "the call, sent again, asks anew")
        if one.state is not ApprovalState.PENDING:
            return Conflict(f"approval {id} does not wait: it is {one.state}")
        again = any(spoken_for(vote.by) == spoken_for(by.name) for vote in one.votes)
        if again or not rows.vote(connection, id, said):
            return Conflict(f"{by.name} has spoken already", f"{one.needed} persons are needed")
        given = one.given + (said.verdict is Verdict.APPROVED)
        if said.verdict is Verdict.REJECTED:
            rows.move(connection, id, ApprovalState.REJECTED, said.at)
        elif given >= one.needed:
            rows.move(connection, id, ApprovalState.APPROVED, said.at)
        words = {"given": given, "reason": said.reason, "at_client": at_client}
        self._note(f"approval.{said.verdict}", one, by, words)
        after = rows.find(connection, id)
        assert after is not None
        return after

    def _forbidden(self, one: Approval, by: Principal, verdict: Verdict, at_client: bool) -> str:
        """Why `by` must not say this, "" where it may. Everybody may withdraw what it asked."""
        if spoken_for(one.principal) == spoken_for(by.name):
            own = at_client and self.own and self._may(by, MAY_OWN)
            if verdict is Verdict.REJECTED or own:
                return ""
            return f"{by.name} asked for it, and nobody approves its own call"
        if not self._may(by, MAY):
            return f"no role of {by.name} allows {MAY}"
        if not any(fnmatch.fnmatchcase(one.tool, glob) for glob in by.tools):
            return f"the key of {by.name} is for {', '.join(by.tools)} only"
        return ""

    def may_at_client(self, by: Principal) -> bool:
        """May a person at the client of `by` approve what `by` asks for?"""
        return self.own and self._may(by, MAY_OWN)

    def show(self, id: str, by: Principal) -> Approval:
        """One of `by`, or any for who approves; others are NotFound."""
        one = rows.one(self._database, id)
        if one is None or not (one.principal == by.name or self._sees(by)):
            raise NotFound(f"there is no approval {id}", "pilotage approvals list")
        return today(one, time.time_ns() // 1000)

    def find(self, start: str, by: Principal) -> Approval:
        """The one whose id is or begins with `start`."""
        found = rows.alike(self._database, start.upper()) if start else []
        if len(found) > 1:
            raise NotFound(f"more than one approval begins with {start!r}", "write more of it")
        return self.show(found[0] if found else start, by)

    def newest(
        self,
        by: Principal,
        limit: int = 20,
        before: str | None = None,
        state: ApprovalState | None = None,
        *,
        mine: bool = False,
    ) -> list[Approval]:
        """The newest first: those of `by`, or all for who approves (`mine`: not even then)."""
        now = time.time_ns() // 1000
        whose = by.name if mine or not self._sees(by) else None
        found = rows.newest(self._database, Wanted(now, limit, before, whose, state))
        return [today(one, now) for one in found]

    def waiting(self) -> int:
        """How many wait for a person."""
        return rows.waiting(self._database, time.time_ns() // 1000)

    def _sees(self, by: Principal) -> bool:
        return self._may(by, MAY) or self._may(by, "approvals:read")

    async def _changed(self, id: str, seconds: float) -> None:
        """Return when a person may have spoken, here or in another process."""
        bell = asyncio.Event()
        bells = self._bells.setdefault(id, set())
        bells.add(bell)
        try:
            async with asyncio.timeout(seconds):
                while not bell.is_set() and self._pending(id):
                    await _within(bell, LOOK_SECONDS)
        except TimeoutError:
            pass
        finally:
            bells.discard(bell)
            if not bells:
                self._bells.pop(id, None)

    def _pending(self, id: str) -> bool:
        one = rows.one(self._database, id)
        now = time.time_ns() // 1000
        return one is not None and today(one, now).state is ApprovalState.PENDING


async def _within(bell: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        pass
