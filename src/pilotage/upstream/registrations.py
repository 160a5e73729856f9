"""Tools that are registered while the server runs: stored, bound, put into the registry."""

from __future__ import annotations

import asyncio
import builtins
import json
import sqlite3
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from pilotage.domain.call import Principal
from pilotage.domain.errors import BadInput, Conflict, Denied, NotFound, PilotageError
from pilotage.domain.ids import new_id
from pilotage.domain.registration import Registration, check_name, check_owner_text, holder
from pilotage.store import tools as rows
from pilotage.store.database import Database
from pilotage.tool.pin import Pins
from pilotage.tool.registry import Registry, State
from pilotage.upstream.binder import Binder
from pilotage.upstream.place import Place
from pilotage.upstream.wanted import (
    Done,
    If,
    May,
    Wanted,
    check_enabling,
    check_owner,
    check_when,
    outranks,
    owned_by,
)

TOLD_LIMIT = 8_192
BUILTIN = "builtin"
"""The kind of the house's own tools."""
Step = Callable[[sqlite3.Connection], None]


class Record(Protocol):
    """The audit, within the transaction: see AuditLog.note."""

    def __call__(
        self, event: str, about: str, by: Principal, words: Mapping[str, object], tool: str = ""
    ) -> None: ...


class Registrations:
    """All changes go to the store first, with their audit row, then to the registry.

    Whose: a change names the owner that the registration has (another is 409), and is made by who
    registered it, by a principal of the owner's name, or by who has `tools:own:OWNER`. `reserved`
    are names of the house's tools that nobody offers yet: none but the kind builtin has them.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        pins: Pins,
        may: May,
        record: Record,
        reserved: Container[str] = (),
    ) -> None:
        self._database, self._registry, self._pins = database, registry, pins
        self._may, self._record, self._reserved = may, record, reserved
        self._binders: dict[str, Binder] = {}
        self._slots: dict[str, Place] = {}
        self._stamp = (-1, -1)
        self._lock = asyncio.Lock()

    def add(self, kind: str, binder: Binder) -> None:
        """Before `load`: registrations of `kind` are `binder`'s."""
        self._binders[kind] = binder

    @property
    def kinds(self) -> builtins.list[str]:
        return sorted(self._binders)

    def load(self) -> None:
        """At the start: put what is registered into the registry. One that cannot be bound any
        more stops nothing: it is unavailable, and says why."""
        self._stamp = rows.stamp(self._database)
        for one in rows.read_all(self._database):
            self._load(one)

    def borrow(self, found: Iterable[Registration]) -> None:
        """Offer what is registered elsewhere, to be looked at: it is kept in this store as well,
        and taken for approved. Not for a store that anybody is answered from."""
        for one in found:
            source = self._pins.registration(
                one.holder, one.name, Principal(one.by, frozenset()), approves=True
            )

            def keep(
                connection: sqlite3.Connection, one: Registration = one, s: Step = source
            ) -> None:
                s(connection)
                rows.put(connection, one)

            self._database.write_now(keep)
            self._load(one)

    def _load(self, one: Registration) -> None:
        slot = self._slots[one.name] = self._slot(one)
        tools = slot.bind()
        try:
            slot.check(tools)
            self._pins.judge_now(one.holder, one.name, tools)
            slot.put(tools)
        except PilotageError as error:
            slot.fail(error)

    def get(self, name: str) -> Registration:
        """Raises NotFound."""
        if name not in self._slots:
            raise NotFound(f"nothing is registered as {name[:100]!r}", "pilotage tools list")
        return self._slots[name].one

    def list(self, owner: str | None = None) -> builtins.list[Registration]:
        """By name; of one owner, or of all whose owner begins with it and a slash."""
        found = (slot.one for _, slot in sorted(self._slots.items()))
        return [one for one in found if owner is None or owned_by(one.owner, owner)]

    def sources(self) -> dict[str, Registration]:
        """By tool, the registration that it comes from. The house's own tools are not there."""
        return {name: slot.one for slot in self._slots.values() for name in slot.names}

    def stands(self, name: str) -> tuple[State, str, builtins.list[str]]:
        """How a registration stands, why if it is not ready, and the names of its tools."""
        self.get(name)
        return self._slots[name].stands()

    async def put(self, name: str, wanted: Wanted, by: Principal, when: If | None = None) -> Done:
        """Register, or change what is registered. The same again changes nothing. What is wrong
        with it is raised before anything is stored."""
        check_name(name)
        owner = wanted.owner or by.name
        check_owner_text(owner)
        binder = self._binder(wanted.kind)
        _check_text(wanted.definition)
        definition = json.loads(json.dumps(binder.check(name, wanted.definition)))
        self._check_unpinned(name, binder.unpinned(definition), by)
        wanted = Wanted(wanted.kind, definition, owner)
        async with self._lock:
            if name not in self._slots and self._taken(name, name):
                raise Conflict(f"the tool {name!r} is another's", "choose another name")
            if wanted.kind != BUILTIN and name in self._reserved:
                what = f"{name!r} is the name of a tool of pilotage's own"
                raise Conflict(what, f"choose another name, or the kind {BUILTIN}")
            pinning = self._pinning(name, holder(owner), by, binder)
            done = await self._database.write(
                lambda connection: self._putting(
                    connection, name, wanted, by, when or If(), pinning
                )
            )
            if done.changed:
                await self._rebind(done.one)
            return done

    def _check_unpinned(self, name: str, what: str, by: Principal) -> None:
        """What cannot wait for a person to look at it is registered by such a person only."""
        if what and not self._may(by, "tools:approve"):
            raise Denied(
                f"{name}: {by.name} may not approve, and {what} of a server are shown at once",
                "offers: [tools], or ask who has tools:approve",
            )

    def _pinning(self, name: str, owner: str, by: Principal, binder: Binder) -> Step:
        """Who may approve tools has approved what they write down in full: their list of tools is
        a first one each time, and what looks poisoned in it waits all the same."""
        approves = self._may(by, "tools:approve")
        registering = self._pins.registration(owner, name, by, approves=approves)
        forgetting = self._pins.forgetting(owner, name)

        def pin(connection: sqlite3.Connection) -> None:
            if approves and binder.declared:
                forgetting(connection)
            registering(connection)

        return pin

    def _putting(
        self,
        connection: sqlite3.Connection,
        name: str,
        wanted: Wanted,
        by: Principal,
        when: If,
        pinning: Step,
    ) -> Done:
        old = rows.find(connection, name)
        check_when(when, old, name)
        check_owner(old, wanted.owner, by, self._may)
        now = rows.moment(connection)
        if old is None:
            said = (wanted.owner, by.name, wanted.kind, wanted.definition)
            new = Registration(new_id(), name, *said, True, now, now)
        else:
            new = replace(old, owner=wanted.owner, kind=wanted.kind, definition=wanted.definition)
            if new.etag == old.etag:
                return Done(old, created=False, changed=False)
            new = replace(new, changed=now)
        pinning(connection)
        rows.put(connection, new)
        self._tell("tool.changed" if old else "tool.registered", new, by)
        return Done(new, created=old is None, changed=True)

    async def remove(
        self, name: str, by: Principal, owner: str = "", when: If | None = None
    ) -> None:
        """It and its tools are gone. Raises NotFound where they are not there."""

        def work(connection: sqlite3.Connection) -> Registration:
            one = self._found(connection, name, by, owner, when or If())
            rows.delete(connection, name)
            self._pins.forgetting(one.holder, one.name)(connection)
            self._tell("tool.removed", one, by)
            return one

        async with self._lock:
            await self._database.write(work)
            self._drop(name)

    async def enable(
        self, name: str, on: bool, by: Principal, owner: str = "", when: If | None = None
    ) -> Registration:
        """Let it be called, or not; what is so already stays as it is. What somebody else than its
        own has disabled, they enable again, or who has `tools:approve`."""

        def work(connection: sqlite3.Connection) -> Registration:
            one = self._found(connection, name, by, owner, when or If())
            if on:
                check_enabling(one, by, self._may)
            elif not one.enabled and not outranks(by, one, self._may):
                return one
            new = replace(one, enabled=on, disabled_by="" if on else by.name)
            if new == one:
                return one
            new = replace(new, changed=rows.moment(connection))
            rows.put(connection, new)
            self._tell("tool.enabled" if on else "tool.disabled", new, by)
            return new

        async with self._lock:
            new = await self._database.write(work)
            if name not in self._slots or self._slots[name].one != new:
                await self._rebind(new)
            return new

    async def refresh(self) -> None:
        """Take in what other processes have changed."""
        stamp = rows.stamp(self._database)
        if stamp == self._stamp:
            return
        async with self._lock:
            self._stamp = rows.stamp(self._database)
            found = {one.name: one for one in rows.read_all(self._database)}
            for name in self._slots.keys() - found.keys():
                self._drop(name)
            for name, one in found.items():
                if name not in self._slots or self._slots[name].one != one:
                    await self._rebind(one)

    def _found(
        self, connection: sqlite3.Connection, name: str, by: Principal, owner: str, when: If
    ) -> Registration:
        one = rows.find(connection, name)
        if one is None:
            raise NotFound(f"nothing is registered as {name[:100]!r}", "pilotage tools list")
        check_when(when, one, name)
        check_owner(one, owner or one.owner, by, self._may)
        return one

    def _tell(self, event: str, one: Registration, by: Principal) -> None:
        text = repr(one.definition)
        definition = one.definition if len(text) <= TOLD_LIMIT else {"cut": len(text)}
        words = {
            "name": one.name,
            "owner": one.owner,
            "kind": one.kind,
            "etag": one.etag,
            "enabled": one.enabled,
            "definition": definition,
        }
        self._record(event, one.tool_id, by, words, one.name)

    def _binder(self, kind: str) -> Binder:
        if kind not in self._binders:
            raise BadInput(f"there is no kind {kind[:100]!r} of tools", ", ".join(self.kinds))
        return self._binders[kind]

    def _taken(self, tool: str, name: str) -> bool:
        """Is `tool` another's than the registration `name`'s?"""
        slot = self._slots.get(name)
        if tool in self._registry.all and (slot is None or tool not in slot.names):
            return True
        if tool in self._reserved and slot is not None and slot.one.kind != BUILTIN:
            return True
        return tool in self._slots and tool != name

    def _slot(self, one: Registration) -> Place:
        return Place(self._registry, self._pins, self._binders.get(one.kind), one, self._taken)

    async def _rebind(self, one: Registration) -> None:
        """Bind it anew. Its tools of before stay while it is the same source, and has not said
        which it has now."""
        old = self._slots.get(one.name)
        if old is not None and _same(old.one, one) and old.one.enabled is one.enabled:
            old.one = one
            return
        slot = self._slots[one.name] = self._slot(one)
        if old is not None:
            old.unbind()
            slot.names = old.names
        tools = slot.bind()
        if tools or slot.failure or (old is not None and not _same(old.one, one)):
            try:
                await slot.replace(tools)
            except PilotageError as error:
                slot.fail(error)
        else:
            slot.show()

    def _drop(self, name: str) -> None:
        slot = self._slots.pop(name, None)
        if slot is not None:
            slot.unbind()
            slot.clear()
            self._pins.leave(slot.one.holder, name)


def _check_text(definition: Mapping[str, object]) -> None:
    """Raises BadInput for half a character (a lone surrogate): no file and no answer holds it."""
    try:
        json.dumps(definition, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadInput("the definition holds half a character", "such as \\ud800") from None


def _same(old: Registration, new: Registration) -> bool:
    """Is it the same source of tools?"""
    return (old.kind, old.holder, old.definition) == (new.kind, new.holder, new.definition)
