"""The rows of approvals and of what persons said to them. What they mean is tool/approvals.py's
business. Each change is one statement in the writer's transaction, so that two processes on one
state folder agree."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pilotage.domain.approval import Approval, ApprovalState, Verdict, Vote
from pilotage.store.database import Database

LIVE = (ApprovalState.PENDING, ApprovalState.APPROVED)
_NAMES = tuple(field.name for field in fields(Approval) if field.name != "votes")
_COLUMNS = ", ".join(_NAMES)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which approvals a list shows: of one principal, in one state, older than the id `before`;
    None: all. `now` (Unix microseconds) says which have expired."""

    now: int
    limit: int = 20
    before: str | None = None
    principal: str | None = None
    state: ApprovalState | None = None


def insert(connection: sqlite3.Connection, one: Approval) -> None:
    """A new one, without votes."""
    values = [getattr(one, name) for name in _NAMES]
    values[_NAMES.index("arguments")] = json.dumps(one.arguments)
    marks = ",".join("?" * len(values))
    connection.execute(f"INSERT INTO approval ({_COLUMNS}) VALUES ({marks})", values)


def find(connection: sqlite3.Connection, id: str) -> Approval | None:
    """By its whole id, within a write."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM approval WHERE id = ?", (id,)).fetchall()
    return _joined(rows, _votes(connection, rows))[0] if rows else None


def live(
    connection: sqlite3.Connection, principal: str, tool: str, digest: str, run: str, step: str
) -> Approval | None:
    """The newest that is pending or approved for these very words, within a write."""
    query = (
        f"SELECT {_COLUMNS} FROM approval WHERE principal = ? AND digest = ? AND tool = ? "
        "AND run = ? AND step = ? AND state IN ('pending', 'approved') ORDER BY id DESC LIMIT 1"
    )
    rows = connection.execute(query, (principal, digest, tool, run, step)).fetchall()
    return _joined(rows, _votes(connection, rows))[0] if rows else None


def pending(connection: sqlite3.Connection, principal: str, now: int) -> int:
    """How many of one principal wait."""
    query = (
        "SELECT count(*) FROM approval WHERE state = 'pending' AND principal = ? AND expires > ?"
    )
    found: int = connection.execute(query, (principal, now)).fetchone()[0]
    return found


def use(connection: sqlite3.Connection, one: Approval, call: str, now: int) -> bool:
    """From approved to used, if it still is what `one` says; False: somebody was quicker."""
    cursor = connection.execute(
        "UPDATE approval SET state = 'used', call = ?, changed = ? WHERE id = ? AND "
        "state = 'approved' AND expires > ? AND principal = ? AND tool = ? AND digest = ? "
        "AND pin = ? AND policy = ?",
        (call, now, one.id, now, one.principal, one.tool, one.digest, one.pin, one.policy),
    )
    return cursor.rowcount == 1


def move(connection: sqlite3.Connection, id: str, state: ApprovalState, now: int) -> None:
    """To another state, from one that is not an end."""
    connection.execute(
        "UPDATE approval SET state = ?, changed = ? WHERE id = ? "
        "AND state IN ('pending', 'approved')",
        (state, now, id),
    )


def vote(connection: sqlite3.Connection, id: str, one: Vote) -> bool:
    """Add a person's word; False: that person has spoken already."""
    cursor = connection.execute(
        "INSERT INTO approval_vote (approval, principal, verdict, reason, at) "
        "VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
        (id, one.by, one.verdict, one.reason, one.at),
    )
    return cursor.rowcount == 1


def newest(database: Database, wanted: Wanted) -> list[Approval]:
    """The newest first."""
    query = (
        f"SELECT {_COLUMNS} FROM approval WHERE (?1 IS NULL OR id < ?1) "
        "AND (?2 IS NULL OR principal = ?2) AND (?3 IS NULL OR ?3 = CASE "
        "WHEN state IN ('pending', 'approved') AND expires <= ?4 THEN 'expired' ELSE state END) "
        "ORDER BY id DESC LIMIT ?5"
    )
    values = (wanted.before, wanted.principal, wanted.state, wanted.now, wanted.limit)
    return _read(database, database.read(query, *values))


def one(database: Database, id: str) -> Approval | None:
    """By its whole id."""
    rows = database.read(f"SELECT {_COLUMNS} FROM approval WHERE id = ?", id)
    found = _read(database, rows)
    return found[0] if found else None


def alike(database: Database, start: str) -> list[str]:
    """Ids that begin with `start`, two at most."""
    query = "SELECT id FROM approval WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2"
    return [row[0] for row in database.read(query, start)]


def waiting(database: Database, now: int) -> int:
    """How many wait for a person."""
    query = "SELECT count(*) FROM approval WHERE state = 'pending' AND expires > ?"
    found: int = database.read(query, now)[0][0]
    return found


def _read(database: Database, rows: Sequence[Any]) -> list[Approval]:
    ids = json.dumps([row[0] for row in rows])
    return _joined(rows, database.read(_VOTES, ids))


_VOTES = (
    "SELECT approval, principal, verdict, reason, at FROM approval_vote "
    "WHERE approval IN (SELECT value FROM json_each(?)) ORDER BY at, principal"
)


def _votes(connection: sqlite3.Connection, rows: Sequence[Any]) -> list[Any]:
    return connection.execute(_VOTES, (json.dumps([row[0] for row in rows]),)).fetchall()


def _joined(rows: Iterable[Any], votes: Iterable[Any]) -> list[Approval]:
    said: dict[str, list[Vote]] = {}
    for approval, by, verdict, reason, at in votes:
        said.setdefault(approval, []).append(Vote(by, Verdict(verdict), reason, at))
    found = []
    for row in rows:
        given = dict(zip(_NAMES, tuple(row), strict=True))
        given["arguments"] = json.loads(given["arguments"])
        given["state"] = ApprovalState(given["state"])
        found.append(Approval(**given, votes=tuple(said.get(given["id"], ()))))
    return found
