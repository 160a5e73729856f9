"""The tools that were registered. What they mean is upstream/registrations.py's business."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.domain.errors import Unavailable
from pilotage.domain.registration import Registration
from pilotage.store.database import Database

_FIELDS = "id, name, owner, registrant, kind, definition, enabled, created, changed, disabled_by"


def find(connection: sqlite3.Connection, name: str) -> Registration | None:
    """One registration, inside of a transaction."""
    query = f"SELECT {_FIELDS} FROM registration WHERE name=?"
    found = connection.execute(query, (name,)).fetchone()
    return _registration(found) if found else None


def put(connection: sqlite3.Connection, one: Registration) -> None:
    """Add a registration, or replace the one of this id."""
    values = (
        one.tool_id,
        one.name,
        one.owner,
        one.by,
        one.kind,
        json.dumps(one.definition),
        int(one.enabled),
        one.created,
        one.changed,
        one.disabled_by,
    )
    connection.execute(
        f"INSERT INTO registration ({_FIELDS}) VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO "
        "UPDATE SET owner=excluded.owner, registrant=excluded.registrant, kind=excluded.kind, "
        "definition=excluded.definition, enabled=excluded.enabled, changed=excluded.changed, "
        "disabled_by=excluded.disabled_by",
        values,
    )


def delete(connection: sqlite3.Connection, name: str) -> None:
    """As if it had never been; its id is never used again."""
    connection.execute("DELETE FROM registration WHERE name=?", (name,))


def moment(connection: sqlite3.Connection) -> int:
    """Now, and later than every change before, whatever the clock says. Unix microseconds."""
    (newest,) = connection.execute("SELECT coalesce(max(changed), 0) FROM registration").fetchone()
    return max(time.time_ns() // 1000, int(newest) + 1)


def read_all(database: Database) -> list[Registration]:
    """Every registration, the oldest first."""
    query = f"SELECT {_FIELDS} FROM registration ORDER BY created, id"
    return [_registration(row) for row in database.read(query)]


def peek(path: Path) -> list[Registration]:
    """The same of a database that is somebody else's: it is only read, and [] where it is not
    there or has no registrations yet."""
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        query = f"SELECT {_FIELDS} FROM registration ORDER BY created, id"
        return [_registration(row) for row in connection.execute(query)]
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise Unavailable(f"{path} cannot be read: {error}", "check its folder") from None
    finally:
        connection.close()


def any_there(database: Database) -> bool:
    """Is anything registered?"""
    return bool(database.read("SELECT 1 FROM registration LIMIT 1"))


def stamp(database: Database) -> tuple[int, int]:
    """Changes whenever a registration does, by whatever process."""
    query = "SELECT coalesce(max(changed), 0), count(*) FROM registration"
    (newest, count) = database.read(query)[0]
    return newest, count


def _registration(row: Sequence[Any]) -> Registration:
    tool_id, name, owner, by, kind, definition, enabled, created, changed, disabled_by = row
    about = (json.loads(definition), bool(enabled), created, changed, disabled_by)
    return Registration(tool_id, name, owner, by, kind, *about)
