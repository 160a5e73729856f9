"""The contract between registrations and the kinds of tools that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pilotage.domain.registration import Registration
from pilotage.tool.registry import State
from pilotage.tool.tool import Tool


class Slot(Protocol):
    """The place in the registry of one registration's tools. Use it in the event loop."""

    def taken(self, name: str) -> bool:
        """Is that name another's? A tool never shadows one."""
        ...

    async def replace(self, tools: Sequence[Tool]) -> None:
        """From now on these are all its tools, each with the registration's holder as its owner.
        Raises Conflict, and changes nothing, where one has a name that is taken."""
        ...

    def mark(self, state: State, why: str = "") -> None:
        """Ready, or unavailable and why: all its tools at once."""
        ...


class Binder(Protocol):
    """Makes tools of the registrations of one kind."""

    declared: bool
    """Does the definition say everything about the tools? Then who may approve tools approves
    these by registering them; else only the first list of them."""

    def check(self, name: str, definition: Mapping[str, Any]) -> Mapping[str, Any]:
        """The definition as it is kept: whole, without secrets. Raises BadInput or Denied for one
        that cannot be used; reaches nothing."""
        ...

    def unpinned(self, definition: Mapping[str, Any]) -> str:
        """What of this is shown to callers though no pin holds it back, in words; "": nothing."""
        ...

    def bind(self, one: Registration, slot: Slot) -> Sequence[Tool]:
        """The tools that it has now. Called at the start, before there is an event loop, and after
        each change; never twice without `unbind` between. It reaches nothing itself, and nothing at
        all for one that is not enabled."""
        ...

    def unbind(self, one: Registration) -> None:
        """Let go of what `bind` holds; calls that run may end."""
        ...
