"""The rows of runs and of their journals. What they mean is pipeline/'s business.

A journal only grows. Its fence is the uniqueness of (run, seq): of two writers who both believe
that event 7 is theirs to write, one fails.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from pilotage.store.database import Database

EventRow = tuple[int, int, str, str | None, bytes]
"""seq, at (Unix microseconds), kind, step, body (JSON)."""

_OF = "SELECT seq, at, kind, step, body FROM run_event WHERE run = ?1 "
_EVENTS = _OF + "AND seq > ?2 ORDER BY seq"


class Overtaken(Exception):
    """Somebody else wrote an event of that number."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """`number` is the run's byte in the lock file. `owner` and `pid` name who drives it, or did
    last. `changed` is when `state` did. Times are Unix microseconds."""

    number: int
    id: str
    principal: str
    key: str | None
    pipeline: str
    digest: str
    owner: str | None
    pid: int | None
    created: int
    changed: int
    state: str
    outcome: str | None


def create(connection: sqlite3.Connection, row: RunRow, first: EventRow) -> tuple[RunRow, bool]:
    """Insert a run with its first event; or, where its principal has used its key before, return
    that run instead. True: it is new."""
    cursor = connection.execute(
        "INSERT INTO run (id, principal, key, pipeline, digest, created, changed, state) "
        "VALUES (?1,?2,?3,?4,?5,?6,?6,?7) ON CONFLICT (principal, key) DO NOTHING",
        (row.id, row.principal, row.key, row.pipeline, row.digest, row.created, row.state),
    )
    new = cursor.rowcount == 1
    if new:
        _insert(connection, row.id, (first,))
    found = connection.execute(
        "SELECT * FROM run WHERE id = ?1 OR (principal = ?2 AND key = ?3)",
        (row.id, row.principal, row.key),
    ).fetchone()
    return RunRow(*found), new


def append(connection: sqlite3.Connection, run: str, events: Sequence[EventRow]) -> None:
    """Add events. Overtaken where one of these numbers is taken; then none is added."""
    try:
        _insert(connection, run, events)
    except sqlite3.IntegrityError as error:
        raise Overtaken(str(error)) from None


def note(
    connection: sqlite3.Connection,
    run: str,
    at: int,
    state: str,
    outcome: str | None,
    owner: tuple[str, int] | None = None,
) -> None:
    """Where the run stands since `at`, for lists. `owner` (name, process id) if it is new."""
    connection.execute(
        "UPDATE run SET changed = ?2, state = ?3, outcome = ?4, "
        "owner = coalesce(?5, owner), pid = coalesce(?6, pid) WHERE id = ?1",
        (run, at, state, outcome, *(owner or (None, None))),
    )


def _insert(connection: sqlite3.Connection, run: str, events: Sequence[EventRow]) -> None:
    connection.executemany(
        "INSERT INTO run_event (run, seq, at, kind, step, body) VALUES (?,?,?,?,?,?)",
        [(run, *event) for event in events],
    )


def find(database: Database, run: str) -> RunRow | None:
    """A run by its id."""
    rows = database.read("SELECT * FROM run WHERE id = ?", run)
    return RunRow(*rows[0]) if rows else None


def under(database: Database, principal: str, key: str) -> RunRow | None:
    """The run that this principal has started under this key."""
    rows = database.read("SELECT * FROM run WHERE principal = ? AND key = ?", principal, key)
    return RunRow(*rows[0]) if rows else None


def open_of(database: Database, principal: str) -> int:
    """How many runs of this principal have not ended."""
    query = "SELECT count(*) FROM run WHERE state <> 'ended' AND principal = ?"
    found: int = database.read(query, principal)[0][0]
    return found


def alike(database: Database, start: str) -> list[str]:
    """Ids of runs that begin with `start`, two at most."""
    query = "SELECT id FROM run WHERE substr(id, 1, length(?1)) = ?1 LIMIT 2"
    return [row[0] for row in database.read(query, start)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs: None does not narrow. `begins` is how an id begins."""

    pipeline: str | None = None
    principal: str | None = None
    begins: str | None = None


ANY = Wanted()


def newest(
    database: Database,
    limit: int,
    before: str | None = None,
    state: str | None = None,
    wanted: Wanted = ANY,
) -> list[RunRow]:
    """The newest runs first, in one state if named, older than the run `before` if given."""
    query = (
        "SELECT * FROM run WHERE (?1 IS NULL OR id < ?1) AND (?2 IS NULL OR state = ?2) "
        "AND (?4 IS NULL OR pipeline = ?4) AND (?5 IS NULL OR principal = ?5) "
        "AND (?6 IS NULL OR substr(id, 1, length(?6)) = ?6) ORDER BY id DESC LIMIT ?3"
    )
    who = (wanted.pipeline, wanted.principal, wanted.begins)
    return [RunRow(*row) for row in database.read(query, before, state, limit, *who)]


def unfinished(database: Database) -> list[RunRow]:
    """Runs that have not ended, oldest first."""
    query = "SELECT * FROM run WHERE state <> 'ended' ORDER BY number"
    return [RunRow(*row) for row in database.read(query)]


def standing(database: Database) -> dict[str, int]:
    """How many runs are in each state that is not the end."""
    query = "SELECT state, count(*) FROM run WHERE state <> 'ended' GROUP BY state"
    return {row[0]: row[1] for row in database.read(query)}


def events(
    database: Database, run: str, after: int, limit: int = -1, step: str | None = None
) -> list[EventRow]:
    """A run's events after number `after` (-1: all), in order; `limit` of them, unless it is -1."""
    query = _OF + "AND seq > ?2 AND (?3 IS NULL OR step = ?3) ORDER BY seq LIMIT ?4"
    return [tuple(row) for row in database.read(query, run, after, step, limit)]


def last_events(
    database: Database, run: str, limit: int, step: str | None = None
) -> list[EventRow]:
    """The last of a run's events, in order."""
    query = _OF + "AND (?2 IS NULL OR step = ?2) ORDER BY seq DESC LIMIT ?3"
    return [tuple(row) for row in reversed(database.read(query, run, step, limit))]


def of_kind(database: Database, run: str, kind: str, upto: int) -> list[EventRow]:
    """A run's events of one kind, up to number `upto`."""
    query = _OF + "AND kind = ?2 AND seq <= ?3 ORDER BY seq"
    return [tuple(row) for row in database.read(query, run, kind, upto)]


def events_inside(connection: sqlite3.Connection, run: str, after: int) -> list[EventRow]:
    """The same within a write."""
    found: list[EventRow] = connection.execute(_EVENTS, (run, after)).fetchall()
    return found


def last(database: Database) -> int:
    """The number of the newest event of all runs, 0 where there is none."""
    found: int = database.read("SELECT coalesce(max(number), 0) FROM run_event")[0][0]
    return found


def changed(database: Database, after: int) -> tuple[int, dict[str, int]]:
    """The runs that have got events after event number `after` of all, each with the seq of its
    newest, and the newest number."""
    query = "SELECT max(number), run, max(seq) FROM run_event WHERE number > ? GROUP BY run"
    found = database.read(query, after)
    return max((row[0] for row in found), default=after), {row[1]: row[2] for row in found}
