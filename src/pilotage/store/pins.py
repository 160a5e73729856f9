"""The rows of the pin store: for each tool of another owner, what was approved and what was seen.

What the rows mean is tool/pin.py's business. Each function takes the connection of a transaction.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from pilotage.store.database import Database


@dataclass(frozen=True, slots=True)
class SourceRow:
    """Where tools come from. `first` is 1 until its tools were seen for the first time, `approves`
    1 where who registered it may approve tools. `created` is Unix microseconds."""

    owner: str
    source: str
    registered_by: str
    approves: int
    first: int
    created: int


@dataclass(frozen=True, slots=True)
class PinRow:
    """One tool. Texts are canonical JSON, digests SHA-256 in hex; times are Unix microseconds.

    `approved` None: nobody has approved it yet. `why` is what holds it back, "" for nothing;
    `rejected` is the digest that somebody said no to; `warnings` is a JSON list of sentences.
    """

    owner: str
    source: str
    name: str
    approved: str | None
    approved_text: str | None
    approved_by: str | None
    approved_at: int | None
    seen: str
    seen_text: str
    seen_at: int
    why: str
    rejected: str | None
    warnings: str
    changed: int


_SOURCE = ", ".join(field.name for field in fields(SourceRow))
_PIN = ", ".join(field.name for field in fields(PinRow))
_MARKS = ",".join("?" * len(fields(PinRow)))


def now() -> int:
    """Unix microseconds."""
    return time.time_ns() // 1000


def source(connection: sqlite3.Connection, owner: str, name: str) -> SourceRow | None:
    """One source, None where nobody has registered it."""
    query = f"SELECT {_SOURCE} FROM pin_source WHERE owner=? AND source=?"
    found = connection.execute(query, (owner, name)).fetchone()
    return SourceRow(*found) if found else None


def put_source(connection: sqlite3.Connection, row: SourceRow) -> None:
    """Add a source; one that is there stays as it is."""
    values = (row.owner, row.source, row.registered_by, row.approves, row.first, row.created)
    connection.execute(f"INSERT OR IGNORE INTO pin_source ({_SOURCE}) VALUES (?,?,?,?,?,?)", values)


def close_source(connection: sqlite3.Connection, owner: str, name: str) -> None:
    """Its tools have been seen: from now on, a tool without a pin is a new one."""
    connection.execute("UPDATE pin_source SET first=0 WHERE owner=? AND source=?", (owner, name))


def pins(connection: sqlite3.Connection, owner: str, name: str) -> dict[str, PinRow]:
    """All pins of one source, by tool."""
    query = f"SELECT {_PIN} FROM pin WHERE owner=? AND source=?"
    return {row[2]: PinRow(*row) for row in connection.execute(query, (owner, name))}


def from_source(connection: sqlite3.Connection, name: str) -> list[PinRow]:
    """All pins of sources of that name, whoever owns them, by owner and tool."""
    query = f"SELECT {_PIN} FROM pin WHERE source=? ORDER BY owner, name"
    return [PinRow(*row) for row in connection.execute(query, (name,))]


def put(connection: sqlite3.Connection, row: PinRow) -> None:
    """Add or replace one pin."""
    values = tuple(getattr(row, field.name) for field in fields(PinRow))
    connection.execute(f"INSERT OR REPLACE INTO pin ({_PIN}) VALUES ({_MARKS})", values)


def forget(connection: sqlite3.Connection, owner: str, name: str) -> None:
    """A source and its pins, as if they had never been."""
    connection.execute("DELETE FROM pin WHERE owner=? AND source=?", (owner, name))
    connection.execute("DELETE FROM pin_source WHERE owner=? AND source=?", (owner, name))


def named(connection: sqlite3.Connection, tool: str) -> list[PinRow]:
    """The pins of that name, whoever owns the tool."""
    query = f"SELECT {_PIN} FROM pin WHERE name=? ORDER BY owner, source"
    return [PinRow(*row) for row in connection.execute(query, (tool,))]


def read_named(database: Database, tool: str) -> list[PinRow]:
    """`named`, outside of a transaction."""
    query = f"SELECT {_PIN} FROM pin WHERE name=? ORDER BY owner, source"
    return [_pin(row) for row in database.read(query, tool)]


def read_source(database: Database, name: str) -> list[PinRow]:
    """`from_source`, outside of a transaction."""
    query = f"SELECT {_PIN} FROM pin WHERE source=? ORDER BY owner, name"
    return [_pin(row) for row in database.read(query, name)]


def read_all(database: Database) -> list[PinRow]:
    """Every pin, outside of a transaction."""
    return [_pin(row) for row in database.read(f"SELECT {_PIN} FROM pin ORDER BY name, owner")]


def stamp(database: Database) -> tuple[int, int]:
    """Changes whenever a pin does, by whatever process."""
    rows = database.read("SELECT coalesce(max(changed), 0), count(*) FROM pin")
    return rows[0][0], rows[0][1]


def _pin(row: Sequence[Any]) -> PinRow:
    return PinRow(*row)
