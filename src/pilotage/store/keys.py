"""API keys: shown once, stored as a hash, with roles, tool globs and an expiry."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.call import Principal
from pilotage.domain.errors import Conflict, NotFound, Unauthenticated
from pilotage.domain.ids import new_id
from pilotage.store.database import Database

PREFIX = "plt_"
Record = Callable[[str, str, Principal, Mapping[str, Any]], None]
"""Takes an event, a key's id, who did it, and what is known of the key, inside the transaction."""


@dataclass(frozen=True, slots=True)
class Key:
    """Times are Unix seconds; `expires` None: never, `revoked` None: not."""

    id: str
    name: str
    roles: tuple[str, ...]
    tools: tuple[str, ...]
    created: int
    expires: int | None
    revoked: int | None


class Keys:
    """A key is 256 random bits, so one round of SHA-256 is enough to store it. Each change goes to
    `record` with all that is known of the key but its text."""

    def __init__(self, database: Database, record: Record) -> None:
        self._database, self._record = database, record

    def create(
        self,
        name: str,
        roles: tuple[str, ...],
        tools: tuple[str, ...] = ("*",),
        seconds: int | None = None,
        *,
        by: Principal,
    ) -> tuple[Key, str]:
        """The key's record and its text, which nobody can show again."""
        text = PREFIX + secrets.token_urlsafe(32)
        now = int(time.time())
        key = Key(new_id(), name, roles, tools, now, now + seconds if seconds else None, None)
        values = (key.id, name, _hash(text), " ".join(roles), " ".join(tools), now, key.expires)

        def insert(connection: sqlite3.Connection) -> None:
            try:
                connection.execute("INSERT INTO api_key VALUES (?,?,?,?,?,?,?,NULL)", values)
            except sqlite3.IntegrityError:
                raise Conflict(f"a key named {name!r} exists", "choose another name") from None
            self._record("key.created", key.id, by, _told(key))

        self._database.write_now(insert)
        return key, text

    def renew(
        self, name: str, roles: tuple[str, ...], tools: tuple[str, ...] = ("*",), *, by: Principal
    ) -> tuple[Key, str]:
        """A new text, which never expires, for a key that is not revoked; the old one is refused
        from now on. Who holds it stays the same principal. NotFound: there is none, or it is
        revoked, which is for ever."""
        text = PREFIX + secrets.token_urlsafe(32)

        def change(connection: sqlite3.Connection) -> None:
            query = (
                "UPDATE api_key SET hash=?, roles=?, tools=?, expires=NULL "
                "WHERE name=? AND revoked IS NULL"
            )
            values = (_hash(text), " ".join(roles), " ".join(tools), name)
            if connection.execute(query, values).rowcount == 0:
                raise NotFound(f"no live key {name!r}", "pilotage keys list")
            cursor = connection.cursor()
            cursor.row_factory = sqlite3.Row
            row = cursor.execute("SELECT * FROM api_key WHERE name=?", (name,)).fetchone()
            self._record("key.renewed", row["id"], by, _told(_key(row)))

        self._database.write_now(change)
        key = self.named(name)
        assert key is not None
        return key, text

    def list(self) -> list[Key]:
        return [
            _key(row) for row in self._database.read("SELECT * FROM api_key ORDER BY created, id")
        ]

    def named(self, name: str) -> Key | None:
        """The key of that name, whatever its state."""
        rows = self._database.read("SELECT * FROM api_key WHERE name=?", name)
        return _key(rows[0]) if rows else None

    def revoke(self, name_or_id: str, *, by: Principal) -> None:
        """From now on the key is refused; by a server that knows it, at most 1 s later."""

        def mark(connection: sqlite3.Connection) -> None:
            query = "SELECT * FROM api_key WHERE (name=? OR id=?) AND revoked IS NULL"
            cursor = connection.cursor()
            cursor.row_factory = sqlite3.Row
            found = [_key(row) for row in cursor.execute(query, (name_or_id, name_or_id))]
            if not found:
                raise NotFound(f"no live key {name_or_id!r}", "pilotage keys list")
            for key in found:
                values = (int(time.time()), key.id)
                connection.execute("UPDATE api_key SET revoked=? WHERE id=?", values)
                self._record("key.revoked", key.id, by, _told(key))

        self._database.write_now(mark)

    def principal(self, text: str) -> Principal:
        """Who holds this key, by a look into the database."""
        rows = self._database.read("SELECT * FROM api_key WHERE hash=?", _hash(text))
        if not rows:
            raise Unauthenticated("the API key is not known", "pilotage keys create")
        key = _key(rows[0])
        if key.revoked is not None:
            raise Unauthenticated(f"the API key {key.name} is revoked", "pilotage keys create")
        if key.expires is not None and time.time() >= key.expires:
            raise Unauthenticated(f"the API key {key.name} has expired", "pilotage keys create")
        return Principal(f"key:{key.name}", frozenset(key.roles), key.tools)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _told(key: Key) -> dict[str, Any]:
    """What the audit says of a key; `expires` in Unix seconds."""
    return {"name": key.name, "roles": key.roles, "tools": key.tools, "expires": key.expires}


def _key(row: sqlite3.Row) -> Key:
    return Key(
        row["id"],
        row["name"],
        tuple(row["roles"].split()),
        tuple(row["tools"].split()),
        row["created"],
        row["expires"],
        row["revoked"],
    )
