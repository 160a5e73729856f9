"""Journals on disk: one run's events, read and appended. Reading executes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from pilotage.domain.errors import BadInput, Conflict, PilotageError
from pilotage.domain.pipeline import Pipeline
from pilotage.domain.run import Event, Kind, Run
from pilotage.pipeline import fold
from pilotage.pipeline.plan import Plan, plan
from pilotage.store import runs as rows
from pilotage.store.database import Database

_encode = msgspec.json.Encoder(enc_hook=str).encode
_decode = msgspec.json.Decoder().decode


def row(event: Event) -> rows.EventRow:
    """An event as the store keeps it."""
    try:
        return (event.seq, event.at, event.kind, event.step, _encode(event.body))
    except UnicodeEncodeError:
        raise BadInput("half a character is no text", "such as \\ud800") from None


def event(row: rows.EventRow) -> Event:
    """An event as it was written."""
    seq, at, kind, step, body = row
    try:
        return Event(seq, at, Kind(kind), step, _decode(body))
    except (ValueError, msgspec.DecodeError) as error:
        raise PilotageError(f"event {seq} of a journal cannot be read: {error}") from None


def load(database: Database, run: str) -> tuple[Plan, Run]:
    """The plan of a run and where it stands."""
    return fold.read(run, map(event, rows.events(database, run, -1)), _plan)


def read(
    database: Database, run: str, after: int = -1, limit: int = -1, step: str | None = None
) -> list[Event]:
    """The events after number `after`: all, or `limit` at most; of one step where it is named."""
    return [event(row) for row in rows.events(database, run, after, limit, step)]


def tail(database: Database, run: str, limit: int, step: str | None = None) -> list[Event]:
    """The last events, in order."""
    return [event(row) for row in rows.last_events(database, run, limit, step)]


def begun(database: Database, run: str, upto: int) -> list[Event]:
    """The attempts that began up to event `upto`."""
    return [event(row) for row in rows.of_kind(database, run, Kind.STARTED, upto)]


class Elsewhere(Conflict):
    """A run that began in another `folder`: relative paths in its params would mean other files."""

    def __init__(self, run: str, folder: str, here: str) -> None:
        super().__init__(f"run {run} began in {folder}, and this is {here}", f"cd {folder}")
        self.folder = folder


def refuse_elsewhere(database: Database, run: str, here: str) -> None:
    """Raise Elsewhere unless the run began in `here`."""
    folder = read(database, run)[0].body["folder"]
    if folder != here:
        raise Elsewhere(run, folder, here)


def caught_up(connection: sqlite3.Connection, plan: Plan, run: Run) -> Run:
    """Within a write: the run with whatever others have added meanwhile."""
    return fold.fold(plan, run, [event(r) for r in rows.events_inside(connection, run.id, run.seq)])


def append(
    connection: sqlite3.Connection,
    before: Run,
    after: Run,
    events: Sequence[Event],
    owner: tuple[str, int] | None = None,
) -> None:
    """Within a write: add the events that lead from one to the other. `owner`: of a new owner."""
    rows.append(connection, after.id, [row(e) for e in events])
    if owner is not None or before.state is not after.state:
        outcome = after.outcome.value if after.outcome is not None else None
        rows.note(connection, after.id, after.at, after.state.value, outcome, owner)


def _plan(created: Event) -> Plan:
    """Of the pipeline that the first event holds, which was frozen when it was written."""
    return plan(msgspec.convert(created.body["pipeline"], Pipeline))
