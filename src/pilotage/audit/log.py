"""The audit log: an entry when a call opens, one when it closes, each chained to the one before.

hash(row) = sha256(hash(row before) + JSON of [seq, at, event, call, tool, principal, body]).
The hash is computed in the store's writer thread, where the row before is known.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pilotage.audit.checkpoint import Checkpoints
from pilotage.domain.audit import AuditEntry
from pilotage.domain.call import Decision, ToolCall, ToolResult
from pilotage.store import audit as rows
from pilotage.store.database import Database

GENESIS = bytes(32)
CHECKPOINT_SECONDS = 5.0
_encode = msgspec.json.Encoder().encode


def chain(before: bytes, row: tuple[int, int, str, str, str, str, bytes]) -> bytes:
    """The hash of a row: seq, at, event, call, tool, principal, body."""
    return hashlib.sha256(before + _encode(row)).digest()


class AuditLog:
    """`durable` entries are on disk when `open` returns, others within 50 ms."""

    def __init__(self, database: Database, checkpoints: Checkpoints) -> None:
        self._database = database
        self._checkpoints = checkpoints
        self._pending: list[tuple[int, str, str, str, str, bytes]] = []
        self._head: tuple[int, bytes] | None = None
        self._signed_at = 0.0
        self._signed_seq = -1
        database.on_group(self._flush)

    async def open(self, call: ToolCall, arguments: Mapping[str, Any], *, durable: bool) -> None:
        """Record the intent, before anything is decided."""
        body: dict[str, Any] = {"via": call.via, "arguments": arguments}
        for key, value in (("key", call.idempotency_key), ("run", call.run), ("step", call.step)):
            if value is not None:
                body[key] = value
        add = self._adder("open", call.id, call.tool, call.by.name, body)
        if durable:
            await self._database.write(add)
        else:
            self._database.write_lazily(add)

    def close(
        self, call: ToolCall, decision: Decision | None, result: ToolResult, seconds: float
    ) -> None:
        """Record how the call ended."""
        body: dict[str, Any] = {"outcome": result.outcome, "ms": round(seconds * 1000, 3)}
        if decision is not None:
            body["decision"], body["rule"] = decision.answer, decision.rule
        if result.error:
            body["error"] = result.error[:1000]
        self._database.write_lazily(self._adder("close", call.id, call.tool, call.by.name, body))

    def refuse(self, call: str, tool: str, principal: str, via: str, why: str) -> None:
        """Record what the door turned away before it became a call (no key, wrong key)."""
        self._database.write_lazily(
            self._adder("refused", call, tool, principal, {"via": via, "error": why})
        )

    def _adder(
        self, event: str, call: str, tool: str, principal: str, body: Mapping[str, Any]
    ) -> Callable[[sqlite3.Connection], None]:
        row = (time.time_ns() // 1000, event, call, tool, principal, _encode(body))
        return lambda _: self._pending.append(row)

    def _flush(self, connection: sqlite3.Connection) -> Callable[[], None] | None:
        """In the writer thread, once a group: number, chain and insert what is pending.

        The head is read again each time, since other processes append to the same file.
        """
        if not self._pending:
            return None
        pending, self._pending = self._pending, []
        seq, before = rows.head(connection) or (-1, GENESIS)
        chained: list[rows.Row] = []
        for row in pending:
            seq += 1
            numbered = (seq, *row)
            before = chain(before, numbered)
            chained.append((*numbered, before))
        rows.insert(connection, chained)
        self._head = (seq, before)
        if time.monotonic() - self._signed_at >= CHECKPOINT_SECONDS:
            return self.checkpoint
        return None

    def checkpoint(self) -> None:
        """Sign the newest row, outside the database. Called every 5 s under load and at close."""
        if self._head is None or self._head[0] == self._signed_seq:
            return
        self._checkpoints.sign(*self._head)
        self._signed_at, self._signed_seq = time.monotonic(), self._head[0]

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
            AuditEntry(*row[:6], msgspec.json.decode(row[6]), row[7].hex())
            for row in rows.newest(self._database, limit, before, tool, event)
        ]
