"""A state folder of an earlier version is brought on, and nothing in it is lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pilotage.store import runs as rows
from pilotage.store.database import Database
from pilotage.store.schema import MIGRATIONS

BEFORE_TENANTS = 1 + next(n for n, one in enumerate(MIGRATIONS) if "disabled_by" in one)


def at_version(path: Path, version: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    for statements in MIGRATIONS[:version]:
        connection.executescript(statements)
    connection.execute(f"PRAGMA user_version={version}")
    return connection


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("kubernetes:prod/shop via key:the-cluster", "kubernetes:prod/shop"),
        ("kubernetes:prod:org/alice via key:a", "kubernetes:prod:org/alice via key:a"),
        ("key:kubernetes:a/b via c", "key:kubernetes:a/b via c"),
        ("key:agent", "key:agent"),
    ],
)
def test_the_runs_of_a_namespace_become_its_own(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "pilotage.db"
    old = at_version(path, BEFORE_TENANTS)
    old.execute(
        "INSERT INTO run (id, principal, key, pipeline, digest, created, changed, state) "
        "VALUES ('A', ?, 'uid', 'p', 'd', 1, 1, 'ended')",
        (before,),
    )
    old.commit()
    old.close()
    database = Database(path)
    try:
        found = rows.under(database, after, "uid")
        assert found is not None
        assert found.id == "A"
    finally:
        database.close()
