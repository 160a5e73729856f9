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

    Of a registered one, `tool_id`, `etag`, `owner`, `kind` and `enabled` say more; `definition` is
    for those who may register tools.
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
    tool_id: str | None = None
    etag: str | None = None
    tools: tuple[str, ...] = ()
    definition: Mapping[str, Any] | None = None


class Shown:
    """Tools and registrations as one: what there is to see of them for who asks."""

    def __init__(
        self, registry: Registry, registrations: Registrations, policy: Callable[[], Policy]
    ) -> None:
        self._registry, self._registrations, self._policy = registry, registrations, policy

    def all(self, by: Principal, owner: str | None = None) -> list[ToolView]:
        """By name; of one owner, or of owners below it."""
        everything = self._policy().may(by, "tools:write")
        views = []
        known = {one.name for one in self._registrations.list()}
        for name in sorted(known | self._registry.all.keys()):
            entry = self._registry.all.get(name)
            if entry is None and not everything:
                continue
            if entry is not None and not everything and not _callable(entry):
                continue
            view = self._view(name, by, everything)
            if owner is None or owned_by(view.owner, owner):
                views.append(view)
        return views

    def one(self, name: str, by: Principal) -> ToolView:
        """Raises NotFound, or why it cannot be called for whom that hides it."""
        everything = self._policy().may(by, "tools:write")
        entry = self._registry.all.get(name)
        if entry is None and not (everything and self._registered(name)):
            raise NotFound(
                f"there is no tool {name[:100]!r}", "pilotage tools list, GET /api/v2/tools"
            )
        if entry is not None and not everything and not _callable(entry):
            raise entry.refusal()
        return self._view(name, by, everything)

    def _registered(self, name: str) -> Registration | None:
        try:
            return self._registrations.get(name)
        except NotFound:
            return None

    def _view(self, name: str, by: Principal, everything: bool) -> ToolView:
        more: dict[str, Any] = {}
        entry, one = self._registry.all.get(name), self._registered(name)
        if entry is not None:
            more = self._tool(entry, by)
        if one is not None:
            state, why, tools = self._registrations.stands(name)
            more |= {
                "state": state,
                "why": why,
                "owner": one.owner,
                "kind": one.kind,
                "enabled": one.enabled,
                "tool_id": one.tool_id,
                "etag": one.etag,
                "tools": tuple(tools),
                "definition": one.definition if everything else None,
            }
        return ToolView(name, **more)

    def _tool(self, entry: Entry, by: Principal) -> dict[str, Any]:
        tool = entry.tool
        source = self._registrations.source(tool.name) if tool.owner else None
        return {
            "state": entry.state,
            "why": entry.why,
            "summary": tool.summary,
            "description": tool.description,
            "effect": tool.effect.value,
            "may": self._policy().decide(by, tool.name, tool.effect).answer,
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
