"""The audit log: what calls meant to do and how they ended, each row chained to the one before.

hash(row) = sha256(MessagePack of [hash(row before), seq, at, event, call, tool, principal, body]).
The hash is computed in the store's writer thread, where the row before is known.
"""

from __future__ import annotations

import builtins
import hashlib
import itertools
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any

import msgspec

from pilotage.audit.checkpoint import Checkpoints
from pilotage.domain import trace
from pilotage.domain.audit import AuditEntry, CallRecord
from pilotage.domain.call import Answer, Decision, Outcome, Principal, ToolCall, ToolResult
from pilotage.domain.errors import Busy, Unavailable
from pilotage.store import audit as rows
from pilotage.store.database import Database

logger = logging.getLogger(__name__)
GENESIS = "00" * 32
CHECKPOINT_SECONDS = 5.0
PENDING_LIMIT = 20_000
BODY_LIMIT = 65_536
Pending = tuple[int, str, str, str, str, str]
"""at, event, call, tool, principal, body: a row that has no number yet."""
_json = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode


def chain(before: str, row: tuple[int, int, str, str, str, str, str]) -> str:
    """The hash of a row: seq, at, event, call, tool, principal, body."""
    return hashlib.sha256(_pack((before, *row))).hexdigest()


class Body(msgspec.Struct, omit_defaults=True, gc=False):
    """What the rows of a call say: `via` to `request` how it opened (arguments as they may be kept,
    `key` its idempotency key), the others how it ended (`ms` milliseconds)."""

    via: str | None = None
    arguments: msgspec.Raw | None = None
    key: str | None = None
    run: str | None = None
    step: str | None = None
    request: str | None = None
    outcome: Outcome | None = None
    ms: float | None = None
    decision: Answer | None = None
    rule: str | None = None
    error: str | None = None
    kept: str | None = None


Opened = tuple[int, ToolCall, Body]
"""When a call opened, the call, and what is known of it so far."""


def _encode(body: Body | Mapping[str, Any]) -> str:
    return _json(body).decode()


class AuditLog:
    """What is recorded is on disk within 50 ms, or once `settled` returns. A full queue refuses
    what opens; what was opened always closes.

    A call has a row when it opens and one when it closes. One that does both between two commits
    has a single row, "call", which says all that the two would.
    """

    def __init__(self, database: Database, checkpoints: Checkpoints) -> None:
        self._database = database
        self._checkpoints = checkpoints
        self._opened: dict[str, Opened] = {}  # calls without a row, until the next commit
        self._pending: deque[Pending] = deque()
        self._begun: list[Pending] = []  # the writer's own: rows of `_opened` on their way
        self._signed_at = time.monotonic()
        if rows.newest(database, 1, None, None, None) == []:
            checkpoints.begin()
        database.on_group(self._waits, self._flush)

    def _waits(self) -> bool:
        return bool(self._pending or self._opened or self._begun)

    @property
    def waiting(self) -> int:
        """Rows that are not on disk yet."""
        return len(self._pending) + len(self._opened) + len(self._begun)

    def open(self, call: ToolCall, arguments: Mapping[str, Any]) -> None:
        """Record the intent, before anything is decided."""
        if len(self._pending) + len(self._opened) + len(self._begun) >= PENDING_LIMIT:
            raise Busy("the audit queue is full", "the disk is too slow for this load; try again")
        raw = _json(arguments)
        if len(raw) > BODY_LIMIT:
            raw = _json({"cut": len(raw), "sha256": hashlib.sha256(raw).hexdigest()})
        body = Body(call.via, msgspec.Raw(raw), call.idempotency_key, call.run, call.step)
        body.request = trace.request.get() or None
        self._opened[call.id] = (time_ns() // 1000, call, body)

    def close(
        self, call: ToolCall, decision: Decision | None, result: ToolResult, seconds: float
    ) -> None:
        """Record how the call ended."""
        opened = self._opened.pop(call.id, None)
        if opened is None:
            at, event, body = time_ns() // 1000, "close", Body()
        else:
            (at, _, body), event = opened, "call"
        body.outcome, body.ms = result.outcome, int(seconds * 1e6) / 1000
        if decision is not None:
            body.decision, body.rule = decision.answer, decision.rule
        if result.kept is not None:
            body.kept = result.kept.how
        if result.error:
            body.error = result.error[:1000]
        self._pending.append((at, event, call.id, call.tool, call.by.name, _encode(body)))

    def refuse(self, call: str, tool: str, principal: str, via: str, why: str) -> None:
        """Record what the door turned away before it became a call (no key, wrong key)."""
        if len(self._pending) >= PENDING_LIMIT:
            raise Busy("the audit queue is full", "the disk is too slow for this load; try again")
        text = _encode({"via": via, "error": why})
        self._pending.append((time_ns() // 1000, "refused", call, tool, principal, text))

    def note(
        self, event: str, about: str, by: Principal, words: Mapping[str, Any], tool: str = ""
    ) -> None:
        """Record what a person said to a run (approved, rejected, resumed, stopping), did to an
        API key (key.created, key.renewed, key.revoked), or what became of a tool's pin
        (tool.quarantined, tool.approved, tool.rejected, tool.restored). `about` is the id of the
        run or key, or where the tool is from. Called in the writer's transaction, the change and
        this row are on disk together, or neither is."""
        row = (time_ns() // 1000, event, about, tool, by.name, _encode(words))
        if not self._database.ride(row):
            self._pending.append(row)

    async def settled(self) -> None:
        """Return once everything recorded before is on disk; raise if it cannot be."""
        await self._database.settled()

    def _flush(self, connection: sqlite3.Connection) -> Callable[[], None] | None:
        """In the writer thread, once a group: number, chain and insert what is pending.

        The head is read again each time, since other processes append to the same file. Rows leave
        the queue after the commit: a disk that fails loses none, and fills the queue until calls
        are refused.
        """
        for name in list(self._opened):
            opened = self._opened.pop(name, None)  # None: it has closed meanwhile
            if opened is not None:
                at, call, body = opened
                self._begun.append((at, "open", call.id, call.tool, call.by.name, _encode(body)))
        pending = self._pending.copy()  # at once, since others append meanwhile
        riders: builtins.list[Pending] = self._database.riders
        if not pending and not self._begun and not riders:
            return None
        seq, before = rows.head(connection) or (-1, GENESIS)
        values: list[int | str] = []
        for row in itertools.chain(self._begun, pending, riders):
            seq += 1
            numbered = (seq, *row)
            before = chain(before, numbered)
            values += numbered
            values.append(before)
        rows.insert(connection, values)

        def done() -> None:
            self._begun.clear()
            for _ in pending:
                self._pending.popleft()
            if time.monotonic() - self._signed_at >= CHECKPOINT_SECONDS:
                self._sign()

        return done

    def seal(self) -> None:
        """Write what is pending and sign it. Without it the last rows lack a checkpoint."""
        try:
            self._database.settle()
            self._sign()
        except Unavailable as error:
            logger.error("%s", error)

    def _sign(self) -> None:
        """Sign the newest row, outside the database: every 5 s under load, and at the end.

        Refused where the last checkpoint no longer fits the rows: signing over a cut tail would
        hide it from verification.
        """
        self._signed_at = time.monotonic()
        point = self._checkpoints.last()
        if point.seq >= 0 and rows.hash_of(self._database, point.seq) != point.hash:
            raise Unavailable(
                f"audit row {point.seq} does not fit its signed checkpoint: nothing more is signed",
                "pilotage audit verify",
            )
        newest = rows.newest(self._database, 1, None, None, None)
        if newest and newest[0][0] > point.seq:
            self._checkpoints.sign(newest[0][0], newest[0][7])

    def list(
        self,
        *,
        limit: int = 100,
        before: int | None = None,
        tool: str | None = None,
        event: str | None = None,
    ) -> list[AuditEntry]:
        """The newest entries first; `before` pages back by sequence number."""
        return [
            AuditEntry(*row[:6], msgspec.json.decode(row[6]), row[7])
            for row in rows.newest(self._database, limit, before, tool, event)
        ]

    def calls(
        self, *, limit: int = 100, before: int | None = None, tool: str | None = None
    ) -> builtins.list[CallRecord]:
        """The newest calls first, with how they ended."""
        return [_record(*found) for found in rows.calls(self._database, limit, before, tool)]


def _record(row: rows.Row, closed: str | None) -> CallRecord:
    opening = msgspec.json.decode(row[6])
    closing = msgspec.json.decode(closed) if closed is not None else opening
    said = [closing.get(key) for key in ("outcome", "decision", "rule", "ms", "error")]
    return CallRecord(row[0], row[1], row[3], row[4], row[5], opening["via"], *said)
