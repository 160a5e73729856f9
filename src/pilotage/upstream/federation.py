"""All upstream MCP servers of this process, and what they offer, as one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Protocol

from pilotage.domain.call import Principal
from pilotage.domain.errors import BadInput, Conflict
from pilotage.domain.registration import Registration
from pilotage.store.database import Database
from pilotage.tool.pin import Pins
from pilotage.tool.registry import Registry, State
from pilotage.tool.tool import Tool
from pilotage.upstream import federated
from pilotage.upstream.binder import Slot
from pilotage.upstream.catalogue import Taken, made_of, take_in
from pilotage.upstream.changes import News
from pilotage.upstream.connection import Connection, Ways
from pilotage.upstream.egress import Egress
from pilotage.upstream.place import Place
from pilotage.upstream.server import Upstream, declared

logger = logging.getLogger(__name__)
TURN_SECONDS = 2.0
SETTINGS = "settings"
"""The owner of what the settings file names."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an upstream stands: `state` ready, unavailable or waiting (not reached yet), and why.
    `refused` are its tools that were not taken in, with why."""

    name: str
    owner: str
    state: str
    why: str
    version: str
    tools: Sequence[str]
    refused: Sequence[tuple[str, str]]


class Hearer(Protocol):
    """Takes news of a server's lists and resources."""

    def __call__(self, connection: Connection | None, news: News, /) -> None: ...


class Federation:
    """Servers come and go while running. Made anywhere; `start` and `stop` in the event loop."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._members: dict[str, _Member] = {}
        self._hearers: list[Hearer] = []
        self._joined: list[Callable[[Upstream], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._taking_in = asyncio.Lock()

    def join(self, upstream: Upstream, slot: Slot) -> None:
        """Take a server in. Its tools come into `slot` as soon as it was reached."""
        self.leave(upstream.name)
        for hearer in self._joined:
            hearer(upstream)
        member = self._members[upstream.name] = _Member(self, upstream, slot, self._ways)
        if self._loop is not None:
            member.start()

    def leave(self, name: str) -> None:
        """Let a server go; calls that run may end as they can."""
        member = self._members.pop(name, None)
        if member is not None and member.task is not None:
            member.task.cancel()
            self._ending.add(member.task)
            member.task.add_done_callback(self._ending.discard)

    def welcome(self, hearer: Callable[[Upstream], None]) -> None:
        """`hearer` is called for each server that is there, and for each that joins."""
        for member in self._members.values():
            hearer(member.connection.upstream)
        self._joined.append(hearer)

    def hear(self, hearer: Hearer) -> None:
        """`hearer` is called in the event loop after each change at a server."""
        self._hearers.append(hearer)

    def told(self, connection: Connection | None, news: News) -> None:
        """Hand on news of a server, or of nobody in particular."""
        for hearer in self._hearers:
            hearer(connection, news)

    async def start(self, patience: float = 0.0) -> None:
        """Connect to all; wait until each was tried once, at most so many seconds."""
        self._loop = asyncio.get_running_loop()
        for member in self._members.values():
            member.start()
        if patience and self._members:
            tried = [asyncio.ensure_future(one.tried.wait()) for one in self._members.values()]
            _, late = await asyncio.wait(tried, timeout=patience)
            for one in late:
                one.cancel()

    @contextlib.asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Take in one server at a time, and at the start those that joined first before the others,
        so that the same one has a name that two want, whichever answers first."""
        earlier = itertools.takewhile(lambda one: one != name, self._members)
        waits = [self._members[one].tried.wait() for one in earlier]
        if waits:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_SECONDS):
                    await asyncio.gather(*waits)
        async with self._taking_in:
            yield

    async def stop(self) -> None:
        """Let all go, and wait until they have."""
        self._loop = None
        tasks = [m.task for m in self._members.values() if m.task is not None]
        for task in tasks:
            task.cancel()
        for task in (*tasks, *self._ending):
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for member in self._members.values():
            member.task = None

    @property
    def connections(self) -> list[Connection]:
        """By the order in which they joined."""
        return [member.connection for member in self._members.values()]

    def standings(self) -> list[Standing]:
        """How each stands, by name."""
        return [member.standing() for _, member in sorted(self._members.items())]


class _Member:
    """One server's connection, and its place in the registry."""

    def __init__(self, federation: Federation, upstream: Upstream, slot: Slot, ways: Ways) -> None:
        self._slot, self._federation = slot, federation
        self.task: asyncio.Task[None] | None = None
        self.tried = asyncio.Event()
        self.taken = Taken()
        self.connection = Connection(upstream, ways, self._up, self._down, federation.told)

    def start(self) -> None:
        if self.task is None:
            # Without the request and the trace of whoever registers it, which end before it does.
            self.task = asyncio.create_task(self.connection.run(), context=Context())

    async def _up(self, connection: Connection) -> None:
        """It was reached, or has changed: take its tools in."""
        if "tools" in connection.upstream.offers:
            listed = await connection.listed("tools/list", "tools")
            async with self._federation.turn(connection.upstream.name):
                await self._take_in(connection, listed)
        await connection.read_lists()
        self._slot.mark(State.READY)
        self.tried.set()

    async def _take_in(self, connection: Connection, listed: Sequence[Mapping[str, Any]]) -> None:
        connection.offered = frozenset(map(made_of, listed))
        taken = take_in(
            connection.upstream,
            listed,
            self._slot.taken,
            lambda found: federated.runner(connection, found),
            connection.asks,
        )
        taken = Taken(_kept(taken.tools, self.taken.tools), taken.refused)
        for name, why in taken.refused:
            logger.warning("%s: its tool %r is refused: %s", connection.who, name, why)
        if taken.tools != self.taken.tools:
            await self._slot.replace(taken.tools)
        self.taken = taken

    def _down(self, _: Connection, why: str) -> None:
        self._slot.mark(State.UNAVAILABLE, why)
        self.tried.set()

    def standing(self) -> Standing:
        upstream, offer, why = (
            self.connection.upstream,
            self.connection.offer,
            self.connection.breaker.why,
        )
        state = "unavailable" if why else "ready" if offer is not None else "waiting"
        return Standing(
            upstream.name,
            upstream.owner,
            state,
            why,
            "" if offer is None else offer.version,
            [tool.name for tool in self.taken.tools],
            self.taken.refused,
        )


def _kept(new: Sequence[Tool], old: Sequence[Tool]) -> list[Tool]:
    """The new list, with the old object where nothing changed, so that nothing is put anew."""
    before = {tool.name: tool for tool in old}
    return [_same(tool, before.get(tool.name)) for tool in new]


def _same(new: Tool, old: Tool | None) -> Tool:
    if old is None or old.wire is None or new.wire is None:
        return new
    if made_of(old.wire) == made_of(new.wire) and old.effect is new.effect:
        return old if old.asks is new.asks else new
    return new


class Mcp:
    """The binder of registrations of the kind "mcp": see Binder. `given` are the upstreams of the
    settings file, whose names are not for others."""

    declared = False

    def __init__(
        self, federation: Federation, egress: Egress, given: Mapping[str, Upstream]
    ) -> None:
        self._federation, self._egress, self._given = federation, egress, given

    def check(self, name: str, definition: Mapping[str, Any]) -> Mapping[str, Any]:
        """A definition that can be used. Only the settings file may name a program."""
        if name in self._given:
            raise Conflict(f"the settings file has an upstream {name}", "choose another name")
        upstream = declared(name, definition, owner="-")
        self._egress.check_url(upstream.url)
        return dict(definition)

    def unpinned(self, definition: Mapping[str, Any]) -> str:
        """Prompts and resources are what the server says at any time."""
        return " and ".join(one for one in definition.get("offers", ()) if one != "tools")

    def bind(self, one: Registration, slot: Slot) -> Sequence[Tool]:
        """Its tools come when it was reached."""
        if one.enabled:
            upstream = self._given.get(one.name)
            if upstream is None or one.owner != SETTINGS:
                upstream = declared(one.name, one.definition, owner=one.holder)
            self._federation.join(upstream, slot)
        return ()

    def unbind(self, one: Registration) -> None:
        self._federation.leave(one.name)


def settle(
    given: Mapping[str, Upstream], mcp: Mcp, registry: Registry, pins: Pins, database: Database
) -> None:
    """Give each upstream of the settings file its place in the registry. Who wrote the file has
    approved the first list of its tools."""
    places: dict[str, Place] = {}

    def taken(tool: str, name: str) -> bool:
        return tool in registry.all and tool not in places[name].names

    for name in given:
        one = Registration(f"settings:{name}", name, SETTINGS, SETTINGS, "mcp", {}, True, 0, 0)
        by = Principal(SETTINGS, frozenset())
        database.write_now(pins.registration(SETTINGS, name, by, approves=True))
        places[name] = Place(registry, pins, mcp, one, taken)
        places[name].bind()


def of_settings(value: Any) -> dict[str, Upstream]:
    """The setting `upstreams`: a mapping of names to what is said of each. Raises BadInput."""
    if not isinstance(value, Mapping):
        raise BadInput("upstreams is no mapping", "upstreams: {NAME: {url: https://host/mcp}}")
    return {
        str(name): declared(str(name), said, owner=SETTINGS, administrator=True)
        for name, said in value.items()
    }
