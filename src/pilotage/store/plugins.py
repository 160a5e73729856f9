"""The plugins that are trusted, as they were then. What that means: tool/plugins.py."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from pilotage.store.database import Database


@dataclass(frozen=True, slots=True)
class Trusted:
    """One distribution: SHA-256 in hex of each of its files by its path. `publisher` is the key
    that has signed it, "" for none. `at` is Unix microseconds."""

    name: str
    version: str
    files: Mapping[str, str]
    publisher: str
    by: str
    at: int


def read_all(database: Database) -> dict[str, Trusted]:
    """By name."""
    rows = database.read("SELECT name, version, files, publisher, by, at FROM plugin ORDER BY name")
    return {
        name: Trusted(name, version, json.loads(files), *rest)
        for name, version, files, *rest in rows
    }


def put(connection: sqlite3.Connection, one: Trusted) -> None:
    """Trust it, instead of what was trusted by that name."""
    values = (one.name, one.version, json.dumps(one.files), one.publisher, one.by, one.at)
    connection.execute("INSERT OR REPLACE INTO plugin VALUES (?,?,?,?,?,?)", values)


def delete(connection: sqlite3.Connection, name: str) -> bool:
    """False: it was not there."""
    return connection.execute("DELETE FROM plugin WHERE name=?", (name,)).rowcount > 0
