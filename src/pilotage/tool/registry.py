"""The tools that can be called now: an immutable snapshot that is swapped, never locked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pilotage.domain.errors import Conflict, NotFound
from pilotage.tool.schema import Arguments
from pilotage.tool.tool import Tool


@dataclass(frozen=True, slots=True)
class Entry:
    """A tool with its compiled input schema."""

    tool: Tool
    arguments: Arguments


class Registry:
    """Tools come and go while running; who listens is told after each change."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._entries: Mapping[str, Entry] = MappingProxyType({})
        self._listeners: list[Callable[[], None]] = []
        for tool in tools:
            self.add(tool)

    def find(self, name: str) -> Entry:
        """One dictionary look-up."""
        try:
            return self._entries[name]
        except KeyError:
            hint = "pilotage tools list, GET /api/v2/tools"
            raise NotFound(f"there is no tool {name!r}", hint) from None

    def tools(self) -> list[Tool]:
        """All tools, by name."""
        return [self._entries[name].tool for name in sorted(self._entries)]

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The snapshot of now."""
        return self._entries

    def add(self, tool: Tool) -> None:
        """A name that is taken is refused: a tool never shadows another."""
        if tool.name in self._entries:
            raise Conflict(f"a tool named {tool.name!r} exists already", "choose another name")
        entry = Entry(tool, Arguments(tool.name, tool.input_schema, open=tool.open))
        self._swap({**self._entries, tool.name: entry})

    def remove(self, name: str) -> None:
        self.find(name)
        self._swap({k: v for k, v in self._entries.items() if k != name})

    def listen(self, listener: Callable[[], None]) -> None:
        """`listener` is called after each change."""
        self._listeners.append(listener)

    def _swap(self, entries: dict[str, Entry]) -> None:
        self._entries = MappingProxyType(entries)
        for listener in self._listeners:
            listener()
