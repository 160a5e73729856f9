"""The tools that others own: their pins, registrations, upstream servers, and the way out to them.

Made only where somebody asks for it (see App.others), since a local call most often needs none of
it and a start should not pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from pilotage.audit.log import AuditLog
from pilotage.config import Settings
from pilotage.domain.call import Principal
from pilotage.policy.policy import Policy
from pilotage.store.database import Database
from pilotage.tool.pin import Pins
from pilotage.tool.redact import Redactor
from pilotage.tool.registry import Registry
from pilotage.tool.tool import Tool
from pilotage.upstream.builtin import Builtins
from pilotage.upstream.connection import Ways
from pilotage.upstream.egress import Egress
from pilotage.upstream.federation import SETTINGS, Federation, Mcp, of_settings, settle
from pilotage.upstream.http_tool import HttpTools
from pilotage.upstream.offers import Offers
from pilotage.upstream.registrations import BUILTIN, Registrations
from pilotage.upstream.secrets import Secrets
from pilotage.upstream.session import Outgoing
from pilotage.upstream.shown import Shown


class Others:
    """One a process. Nothing of it is in the registry before `load`. `unoffered` are tools of the
    house that can be registered only."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        registry: Registry,
        policy: Policy,
        audit: AuditLog,
        redactor: Redactor,
        unoffered: Mapping[str, Tool],
    ) -> None:
        self._settings, self._database, self._registry = settings, database, registry
        self.pins = Pins(database, audit.note)
        self.secrets = Secrets(settings.home / "secrets.yaml", redactor)
        egress = Egress(settings.words("egress.allow"))
        self.outgoing = Outgoing(egress, authority=settings.authority)
        self.registrations = Registrations(
            database, registry, self.pins, policy.may, audit.note, unoffered
        )
        self.shown = Shown(registry, self.registrations, lambda: policy)
        self.federation = Federation(Ways(self.outgoing, self.secrets))
        self.offers = Offers(self.federation)
        self._given = of_settings(settings.upstreams)
        self._mcp = Mcp(self.federation, egress, self._given)
        house = partial(_house_tool, registry, unoffered)
        names = partial(_house_names, registry, unoffered)
        self.registrations.add(BUILTIN, Builtins(house, names))
        self.registrations.add("http", HttpTools(self.outgoing, self.secrets))
        self.registrations.add("mcp", self._mcp)

    def load(self) -> None:
        """At the start, once, when the tools of the house are there."""
        settle(self._given, self._mcp, self._registry, self.pins, self._database)
        self.registrations.load()

    def plug(self, name: str, tools: Sequence[Tool]) -> None:
        """Offer the tools of a plugin. Who wrote its name into the settings has approved its first
        ones; what a newer version of it says otherwise waits, as with any other source."""
        owner = f"plugin:{name}"
        owned = [replace(tool, owner=owner) for tool in tools]
        by = Principal(SETTINGS, frozenset())
        self._database.write_now(self.pins.registration(owner, name, by, approves=True))
        self.pins.judge_now(owner, name, owned)
        for tool in owned:
            self._registry.put(tool)

    async def refresh(self) -> None:
        """Take in what other processes have decided about tools."""
        if self.pins.refresh():
            self._registry.recheck()
        await self.registrations.refresh()

    async def close(self) -> None:
        """In the event loop that used it."""
        await self.federation.stop()
        await self.outgoing.close()


def _house_names(registry: Registry, unoffered: Mapping[str, Tool]) -> Sequence[str]:
    own = {name for name, entry in registry.all.items() if not entry.tool.owner}
    return sorted(own | unoffered.keys())


def _house_tool(registry: Registry, unoffered: Mapping[str, Tool], name: str) -> Tool | None:
    """A tool that is ours. Builtins refuses those of others."""
    entry = registry.all.get(name)
    return unoffered.get(name) if entry is None or entry.tool.owner else entry.tool
