"""Whatever people say and callers try, a call runs only as it was approved, and only once.

A model that knows nothing of states but who said what about which call stands beside the real
engine on a real database; both must agree on each step.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.domain.approval import Verdict
from pilotage.domain.call import Answer, Decision, Effect, Principal, ToolCall
from pilotage.domain.errors import BadInput, Conflict, Denied, NeedsApproval
from pilotage.domain.ids import new_id
from pilotage.store.database import Database
from pilotage.tool.approvals import Approvals
from pilotage.tool.redact import Redactor
from pilotage.tool.tool import Tool

ASKERS = ("ann", "bob")
SPEAKERS = ("ann", "bob", "cy", "dee", "eve")
MAY_APPROVE = ("ann", "cy", "dee")


@dataclass
class Known:
    """An approval as the model has it."""

    of: str
    call: tuple[int, int, int]  # arguments, the tool's version, the policy's version
    needed: int
    approved: set[str] = field(default_factory=set)
    rejected: bool = False
    expired: bool = False
    lapsed: bool = False
    runs: int = 0

    @property
    def open(self) -> bool:
        return not (self.rejected or self.lapsed or self.runs)


def tool(version: int) -> Tool:
    async def run(*_: Any) -> Any:
        raise AssertionError("the engine runs nothing itself")

    about = f"version {version}"
    return Tool("demolish", "Destroys", about, Effect.DESTROY, {"type": "object"}, None, run)


class People(RuleBasedStateMachine):
    ids: Bundle[str] = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        home = Path(self.folder.name)
        self.database = Database(home / "pilotage.db")
        self.audit = AuditLog(self.database, Checkpoints(home / "audit"))
        self.engine = Approvals(
            self.database,
            self.audit.note,
            lambda by, action: by.name in MAY_APPROVE and action == "approvals:write",
            Redactor(),
        )
        self.known: dict[str, Known] = {}

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    def send(self, who: str, call: tuple[int, int, int], id: str | None, needed: int) -> str | None:
        """The call, as the gateway settles it. The id of what it waits for; None: it would run."""
        arguments, version, policy = call
        by = Principal(who, frozenset())
        sent = ToolCall(new_id(), "demolish", {"n": arguments}, by, "rest", approval=id)
        asks = Decision(Answer.ASK, "rule", "why", needed, str(policy))
        try:
            asyncio.run(self.engine.settle(sent, tool(version), asks))
        except NeedsApproval as waits:
            return str(waits.approval["id"])
        return None

    @rule(
        target=ids,
        who=st.sampled_from(ASKERS),
        call=st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)),
    )
    def ask(self, who: str, call: tuple[int, int, int]) -> str:
        """Without an id: the newest that is open for these words, if it still fits, else anew."""
        needed = 1 + call[2]
        mine = [
            id
            for id, one in self.known.items()
            if one.open and one.of == who and one.call[0] == call[0]
        ]
        fits = None
        if mine:
            one = self.known[mine[-1]]
            one.lapsed = one.expired or one.call != call
            fits = None if one.lapsed else mine[-1]
        waits = self.send(who, call, None, needed)
        if fits is not None and len(self.known[fits].approved) >= needed:
            assert waits is None
            self.known[fits].runs += 1
            return fits
        assert waits is not None
        assert fits in (None, waits)
        if fits is None:
            assert waits not in self.known
            self.known[waits] = Known(who, call, needed)
        return waits

    @rule(
        id=ids,
        who=st.sampled_from(ASKERS),
        call=st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)),
    )
    def name(self, id: str, who: str, call: tuple[int, int, int]) -> None:
        """With an id: it runs only where all of it fits."""
        one = self.known[id]
        fits = (one.of, one.call) == (who, call) and one.open and not one.expired
        try:
            waits = self.send(who, call, id, 1 + call[2])
        except Denied:
            assert not fits
            return
        assert fits
        if len(one.approved) >= one.needed:
            assert waits is None
            one.runs += 1
        else:
            assert waits == id

    @rule(id=ids, who=st.sampled_from(SPEAKERS), verdict=st.sampled_from(Verdict))
    def say(self, id: str, who: str, verdict: Verdict) -> None:
        one = self.known[id]
        own = one.of == who
        allowed = verdict is Verdict.REJECTED if own else who in MAY_APPROVE
        fits = one.open and not one.expired and len(one.approved) < one.needed
        new = who not in one.approved
        try:
            asyncio.run(self.engine.judge(id, Principal(who, frozenset()), verdict))
        except Denied:
            assert not allowed
        except Conflict:
            assert allowed
            one.lapsed |= one.open and one.expired
            assert not (fits and new)
        else:
            assert allowed
            assert fits
            assert new
            if verdict is Verdict.APPROVED:
                one.approved.add(who)
            else:
                one.rejected = True

    @rule(id=ids)
    def expire(self, id: str) -> None:
        """Time passes for one of them."""
        self.database.write_now(
            lambda connection: connection.execute(
                "UPDATE approval SET expires = created + 1 WHERE id = ?", (id,)
            )
        )
        self.known[id].expired = True

    @invariant()
    def nothing_runs_twice_or_unapproved(self) -> None:
        for one in self.known.values():
            assert one.runs <= 1
            if one.runs:
                assert len(one.approved - {one.of}) >= one.needed
                assert not one.rejected

    @invariant()
    def the_store_and_the_audit_say_the_same(self) -> None:
        used = self.database.read("SELECT id FROM approval WHERE state = 'used'")
        ran = {id for id, one in self.known.items() if one.runs}
        assert {row[0] for row in used} == ran
        self.database.settle()
        noted = self.database.read("SELECT call FROM audit WHERE event = 'approval.used'")
        assert sorted(row[0] for row in noted) == sorted(ran)


TestPeople = People.TestCase
TestPeople.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_a_call_that_has_no_one_form_is_refused(tmp_path: Path) -> None:
    machine = People()
    try:
        by = Principal("ann", frozenset())
        call = ToolCall(new_id(), "demolish", {"n": float("nan")}, by, "cli")
        asks = Decision(Answer.ASK, "rule", "why")
        with pytest.raises(BadInput, match="cannot be approved"):
            asyncio.run(machine.engine.settle(call, tool(0), asks))
    finally:
        machine.teardown()
