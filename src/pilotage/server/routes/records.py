"""What was called and how it ended, what the audit says, and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI, Query

from pilotage.app import App
from pilotage.audit.verify import verify
from pilotage.domain.audit import AuditEntry, CallRecord, Verification
from pilotage.server.routes.permission import may

Limit = Annotated[int, Query(ge=1, le=1000)]
Before = Annotated[int | None, Query(description="page back: only rows before this number")]


@dataclass(frozen=True, slots=True)
class CallList:
    """The newest first; `next` pages back as `before`, null at the end."""

    calls: list[CallRecord]
    next: int | None


@dataclass(frozen=True, slots=True)
class AuditList:
    """The newest first; `next` pages back as `before`, null at the end."""

    entries: list[AuditEntry]
    next: int | None


def add(api: FastAPI, app: App) -> None:
    @api.get("/api/v2/calls", tags=["audit"], dependencies=[may(app, "calls:read")])
    def calls(limit: Limit = 100, before: Before = None, tool: str | None = None) -> CallList:
        """Calls and how they ended, from the audit."""
        found = app.audit.calls(limit=limit, before=before, tool=tool)
        return CallList(found, found[-1].seq if len(found) == limit else None)

    @api.get("/api/v2/audit", tags=["audit"], dependencies=[may(app, "audit:read")])
    def audit(
        limit: Limit = 100,
        before: Before = None,
        tool: str | None = None,
        event: str | None = None,
    ) -> AuditList:
        """Entries of the audit."""
        found = app.audit.list(limit=limit, before=before, tool=tool, event=event)
        return AuditList(found, found[-1].seq if len(found) == limit else None)

    @api.get("/api/v2/audit/verify", tags=["audit"], dependencies=[may(app, "audit:read")])
    def verified() -> Verification:
        """Walk the whole chain; `bad_seq` names the first wrong row, null where it holds."""
        return verify(app.database, app.checkpoints)
