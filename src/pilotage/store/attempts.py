"""Calls under an idempotency key: one row a principal, tool and key, while answers are kept.

`outcome` is "" until the call has ended. Times are Unix microseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from pilotage.store.database import Database

Place = tuple[str, str, str]
"""Principal, tool, key."""
_FIELDS = "digest, call, owner, created, row, outcome, answer"
_WHERE = "principal=? AND tool=? AND key=?"
ROWS_LIMIT = 1_000_000
NEAR = 20_000
"""Rows of the audit between which a call's first one is: as many as wait to be written, at most."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """`digest` of the arguments, the id of the call, the process that ran it, the newest row of the
    audit then, and what it answered (None: it has not, or its answer is not kept)."""

    digest: str
    call: str
    owner: str
    created: int
    row: int
    outcome: str
    answer: bytes | None


@dataclass(frozen=True, slots=True)
class Held:
    """How many rows a principal has, and when the oldest was made."""

    rows: int
    oldest: int


def find(database: Database, place: Place) -> Attempt | None:
    rows = database.read(f"SELECT {_FIELDS} FROM attempt WHERE {_WHERE}", *place)
    return Attempt(*rows[0]) if rows else None


def find_within(connection: sqlite3.Connection, place: Place) -> Attempt | None:
    """The same inside of a transaction."""
    row = connection.execute(f"SELECT {_FIELDS} FROM attempt WHERE {_WHERE}", place).fetchone()
    return Attempt(*row) if row else None


def begin(
    connection: sqlite3.Connection, place: Place, digest: str, call: str, owner: str, now: int
) -> None:
    """It is about to run; an earlier row of this key is gone."""
    values = (*place, digest, call, owner, now)
    row = "(SELECT coalesce(max(seq),0) FROM audit)"
    connection.execute(f"REPLACE INTO attempt VALUES (?,?,?,?,?,?,?,{row},'',NULL,0)", values)


def end(connection: sqlite3.Connection, call: str, outcome: str, answer: bytes | None) -> None:
    """It has ended."""
    values = (outcome, answer, len(answer or b""), call)
    connection.execute("UPDATE attempt SET outcome=?, answer=?, size=? WHERE call=?", values)


def row_of(database: Database, one: Attempt) -> int | None:
    """The first row of the audit that tells of its call."""
    query = "SELECT min(seq) FROM audit WHERE call=? AND seq BETWEEN ? AND ?"
    found = database.read(query, one.call, one.row - NEAR, one.row + NEAR)
    number: int | None = found[0][0]
    return number


def sweep(connection: sqlite3.Connection, before: int, size: int) -> dict[str, Held]:
    """Forget calls older than `before`, and oldest answers (not that they were given) where all
    take more than `size` bytes: of who has most, so that nobody pushes out another's. What each
    principal has left."""
    connection.execute("DELETE FROM attempt WHERE created<?", (before,))
    query = "SELECT principal, count(*), min(created), sum(size) FROM attempt GROUP BY principal"
    found = {
        who: (Held(count, oldest), taken) for who, count, oldest, taken in connection.execute(query)
    }
    level = _level([taken for _, taken in found.values()], size)
    for who, (_, taken) in found.items():
        if taken > level:
            _thin(connection, who, taken - level)
    return {who: held for who, (held, _) in found.items()}


def _thin(connection: sqlite3.Connection, principal: str, most: int) -> None:
    """Forget its oldest answers, so many bytes of them or a little more."""
    oldest = "SELECT call, size FROM attempt WHERE principal=? AND size>0 ORDER BY created"
    for call, taken in connection.execute(oldest, (principal,)).fetchall():
        if most <= 0:
            break
        connection.execute("UPDATE attempt SET answer=NULL, size=0 WHERE call=?", (call,))
        most -= taken


def _level(taken: Sequence[int], size: int) -> int:
    """The most that each may have, so that all together have no more than `size`: who has less
    leaves the rest to the others."""
    left = size
    for place, one in enumerate(sorted(taken)):
        level = left // (len(taken) - place)
        if one > level:
            return level
        left -= one
    return size
