"""Who may come in: the address that was called, the page that calls, the key that is shown."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable

from pilotage.audit.log import AuditLog
from pilotage.domain.call import Principal
from pilotage.domain.errors import Busy, Denied, Unauthenticated
from pilotage.domain.ids import new_id
from pilotage.server.http import Head, Refused
from pilotage.store.keys import Keys

LOOPBACK = ("localhost", "127.0.0.1", "::1")
REMEMBERED = 1_000
REMEMBER_SECONDS = 1.0
FLOOD, FLOOD_SECONDS = 100, 10.0
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")
_ORIGIN = re.compile(r"https?://(.+)")


class Access:
    """`names` are the host names (no port) under which this server may be addressed: with any
    other, a page in somebody's browser could reach it by DNS rebinding. `local` is who comes
    without a key; None: nobody does."""

    def __init__(
        self, keys: Keys, audit: AuditLog, names: Iterable[str], local: Principal | None = None
    ) -> None:
        self._keys, self._audit, self._local = keys, audit, local
        self._names = frozenset(name.strip("[]").lower() for name in names)
        self._good: set[bytes] = set()
        self._known: dict[bytes, tuple[float, Principal]] = {}
        self._flood_ends, self._turned_away = 0.0, 0
        self._uncounted: Counter[str] = Counter()

    def check_address(self, head: Head) -> None:
        """Host must be one of ours, and Origin, which browsers send, as well."""
        host = head.get(b"host", b"")
        if host not in self._good:
            if not self._ours(host):
                raise Refused(421, "this server does not answer to that Host", "serve --name NAME")
            if len(self._good) < REMEMBERED:
                self._good.add(host)
        origin = head.get(b"origin")
        if origin is not None:
            found = _ORIGIN.fullmatch(origin.decode("latin-1").lower())
            if found is None or not self._ours(found[1].encode("latin-1")):
                raise Denied("pages of that Origin may not call this server", "serve --name NAME")

    def _ours(self, host: bytes) -> bool:
        found = _HOST.fullmatch(host.decode("latin-1").lower())
        return found is not None and found[1].strip("[]") in self._names

    def principal(self, head: Head) -> Principal:
        """Who holds the key in `Authorization: Bearer`. Remembered for a second, so that a
        revocation counts."""
        given = head.get(b"authorization")
        if given is None:
            if self._local is not None:
                return self._local
            raise Unauthenticated("there is no API key", "send Authorization: Bearer <key>")
        now = time.monotonic()
        known = self._known.get(given)
        if known is not None and now < known[0]:
            return known[1]
        scheme, _, text = given.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthenticated("that is no API key", "send Authorization: Bearer <key>")
        by = self._keys.principal(text.strip().decode("latin-1"))
        if known is not None and known[1] == by:
            by = known[1]  # the same object: others remember what they know of it by its identity
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[given] = (now + REMEMBER_SECONDS, by)
        return by

    def refuse(self, tool: str, principal: str, via: str, why: str) -> None:
        """Remember who was turned away before a call was made of it. Of a flood, the first FLOOD
        in FLOOD_SECONDS have a row each and the others one that counts them: whoever has no key
        must not fill the disk."""
        now = time.monotonic()
        if now >= self._flood_ends:
            self._flood_ends, self._turned_away = now + FLOOD_SECONDS, 0
        self._turned_away += 1
        if self._turned_away <= FLOOD:
            self._audit.refuse(new_id(), tool[:200], principal, via, why)
            return
        if not self._uncounted:
            asyncio.get_running_loop().call_later(FLOOD_SECONDS, self.settle)
        self._uncounted[via] += 1

    def settle(self) -> None:
        """Put on record how many more were turned away."""
        while self._uncounted:
            via, count = self._uncounted.popitem()
            try:
                why = f"{count} more without a good key were turned away"
                self._audit.refuse(new_id(), "", "unknown", via, why)
            except Busy:
                self._uncounted[via] = count
                return
