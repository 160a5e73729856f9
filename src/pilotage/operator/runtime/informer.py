"""A cache of one kind that follows the API server: list in pages, then watch, as long as it runs.

It misses nothing: a watch goes on from the last version seen; where that is too old (410), all is
listed again and compared, so that what was deleted meanwhile is told as deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pilotage.domain.errors import PilotageError
from pilotage.kubernetes.client import PAGE, Client
from pilotage.kubernetes.errors import Forbidden, Gone, NotFound, TooManyRequests, Unauthorized
from pilotage.kubernetes.kind import Kind, Object, key_of
from pilotage.operator.runtime.backoff import Reconnect
from pilotage.operator.runtime.store import Index, Store

WATCH_SECONDS = (300, 600)
"""How long one watch is asked for: spread, so that not all end at the same moment."""
PAGE_BYTES = 8 << 20
"""An answer takes several times as much while it is read."""
SHORT_SECONDS = 1.0
"""A watch that ends sooner did not work, whatever it says."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """`old` is None for what is new, `new` for what is gone. `initial`: told by the first list."""

    key: str
    old: Object | None
    new: Object | None
    initial: bool = False

    @property
    def object(self) -> Object:
        """What is there, or was."""
        found = self.new if self.new is not None else self.old
        assert found is not None
        return found


Handler = Callable[[Change], None]


class _Scope:
    """One namespace (None: all), with a list and a watch of its own."""

    def __init__(self, namespace: str | None) -> None:
        self.namespace = namespace
        self.version = ""
        self.synced = False
        self.keys: set[str] = set()
        self.wrong: PilotageError | None = None
        self.since = 0.0
        """Since when it is wrong, by the monotonic clock."""

    @property
    def where(self) -> str:
        return self.namespace or "all namespaces"


class Informer:
    """`namespaces`: none means all, for which the account needs a ClusterRole. Handlers are called
    in order, in the event loop, and must not wait; the store already shows what they are told."""

    def __init__(
        self,
        client: Client,
        kind: Kind,
        *,
        namespaces: Sequence[str] = (),
        labels: str = "",
        fields: str = "",
        indexes: Mapping[str, Index] | None = None,
        page: int = PAGE,
    ) -> None:
        self.kind, self.store = kind, Store(indexes)
        self.synced = asyncio.Event()
        self.lists = 0
        """How often all was listed: more than once a scope says that watches were too old."""
        self._client, self._labels, self._fields, self._page = client, labels, fields, page
        wanted = namespaces if kind.namespaced and namespaces else (None,)
        self._scopes = [_Scope(each) for each in wanted]
        self._handlers: list[Handler] = []

    @property
    def wrong(self) -> PilotageError | None:
        """Why it does not follow the server at this moment; None: it does."""
        return next((one.wrong for one in self._scopes if one.wrong is not None), None)

    def stale(self, seconds: float) -> str:
        """Why what it shows may be no more so: it has not followed the server for so long; "": it
        has."""
        now = time.monotonic()
        for one in self._scopes:
            if one.wrong is not None and now - one.since > seconds:
                return f"{self.kind} in {one.where} ({one.wrong})"
        return ""

    def on_change(self, handler: Handler) -> None:
        """From now on; what is in the store already is told at once, as initial."""
        self._handlers.append(handler)
        for object in self.store.objects():
            handler(Change(key_of(object), None, object, initial=True))

    async def run(self) -> None:
        """Follow the server until cancelled."""
        async with asyncio.TaskGroup() as group:
            for scope in self._scopes:
                group.create_task(self._follow(scope), name=f"informer {self.kind}")

    async def _follow(self, scope: _Scope) -> None:
        reconnect = Reconnect()
        while True:
            began, seen = time.monotonic(), scope.version
            try:
                if not scope.version:
                    await self._list(scope)
                    began, seen = time.monotonic(), scope.version
                await self._watch(scope)
            except Gone:
                _log.info("%s: the watch is too old, all is listed again", self.kind)
                scope.version = ""
            except PilotageError as error:
                self._ill(scope, error)
            if time.monotonic() - began > SHORT_SECONDS or scope.version not in ("", seen):
                reconnect.reset()
            if scope.wrong is not None or scope.version in ("", seen):
                await asyncio.sleep(reconnect.next())

    async def _list(self, scope: _Scope) -> None:
        """All pages into the store; what none of them names any more is gone. A token of pages that
        has expired is Gone, and begins anew."""
        seen: set[str] = set()
        version = ""
        self.lists += 1
        async for page in self._client.pages(
            self.kind,
            scope.namespace,
            labels=self._labels,
            fields=self._fields,
            limit=self._page,
            most=PAGE_BYTES,
        ):
            for object in page.items:
                seen.add(key_of(object))
                self._put(scope, object)
            version = page.resource_version
            await asyncio.sleep(0)  # a long list must not hold up the lease
        for key in scope.keys - seen:
            self._drop(scope, key)
        scope.version, scope.synced = version, True
        if all(each.synced for each in self._scopes):
            self.synced.set()

    async def _watch(self, scope: _Scope) -> None:
        events = self._client.watch(
            self.kind,
            scope.namespace,
            resource_version=scope.version,
            labels=self._labels,
            fields=self._fields,
            seconds=random.randint(*WATCH_SECONDS),
            opened=lambda: self._well(scope),
        )
        async with contextlib.aclosing(events):
            async for event in events:
                version = event.resource_version
                if event.type == "DELETED":
                    self._drop(scope, key_of(event.object), event.object)
                elif event.type != "BOOKMARK":
                    self._put(scope, event.object)
                scope.version = version

    def _put(self, scope: _Scope, object: Object) -> None:
        key = key_of(object)
        scope.keys.add(key)
        old, new = self.store.put(object)
        if new:
            self._tell(Change(key, old, object, initial=not scope.synced))

    def _drop(self, scope: _Scope, key: str, last: Object | None = None) -> None:
        """`last` is how it was when it ended, if somebody saw that."""
        scope.keys.discard(key)
        old = self.store.drop(key)
        if old is not None:
            self._tell(Change(key, last or old, None))

    def _tell(self, change: Change) -> None:
        for handler in self._handlers:
            try:
                handler(change)
            except Exception:  # one that fails must not keep the others from hearing
                _log.exception("%s %s: a handler failed", self.kind, change.key)

    def _well(self, scope: _Scope) -> None:
        if scope.wrong is not None:
            _log.info("%s in %s: followed again", self.kind, scope.where)
        scope.wrong = None

    def _ill(self, scope: _Scope, error: PilotageError) -> None:
        if isinstance(error, Forbidden | NotFound | Unauthorized):
            level = logging.ERROR  # somebody must mend this
        else:
            level = logging.INFO if isinstance(error, TooManyRequests) else logging.WARNING
        if scope.wrong is None or type(scope.wrong) is not type(error):
            _log.log(level, "%s in %s: %s", self.kind, scope.where, error)
        if scope.wrong is None:
            scope.since = time.monotonic()
        scope.wrong = error
