"""The tools that there are now: an immutable snapshot that is swapped, never locked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from pilotage.domain.errors import (
    Conflict,
    Denied,
    NotFound,
    PilotageError,
    Quarantined,
    Unavailable,
)
from pilotage.tool.schema import Arguments
from pilotage.tool.tool import Tool


class State(StrEnum):
    """Whether a tool can be called. Quarantined: it is not what was approved."""

    READY = "ready"
    DISABLED = "disabled"
    QUARANTINED = "quarantined"
    UNAVAILABLE = "unavailable"


Guard = Callable[[Tool], str]
"""Why a tool must not be called, "" where it may: see tool/pin.py."""


def _no_guard(_: Tool) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A tool with its compiled input schema. `why` says in a sentence why it is not ready.

    `wanted` is the state that was asked for, with its why; the guard's word goes above it.
    """

    tool: Tool
    arguments: Arguments
    state: State = State.READY
    why: str = ""
    wanted: tuple[State, str] = (State.READY, "")

    def refusal(self) -> PilotageError:
        """What a caller is told of a tool that is not ready."""
        name = self.tool.name
        if self.state is State.UNAVAILABLE:
            return Unavailable(f"{name} is unavailable: {self.why}", "try again later")
        if self.state is State.QUARANTINED:
            return Quarantined(f"{name} is quarantined: {self.why}", f"pilotage tools diff {name}")
        return Denied(f"{name} is disabled", f"pilotage tools enable {name}")


class Registry:
    """Tools come and go while running; who listens is told after each change. What `guard` has a
    word against is quarantined, whatever state is asked for."""

    def __init__(self, tools: Iterable[Tool] = (), guard: Guard = _no_guard) -> None:
        self._guard = guard
        self._all: Mapping[str, Entry] = MappingProxyType({})
        self._ready: Mapping[str, Entry] = MappingProxyType({})
        self._listeners: list[Callable[[], None]] = []
        for tool in tools:
            self.add(tool)

    def find(self, name: str) -> Entry:
        """A tool that can be called now: one dictionary look-up. Raises NotFound, or why it cannot
        be called."""
        try:
            return self._ready[name]
        except KeyError:
            if name in self._all:
                raise self._all[name].refusal() from None
            hint = "pilotage tools list, GET /api/v2/tools"
            raise NotFound(f"there is no tool {name!r}", hint) from None

    def tools(self) -> list[Tool]:
        """What callers are shown, by name: an unavailable tool comes back, so it stays."""
        shown = (State.READY, State.UNAVAILABLE)
        return [entry.tool for _, entry in sorted(self._all.items()) if entry.state in shown]

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The tools that can be called now."""
        return self._ready

    @property
    def all(self) -> Mapping[str, Entry]:
        """Every tool, whatever its state, as administrators see them."""
        return self._all

    def add(self, tool: Tool) -> None:
        """A name that is taken is refused: a tool never shadows another."""
        if tool.name in self._all:
            raise Conflict(f"a tool named {tool.name!r} exists already", "choose another name")
        self.put(tool)

    def put(self, tool: Tool, state: State = State.READY, why: str = "") -> None:
        """Add a tool, or replace its owner's earlier one. Another's name is refused."""
        old = self._all.get(tool.name)
        if old is not None and old.tool.owner != tool.owner:
            whose = f"owned by {old.tool.owner}" if old.tool.owner else "pilotage's own"
            raise Conflict(f"the tool {tool.name!r} is {whose}", "choose another name")
        foreign = bool(tool.owner)
        arguments = Arguments(tool.name, tool.input_schema, open=tool.open, foreign=foreign)
        entry = self._guarded(Entry(tool, arguments, wanted=(state, why)))
        self._swap({**self._all, tool.name: entry})

    def mark(self, states: Mapping[str, tuple[State, str]]) -> None:
        """Change the states of tools that are there, all at once."""
        changed = {
            name: self._guarded(replace(self._all[name], wanted=(state, why)))
            for name, (state, why) in states.items()
            if name in self._all
        }
        if any(self._all[name] != entry for name, entry in changed.items()):
            self._swap({**self._all, **changed})

    def recheck(self) -> None:
        """Ask the guard again, of every tool; each goes back to the state that was asked for."""
        ready = (State.READY, "")
        self.mark(
            {
                name: ready if entry.wanted[0] is State.QUARANTINED else entry.wanted
                for name, entry in self._all.items()
            }
        )

    def announce(self) -> None:
        """Tell who listens: the tools are the same, but what callers may see of them is not."""
        for listener in self._listeners:
            listener()

    def _guarded(self, entry: Entry) -> Entry:
        why = self._guard(entry.tool)
        state, why = (State.QUARANTINED, why) if why else entry.wanted
        return replace(entry, state=state, why=why)

    def remove(self, *names: str) -> None:
        for name in names:
            if name not in self._all:
                raise NotFound(
                    f"there is no tool {name!r}", "pilotage tools list, GET /api/v2/tools"
                )
        self._swap({k: v for k, v in self._all.items() if k not in names})

    def listen(self, listener: Callable[[], None]) -> None:
        """`listener` is called after each change."""
        self._listeners.append(listener)

    def _swap(self, entries: dict[str, Entry]) -> None:
        ready = {k: v for k, v in entries.items() if v.state is State.READY}
        self._all, self._ready = MappingProxyType(entries), MappingProxyType(ready)
        self.announce()
