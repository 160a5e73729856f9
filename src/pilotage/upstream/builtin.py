"""One of the house's own tools under another name, and for an owner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from pilotage.domain.errors import BadInput, Conflict
from pilotage.domain.registration import Registration
from pilotage.domain.text import did_you_mean
from pilotage.tool.tool import Tool
from pilotage.upstream.binder import Slot


class Alias(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """The definition: which tool. `timeout` in seconds can only shorten that of the tool."""

    tool: str
    summary: str = ""
    timeout: float | None = None


class Builtins:
    """The binder of the kind builtin. `find` gives a tool of the house by name, None: none; `names`
    are those that there are."""

    declared = True

    def __init__(
        self, find: Callable[[str], Tool | None], names: Callable[[], Sequence[str]]
    ) -> None:
        self._find, self._names = find, names

    def check(self, name: str, definition: Mapping[str, Any]) -> Mapping[str, Any]:
        given, _ = self._tool(name, definition)
        if given.tool != name and self._find(name) is not None:
            what = f"{name} is the name of another tool of pilotage's own than {given.tool}"
            raise Conflict(what, "choose another name")
        kept: dict[str, Any] = msgspec.to_builtins(given)
        return kept

    def unpinned(self, definition: Mapping[str, Any]) -> str:
        return ""

    def bind(self, one: Registration, slot: Slot) -> Sequence[Tool]:
        given, tool = self._tool(one.name, one.definition)
        summary = given.summary or tool.summary
        timeout = min(tool.timeout, given.timeout or tool.timeout)
        named = replace(tool, name=one.name, summary=summary, timeout=timeout, owner=one.holder)
        return (replace(named, open=False, target=f"builtin {given.tool}", behind=given.tool),)

    def unbind(self, one: Registration) -> None:
        """It holds nothing."""

    def _tool(self, name: str, definition: Mapping[str, Any]) -> tuple[Alias, Tool]:
        try:
            given = msgspec.convert(definition, Alias)
        except msgspec.ValidationError as error:
            raise BadInput(f"{name}: {error}", '{"tool": "security_scanner"}') from None
        if given.timeout is not None and given.timeout < 0.1:
            raise BadInput(f"{name}: timeout is {given.timeout:g} s", "0.1 at least")
        tool = self._find(given.tool)
        if tool is None or tool.owner:
            asked, names = given.tool[:100], self._names()
            hint = did_you_mean(asked, names) or f"there are {', '.join(names)}"
            raise BadInput(f"{name}: there is no built-in tool {asked!r}", hint)
        return given, tool
