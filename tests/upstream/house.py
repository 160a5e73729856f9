"""The parts of the house that a federation needs, with nothing in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.domain.call import Outcome, Peer, Principal, Report, ToolCall, ToolResult, silent
from pilotage.domain.ids import new_id
from pilotage.store.database import Database
from pilotage.tool.pin import Pins
from pilotage.tool.redact import Redactor
from pilotage.tool.registry import Registry, State
from pilotage.upstream.changes import News
from pilotage.upstream.connection import Connection, Ways
from pilotage.upstream.egress import Egress
from pilotage.upstream.federation import Federation, Mcp, of_settings, settle
from pilotage.upstream.secrets import Secrets
from pilotage.upstream.session import Outgoing
from waiting import until

ME = Principal("local:me", frozenset({"admin"}))


@dataclass
class Parts:
    registry: Registry
    federation: Federation
    outgoing: Outgoing
    pins: Pins
    news: list[News]

    async def call(
        self, name: str, peer: Peer | None = None, report: Report = silent, **arguments: Any
    ) -> ToolResult:
        entry = self.registry.find(name)
        call = ToolCall(new_id(), name, arguments, ME, "rest", peer=peer)
        try:
            async with asyncio.timeout(entry.tool.timeout):
                return await entry.tool.run(call, report)
        except TimeoutError:
            return ToolResult(Outcome.TIMED_OUT)

    def state(self, name: str) -> State:
        return self.registry.all[name].state

    async def until_state(self, name: str, state: State) -> None:
        await until(lambda: name in self.registry.all and self.state(name) is state)

    def standing(self, name: str) -> Any:
        return next(one for one in self.federation.standings() if one.name == name)


@asynccontextmanager
async def federated(home: Path, *, wait: float = 20.0, **upstreams: Any) -> AsyncIterator[Parts]:
    """A federation of what the setting `upstreams` would name."""
    home.mkdir(exist_ok=True)
    database = Database(home / "p.db")
    audit = AuditLog(database, Checkpoints(home / "audit"))
    pins = Pins(database, audit.note)
    registry = Registry(guard=pins.guard)
    outgoing = Outgoing(Egress(["127.0.0.1"]))
    federation = Federation(Ways(outgoing, Secrets(home / "secrets.yaml", Redactor(), {})))
    news: list[News] = []

    def hear(_: Connection | None, one: News) -> None:
        news.append(one)

    federation.hear(hear)
    given = of_settings(upstreams)
    settle(given, Mcp(federation, outgoing.egress, given), registry, pins, database)
    try:
        await federation.start(wait)
        yield Parts(registry, federation, outgoing, pins, news)
    finally:
        await federation.stop()
        await outgoing.close()
        database.close()
