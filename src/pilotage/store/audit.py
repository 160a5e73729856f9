"""The rows of the audit log. What they mean, and how they are chained, is audit/'s business."""

from __future__ import annotations

import sqlite3

from pilotage.store.database import Database

Row = tuple[int, int, str, str, str, str, str, str]
"""seq, at (Unix microseconds), event, call, tool, principal, body (JSON), hash (hex)."""
FIELDS = 8


def head(connection: sqlite3.Connection) -> tuple[int, str] | None:
    """Sequence number and hash of the newest row."""
    found = connection.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return (found[0], found[1]) if found else None


def insert(connection: sqlite3.Connection, values: list[int | str]) -> None:
    """Append rows whose numbers and hashes are settled; `values` holds the fields of one row after
    those of the other.

    Many rows a statement: the interpreter lock is handed over once a statement, and doing so once
    a row costs a busy server more than the rows themselves.
    """
    at = 0
    for size in (256, 32, 1):
        statement = "INSERT INTO audit VALUES " + ",".join(["(?,?,?,?,?,?,?,?)"] * size)
        while len(values) - at >= size * FIELDS:
            connection.execute(statement, values[at : at + size * FIELDS])
            at += size * FIELDS


def hash_of(database: Database, seq: int) -> str | None:
    """The hash of one row, None where there is no such row."""
    found = database.read("SELECT hash FROM audit WHERE seq = ?", seq)
    return found[0][0] if found else None


def after(database: Database, seq: int, limit: int) -> list[Row]:
    """The next rows in order."""
    query = "SELECT * FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
    return [tuple(row) for row in database.read(query, seq, limit)]


def newest(
    database: Database, limit: int, before: int | None, tool: str | None, event: str | None
) -> list[Row]:
    """The newest rows first, of one tool or event if named, before a sequence number if given."""
    query = (
        "SELECT * FROM audit WHERE (?1 IS NULL OR seq < ?1) AND (?2 IS NULL OR tool = ?2) "
        "AND (?3 IS NULL OR event = ?3) ORDER BY seq DESC LIMIT ?4"
    )
    return [tuple(row) for row in database.read(query, before, tool, event, limit)]


def calls(
    database: Database, limit: int, before: int | None, tool: str | None
) -> list[tuple[Row, str | None]]:
    """Rows that open a call, the newest first, each with the body of the row that closes it, if
    that is another."""
    query = (
        "SELECT o.*, (SELECT c.body FROM audit c WHERE c.call = o.call AND c.event = 'close') "
        "FROM audit o WHERE o.event IN ('open', 'call') AND (?1 IS NULL OR o.seq < ?1) "
        "AND (?2 IS NULL OR o.tool = ?2) ORDER BY o.seq DESC LIMIT ?3"
    )
    return [(tuple(row)[:8], row[8]) for row in database.read(query, before, tool, limit)]
