"""The rows of tasks: calls over MCP whose client asks for their end later (server/tasks.py)."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from pilotage.store.database import Database


@dataclass(frozen=True, slots=True)
class TaskRow:
    """`id` is random and known to its principal only. `key` is the idempotency key of its call,
    under which a run may be found. `server` is the byte that the process which runs it holds of a
    lock file. `body` is JSON: its result, or its error. Times are Unix microseconds."""

    id: str
    principal: str
    tool: str
    call: str
    key: str | None
    server: int
    status: str
    message: str
    created: int
    changed: int
    ttl: int
    body: bytes | None


def put(connection: sqlite3.Connection, row: TaskRow) -> None:
    """A new one; those whose time is over leave."""
    now = time.time_ns() // 1000
    connection.execute("DELETE FROM task WHERE status <> 'working' AND changed + ttl < ?", (now,))
    connection.execute(
        "INSERT INTO task VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            *(row.id, row.principal, row.tool, row.call, row.key, row.server),
            *(row.status, row.message, row.created, row.changed, row.ttl, row.body),
        ),
    )


def end(
    connection: sqlite3.Connection, id: str, status: str, message: str, body: bytes | None
) -> None:
    """How it ended. The first word counts: one that has ended stays as it is."""
    connection.execute(
        "UPDATE task SET status = ?2, message = ?3, body = ?4, changed = ?5 "
        "WHERE id = ?1 AND status = 'working'",
        (id, status, message, body, time.time_ns() // 1000),
    )


def find(database: Database, id: str) -> TaskRow | None:
    rows = database.read("SELECT * FROM task WHERE id = ?", id)
    return TaskRow(*rows[0]) if rows else None
