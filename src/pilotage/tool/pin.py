"""Tools of other owners are what was approved, or they are quarantined.

Whoever puts such a tool into the registry hands it to `Pins.judge` first, always the whole list of
its source. The first list of a source is approved by registering it (`registration`); after that,
what differs from its pin, what has none, and what cannot be compared is quarantined until a person
approves the digest that person has looked at. Source: facts, mcp 5, "Rug pull".
"""

from __future__ import annotations

import asyncio
import builtins
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from pilotage.domain.call import Principal
from pilotage.domain.errors import Conflict, NotFound, PilotageError, Unavailable
from pilotage.store import pins as rows
from pilotage.store.database import Database
from pilotage.store.pins import PinRow, SourceRow
from pilotage.tool import compare, surface
from pilotage.tool.canonical import canonical
from pilotage.tool.compare import Judgement
from pilotage.tool.registry import State
from pilotage.tool.tool import Tool

HOUSE = Principal("pilotage", frozenset())
"""Who quarantines: nobody but us."""


class Record(Protocol):
    """The audit, within the transaction: see AuditLog.note."""

    def __call__(
        self, event: str, about: str, by: Principal, words: Mapping[str, object], tool: str = ""
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Pin:
    """What is known of one tool's pin. Digests are SHA-256 in hex, `approved` None: never yet.
    `diff` is safe to print; `warnings` are what screening says of what was seen."""

    name: str
    owner: str
    source: str
    state: State
    why: str
    approved: str | None
    approved_by: str | None
    seen: str
    warnings: list[str]
    diff: str


@dataclass(frozen=True, slots=True)
class Held:
    """All that is held back of one source and waits for a word, by name, but for what somebody has
    rejected; `digest` is that of all of it."""

    source: str
    owner: str
    digest: str
    pins: list[Pin]


@dataclass(slots=True)
class _Known:
    owner: str
    source: str
    tool: Tool
    digest: str
    judgement: Judgement


class Pins:
    """The pin store of one process; other processes may use the same file."""

    def __init__(self, database: Database, record: Record) -> None:
        self._database, self._record = database, record
        self._known: dict[str, _Known] = {}
        self._stamp = (0, 0)

    def registration(
        self, owner: str, source: str, by: Principal, *, approves: bool
    ) -> Callable[[sqlite3.Connection], None]:
        """A piece of the transaction that registers a new source: the first list of its tools will
        be approved where `by` may do that (`approves`: the policy lets it do tools:approve). On a
        source that is registered already it changes nothing."""
        row = SourceRow(owner, source, by.name, int(approves), 1, rows.now())
        return lambda connection: rows.put_source(connection, row)

    def forgetting(self, owner: str, source: str) -> Callable[[sqlite3.Connection], None]:
        """A piece of the transaction that ends a registration; the next one is a new one."""
        return lambda connection: rows.forget(connection, owner, source)

    def leave(self, owner: str, source: str) -> None:
        """These tools are not offered any more: their names are free for others."""
        gone = [n for n, k in self._known.items() if (k.owner, k.source) == (owner, source)]
        for name in gone:
            del self._known[name]

    async def judge(self, owner: str, source: str, tools: Iterable[Tool]) -> dict[str, Judgement]:
        """What each of the tools that `source` has now may be: by name, for `Registry.put`.

        It never raises: a tool that cannot be compared with its pin is quarantined.
        """
        seen = await asyncio.to_thread(compare.look, tools)
        try:
            judged = await self._database.write(self._judging(owner, source, seen))
        except (PilotageError, sqlite3.Error, ValueError) as error:
            judged = _unreadable(seen, error)
        return self._remember(owner, source, seen, judged)

    def judge_now(self, owner: str, source: str, tools: Iterable[Tool]) -> dict[str, Judgement]:
        """`judge` for callers without an event loop: blocks until committed."""
        seen = compare.look(tools)
        try:
            judged = self._database.write_now(self._judging(owner, source, seen))
        except (PilotageError, sqlite3.Error, ValueError) as error:
            judged = _unreadable(seen, error)
        return self._remember(owner, source, seen, judged)

    def guard(self, tool: Tool) -> str:
        """Why this tool must not be called, "" where it may. What was never judged may not."""
        if not tool.owner:
            return ""
        known = self._known.get(tool.name)
        if known is None or known.owner != tool.owner:
            return "it was never compared with what was approved"
        if known.tool is not tool:
            try:
                digest = compare.sha256(canonical(surface.surface(tool)))
            except ValueError as error:
                return f"it cannot be compared with what was approved: {error}"
            if digest != known.digest:
                return "it is not what was compared with what was approved"
        return known.judgement.why

    def refresh(self) -> bool:
        """Take in what other processes have decided. True where a tool may have another state."""
        try:
            stamp = rows.stamp(self._database)
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            found = {
                (row.owner, row.source, row.name): row for row in rows.read_all(self._database)
            }
        except (sqlite3.Error, PilotageError):
            return False
        changed = False
        for known in list(self._known.values()):
            if not known.digest:
                continue  # it cannot be pinned, whatever the store says
            row = found.get((known.owner, known.source, known.tool.name))
            now = compare.believed(row, known.digest)
            if now != known.judgement:
                known.judgement, changed = now, True
        return changed

    def look(self, name: str) -> Pin:
        """The pin of a tool, with the difference between what was approved and what was seen.
        Raises NotFound for a tool that has none (the house's own), Unavailable where the store
        cannot be read."""
        try:
            return _pin(self._one(name, rows.read_named(self._database, name)))
        except (sqlite3.Error, ValueError) as error:
            raise Unavailable(f"the pin store cannot be read: {error}", _MEND) from None

    def list(self) -> builtins.list[Pin]:
        """Every pin, by name. Raises Unavailable where the store cannot be read."""
        try:
            return [_pin(row) for row in rows.read_all(self._database)]
        except (sqlite3.Error, ValueError) as error:
            raise Unavailable(f"the pin store cannot be read: {error}", _MEND) from None

    def held(self, source: str) -> Held:
        """What waits for a word of what comes from `source`. Raises NotFound where nothing does
        that has a pin, Unavailable where the store cannot be read."""
        try:
            return _held(self._of(source, rows.read_source(self._database, source)))
        except (sqlite3.Error, ValueError) as error:
            raise Unavailable(f"the pin store cannot be read: {error}", _MEND) from None

    def approve(self, name: str, digest: str, by: Principal, reason: str = "") -> Pin:
        """From now on the tool is what `digest` names, which must be what was seen last. Raises
        Conflict where it has changed since `by` looked at it."""

        def approving(connection: sqlite3.Connection) -> builtins.list[PinRow]:
            row = self._looked_at(connection, name, digest)
            return [self._approve_one(connection, row, by, {"reason": reason})]

        return self._decided(approving)[0]

    def approve_all(
        self, source: str, digest: str, by: Principal, reason: str = ""
    ) -> builtins.list[Pin]:
        """All that `held` shows of a source, at once: `digest` is that of exactly what was looked
        at. Raises Conflict where it is another one by now."""

        def approving(connection: sqlite3.Connection) -> builtins.list[PinRow]:
            found = compare.held(self._of(source, rows.from_source(connection, source)))
            if not found:
                raise Conflict(f"nothing of {source} waits for a word", "pilotage tools list")
            if compare.digest_of(found) != digest:
                hint = f"pilotage tools diff --server {source}"
                raise Conflict(f"what is held back of {source} has changed since", hint)
            words = {"reason": reason, "together": digest}
            return [self._approve_one(connection, row, by, words) for row in found]

        return self._decided(approving)

    def _approve_one(
        self,
        connection: sqlite3.Connection,
        row: PinRow,
        by: Principal,
        words: Mapping[str, object],
    ) -> PinRow:
        now = rows.now()
        row = replace(
            row, approved=row.seen, approved_text=row.seen_text, approved_by=by.name,
            approved_at=now, why="", rejected=None, changed=now,
        )  # fmt: skip
        rows.put(connection, row)
        words = {"digest": row.seen, "owner": row.owner, **words}
        self._record("tool.approved", row.source, by, words, row.name)
        return row

    def reject(self, name: str, digest: str, by: Principal, reason: str = "") -> Pin:
        """Say no to what was seen: it stays quarantined, and says that somebody looked. Raises
        Conflict as `approve` does, and for what is approved."""

        def rejecting(connection: sqlite3.Connection) -> builtins.list[PinRow]:
            row = self._looked_at(connection, name, digest)
            if row.seen == row.approved:
                raise Conflict(f"{name} is approved as it is", f"pilotage tools disable {name}")
            why = f"{by.name} rejected it" + (f": {reason}" if reason else "")
            row = replace(row, why=why, rejected=row.seen, changed=rows.now())
            rows.put(connection, row)
            words = {"digest": row.seen, "owner": row.owner, "reason": reason}
            self._record("tool.rejected", row.source, by, words, name)
            return [row]

        return self._decided(rejecting)[0]

    def _decided(
        self, work: Callable[[sqlite3.Connection], builtins.list[PinRow]]
    ) -> builtins.list[Pin]:
        try:
            found = self._database.write_now(work)
        except (sqlite3.Error, ValueError) as error:
            raise Unavailable(f"the pin store cannot be read: {error}", _MEND) from None
        for row in found:
            known = self._known.get(row.name)
            if known is not None and (known.owner, known.source) == (row.owner, row.source):
                known.judgement = compare.standing(row, known.digest)
        return [_pin(row) for row in found]

    def _looked_at(self, connection: sqlite3.Connection, name: str, digest: str) -> PinRow:
        row = self._one(name, rows.named(connection, name), digest)
        if row.seen != digest:
            raise Conflict(
                f"{name} has changed since: it is {row.seen} now", f"pilotage tools diff {name}"
            )
        compare.check(row)
        return row

    def _one(self, name: str, found: builtins.list[PinRow], digest: str = "") -> PinRow:
        """The pin that this name means: that of the tool that is there, else the only one."""
        if not found:
            raise NotFound(f"{name!r} has no pin", "only tools of other owners have one")
        known = self._known.get(name)
        for row in found:
            if known is not None and (row.owner, row.source) == (known.owner, known.source):
                return row
        fitting = [row for row in found if row.seen == digest] or found
        if len(fitting) > 1:
            whose = ", ".join(f"{row.owner}'s {row.source}" for row in fitting)
            raise Conflict(f"more than one tool is named {name!r}: of {whose}", "ask the server")
        return fitting[0]

    def _of(self, source: str, found: builtins.list[PinRow]) -> builtins.list[PinRow]:
        """The pins of the source of that name: of the one that is there, else of the only one."""
        if not found:
            raise NotFound(f"nothing from {source!r} has a pin", "pilotage tools list")
        here = {known.owner for known in self._known.values() if known.source == source}
        owners = {row.owner for row in found}
        owners = owners & here or owners
        if len(owners) > 1:
            whose = ", ".join(sorted(owners))
            raise Conflict(
                f"more than one source is named {source!r}: of {whose}", "ask the server"
            )
        return [row for row in found if row.owner in owners]

    def _remember(
        self,
        owner: str,
        source: str,
        seen: builtins.list[compare.Seen],
        judged: dict[str, Judgement],
    ) -> dict[str, Judgement]:
        """Keep what was decided for `guard`. A tool that is gone is forgotten here, not its pin."""
        self.leave(owner, source)
        for one in seen:
            name = one.tool.name
            other = self._known.get(name)
            if other is not None:
                whose = f"{other.owner}'s {other.source}"
                judged[name] = Judgement(State.QUARANTINED, f"{whose} has a tool of that name")
                continue
            self._known[name] = _Known(owner, source, one.tool, one.digest, judged[name])
        return judged

    def _judging(
        self, owner: str, source: str, seen: builtins.list[compare.Seen]
    ) -> Callable[[sqlite3.Connection], dict[str, Judgement]]:
        def judging(connection: sqlite3.Connection) -> dict[str, Judgement]:
            origin = rows.source(connection, owner, source)
            known = rows.pins(connection, owner, source)
            judged = {}
            for one in seen:
                judged[one.tool.name] = self._judge_one(
                    connection, origin, known.get(one.tool.name), (owner, source), one
                )
            if origin is not None and origin.first:
                rows.close_source(connection, owner, source)
            return judged

        return judging

    def _judge_one(
        self,
        connection: sqlite3.Connection,
        origin: SourceRow | None,
        old: PinRow | None,
        whose: tuple[str, str],
        one: compare.Seen,
    ) -> Judgement:
        if one.broken:
            return Judgement(State.QUARANTINED, one.broken)
        new = compare.first(origin, whose, one) if old is None else compare.again(old, one)
        if new is not old:
            rows.put(connection, new)
            self._say(new, old)
        return compare.standing(new, one.digest)

    def _say(self, new: PinRow, old: PinRow | None) -> None:
        """Put the change of one tool into the audit."""
        words = {"digest": new.seen, "owner": new.owner, "approved": new.approved}
        if new.why:
            self._record("tool.quarantined", new.source, HOUSE, {**words, "why": new.why}, new.name)
        elif old is None:
            by = Principal(new.approved_by or HOUSE.name, frozenset())
            words = {**words, "reason": "registered"}
            self._record("tool.approved", new.source, by, words, new.name)
        else:
            self._record("tool.restored", new.source, HOUSE, words, new.name)


_MEND = "restore the state folder from a backup, or register its tools anew"


def _unreadable(seen: list[compare.Seen], error: Exception) -> dict[str, Judgement]:
    why = f"the pin store cannot be read: {error}"
    return {one.tool.name: Judgement(State.QUARANTINED, why) for one in seen}


def _held(found: list[PinRow]) -> Held:
    waiting = compare.held(found)
    pins, digest = [_pin(row) for row in waiting], compare.digest_of(waiting)
    return Held(found[0].source, found[0].owner, digest, pins)


def _pin(row: PinRow) -> Pin:
    compare.check(row)
    state, why = compare.standing(row, row.seen)
    return Pin(
        row.name,
        row.owner,
        row.source,
        state,
        why,
        row.approved,
        row.approved_by,
        row.seen,
        json.loads(row.warnings),
        surface.diff(row.approved_text, row.seen_text) if row.seen != row.approved else "",
    )
