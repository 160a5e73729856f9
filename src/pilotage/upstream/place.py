"""The place in the registry of one registration's tools."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pilotage.domain.errors import Conflict, PilotageError
from pilotage.domain.registration import Registration
from pilotage.tool.pin import Pins
from pilotage.tool.registry import Registry, State
from pilotage.tool.tool import Tool
from pilotage.upstream.binder import Binder

logger = logging.getLogger(__name__)


class Place:
    """The slot of a registration (see binder.py). One that was unbound, since its registration was
    changed or removed, does nothing any more."""

    def __init__(
        self,
        registry: Registry,
        pins: Pins,
        binder: Binder | None,
        one: Registration,
        taken: Callable[[str, str], bool],
    ) -> None:
        self.one = one
        self.names: tuple[str, ...] = ()
        self.failure = ""
        self._registry, self._pins, self._binder, self._taken = registry, pins, binder, taken
        self._bound = False
        self._state: tuple[State, str] = (State.READY, "")

    def taken(self, name: str) -> bool:
        return self._taken(name, self.one.name)

    async def replace(self, tools: Sequence[Tool]) -> None:
        if not self._bound and not self.failure:
            return
        self.check(tools)
        await self._pins.judge(self.one.holder, self.one.name, tools)
        if self._bound or self.failure:
            self.put(tools)

    def check(self, tools: Sequence[Tool]) -> None:
        """Raises Conflict where one has a name that is taken."""
        for tool in tools:
            if self.taken(tool.name):
                raise Conflict(f"{self.one.name}: the name {tool.name!r} is another's", "rename it")

    def mark(self, state: State, why: str = "") -> None:
        if self._bound:
            self._state = (state, why)
            self.show()

    def bind(self) -> Sequence[Tool]:
        """Its tools; none, and `failure`, where it cannot be bound."""
        if self._binder is None:
            self.failure = f"there is no kind {self.one.kind!r} of tools here"
            return ()
        try:
            self._bound = True
            return self._binder.bind(self.one, self)
        except PilotageError as error:
            self._bound = False
            self.fail(error)
            return ()

    def fail(self, error: PilotageError) -> None:
        """It cannot be offered as it is: it has no tools, and says why."""
        logger.error("%s cannot be offered: %s", self.one.name, error)
        self.unbind()
        self.clear()
        self.failure = error.what

    def put(self, tools: Sequence[Tool]) -> None:
        """These are its tools; those of before that are not among them are gone."""
        state, why = self._wanted()
        gone = [name for name in self.names if name not in {tool.name for tool in tools}]
        for tool in tools:
            self._registry.put(tool, state, why)
        self.names = tuple(tool.name for tool in tools)
        if gone:
            self._registry.remove(*(name for name in gone if name in self._registry.all))

    def show(self) -> None:
        """Give its tools the state that they should have."""
        self._registry.mark(dict.fromkeys(self.names, self._wanted()))

    def unbind(self) -> None:
        if self._bound and self._binder is not None:
            self._binder.unbind(self.one)
        self._bound = False

    def clear(self) -> None:
        """Take its tools out of the registry."""
        self._registry.remove(*(name for name in self.names if name in self._registry.all))
        self.names = ()

    def stands(self) -> tuple[State, str, list[str]]:
        state, why = self._wanted()
        entry = self._registry.all.get(self.one.name)
        if entry is not None and self.one.name in self.names:
            state, why = entry.state, entry.why
        return state, why, sorted(self.names)

    def _wanted(self) -> tuple[State, str]:
        if not self.one.enabled:
            return State.DISABLED, "it was disabled"
        if self.failure:
            return State.UNAVAILABLE, self.failure
        return self._state
