"""The parts of fair use, as the settings want them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pilotage.config import Settings
from pilotage.domain.limit import Cap, cap
from pilotage.policy.roles import Role
from pilotage.store.database import Database
from pilotage.tool.attempts import Attempts
from pilotage.tool.cache import Cache
from pilotage.tool.limits import Caps, Limits
from pilotage.tool.redact import Redactor


@dataclass(frozen=True, slots=True)
class FairUse:
    """Shared by every gateway of a process."""

    limits: Limits
    attempts: Attempts
    cache: Cache


def fair_use(
    settings: Settings, database: Database, redactor: Redactor, roles: Mapping[str, Role]
) -> FairUse:
    """BadInput says which setting is wrong."""
    caps = Caps(
        _cap(settings, "key"),
        _cap(settings, "tool"),
        _cap(settings, "key_tool"),
        _named(settings),
        settings.number("limits.result_bytes"),
    )
    keep, size = settings.number("idempotency.keep"), settings.number("idempotency.bytes")
    return FairUse(
        Limits(caps, roles),
        Attempts(
            database, redactor, keep=keep, size=size, each=settings.number("idempotency.keys")
        ),
        Cache(settings.number("limits.cache_bytes")),
    )


def _cap(settings: Settings, kind: str) -> Cap:
    where = f"limits.{kind}"
    return cap(settings.text(f"{where}.rate"), settings.number(f"{where}.concurrency"), where)


def _named(settings: Settings) -> dict[str, Cap]:
    """What is not said of a tool by name, it has in common with all."""
    said: dict[str, dict[str, str]] = {}
    for key, value in settings.tool_limits.items():
        tool, _, word = key.rpartition(".")
        said.setdefault(tool, {})[word] = value
    for_all = settings.number("limits.tool.concurrency")
    return {
        tool: cap(
            words.get("rate", settings.text("limits.tool.rate")),
            int(words.get("concurrency", for_all)),
            f"limits.tools.{tool}",
        )
        for tool, words in said.items()
    }
