"""Tools and registrations as one list, as they are shown over REST and at the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.call import Answer, Principal
from pilotage.domain.errors import NotFound
from pilotage.domain.registration import Registration
from pilotage.policy.policy import Policy
from pilotage.tool.registry import Entry, Registry, State
from pilotage.upstream.registrations import Registrations
from pilotage.upstream.wanted import owned_by


@dataclass(frozen=True, slots=True)
class ToolView:
    """A tool, or a source of tools (`tools` names them). `may` is what the policy says to who asks:
    allow, ask or deny. `state` is ready, disabled, quarantined or unavailable, `why` in a sentence.

    Of a registered one, `tool_id`, `etag`, `owner`, `kind`, `enabled` and `disabled_by` (whom)
    say more, `held` that this is not its own side, `quarantined` which of its tools wait for a
    person; `definition` is for those who may register tools.
    """

    name: str
    state: State
    why: str
    summary: str = ""
    description: str = ""
    effect: str | None = None
    may: Answer | None = None
    idempotent: bool = False
    timeout: float | None = None
    input_schema: Mapping[str, Any] | None = None
    output_schema: Mapping[str, Any] | None = None
    owner: str = ""
    source: str | None = None
    kind: str = "house"
    enabled: bool = True
    disabled_by: str | None = None
    held: bool = False
    tool_id: str | None = None
    etag: str | None = None
    tools: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()
    definition: Mapping[str, Any] | None = None


class Shown:
    """Tools and registrations as one: what there is to see of them for who asks."""

    def __init__(
        self, registry: Registry, registrations: Registrations, policy: Callable[[], Policy]
    ) -> None:
        self._registry, self._registrations, self._policy = registry, registrations, policy

    def all(self, by: Principal, owner: str | None = None) -> list[ToolView]:
        """By name; of one owner, or of owners below it."""
        everything, sources = self._policy().may(by, "tools:write"), self._registrations.sources()
        known = {one.name for one in self._registrations.list()}
        names = sorted(known | self._registry.all.keys())
        views = [view for name in names for view in self._views(name, by, everything, sources)]
        return [view for view in views if owner is None or owned_by(view.owner, owner)]

    def brief(self, by: Principal, owner: str | None = None) -> list[ToolView]:
        """How what is registered stands, for who may register tools: without what it is."""
        if not self._policy().may(by, "tools:write"):
            return []
        found = self._registrations.list(owner)
        return [ToolView(one.name, **self._registration(one, everything=False)) for one in found]

    def one(self, name: str, by: Principal) -> ToolView:
        """Raises NotFound, or why it cannot be called for whom that hides it."""
        everything = self._policy().may(by, "tools:write")
        views = self._views(name, by, everything, self._registrations.sources())
        if views:
            return views[0]
        if name in self._registry.all:
            raise self._registry.all[name].refusal()
        hint = "pilotage tools list, GET /api/v2/tools"
        raise NotFound(f"there is no tool {name[:100]!r}", hint)

    def _registered(self, name: str) -> Registration | None:
        try:
            return self._registrations.get(name)
        except NotFound:
            return None

    def _views(
        self, name: str, by: Principal, everything: bool, sources: Mapping[str, Registration]
    ) -> list[ToolView]:
        """The tool of that name, and the registration: as one where the tool is its, as two where
        it is the house's, which came later and kept the registration out."""
        entry, one = self._registry.all.get(name), self._registered(name)
        same = one is not None and name in self._registrations.stands(name)[2]
        tool = {} if entry is None else self._tool(entry, by, sources.get(name))
        registered = {} if one is None else self._registration(one, everything)
        views = []
        if entry is not None and (everything or _callable(entry)):
            views.append(ToolView(name, **(tool | registered if same else tool)))
        if one is not None and everything and not same:
            views.append(ToolView(name, **registered))
        return views

    def _registration(self, one: Registration, everything: bool) -> dict[str, Any]:
        state, why, tools = self._registrations.stands(one.name)
        if state is State.DISABLED and one.disabled_by:
            why = f"{why} by {one.disabled_by}"
        return {
            "state": state,
            "why": why,
            "owner": one.owner,
            "kind": one.kind,
            "enabled": one.enabled,
            "disabled_by": one.disabled_by or None,
            "held": not one.disabled_by_its_own,
            "tool_id": one.tool_id,
            "etag": one.etag,
            "tools": tuple(tools),
            "quarantined": tuple(name for name in tools if self._is_quarantined(name)),
            "definition": one.definition if everything else None,
        }

    def _is_quarantined(self, name: str) -> bool:
        entry = self._registry.all.get(name)
        return entry is not None and entry.state is State.QUARANTINED

    def _tool(self, entry: Entry, by: Principal, source: Registration | None) -> dict[str, Any]:
        tool = entry.tool
        source = source if tool.owner else None
        return {
            "state": entry.state,
            "why": entry.why,
            "summary": tool.summary or tool.description.split("\n", 1)[0][:200],
            "description": tool.description,
            "effect": tool.effect.value,
            "may": self._policy().decide(by, tool.name, tool.mildest, behind=tool.behind).answer,
            "idempotent": tool.idempotent,
            "timeout": tool.timeout,
            "input_schema": tool.input_schema,
            "output_schema": tool.output_schema,
            "owner": tool.owner,
            "kind": source.kind if source else "other" if tool.owner else "house",
            "source": source.name if source else None,
        }


def _callable(entry: Entry) -> bool:
    return entry.state in (State.READY, State.UNAVAILABLE)
