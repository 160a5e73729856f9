"""How a tool of another owner differs from what was approved, and saying yes or no to that."""

from __future__ import annotations

from asyncio import to_thread
from dataclasses import dataclass
from typing import Annotated

from fastapi import Body, FastAPI, Request

from pilotage.app import App
from pilotage.server.http import BY
from pilotage.server.routes.permission import may
from pilotage.tool.pin import Held, Pin

Digest = Annotated[
    str, Body(pattern="^[0-9a-f]{64}$", description="`seen`, of the diff that was looked at")
]
All = Annotated[str, Body(pattern="^[0-9a-f]{64}$", description="`digest`, of what was looked at")]
Reason = Annotated[str, Body(max_length=1000, description="kept in the audit")]


@dataclass(frozen=True, slots=True)
class PinList:
    """By name."""

    pins: list[Pin]


def add(api: FastAPI, app: App) -> None:
    _add_together(api, app)

    @api.get("/api/v2/pins", tags=["tools"], dependencies=[may(app, "tools:approve")])
    def pins() -> PinList:
        """Every tool of another owner that was seen: what is held back, and why."""
        return PinList(app.others.pins.list())

    @api.get("/api/v2/tools/{name}/diff", tags=["tools"], dependencies=[may(app, "tools:approve")])
    def diff(name: str) -> Pin:
        """What differs between the tool that was approved and the one that is there now."""
        return app.others.pins.look(name)

    @api.post(
        "/api/v2/tools/{name}/approve", tags=["tools"], dependencies=[may(app, "tools:approve")]
    )
    async def approve(name: str, request: Request, digest: Digest, reason: Reason = "") -> Pin:
        """From now on the tool is what `digest` names. 409 where it has changed meanwhile."""
        pin = await to_thread(app.others.pins.approve, name, digest, request.scope[BY], reason)
        app.registry.recheck()
        return pin

    @api.post(
        "/api/v2/tools/{name}/reject", tags=["tools"], dependencies=[may(app, "tools:approve")]
    )
    async def reject(name: str, request: Request, digest: Digest, reason: Reason = "") -> Pin:
        """It stays quarantined. 409 where it has changed meanwhile, or is approved as it is."""
        pin = await to_thread(app.others.pins.reject, name, digest, request.scope[BY], reason)
        app.registry.recheck()
        return pin


def _add_together(api: FastAPI, app: App) -> None:
    @api.get("/api/v2/pins/{server}", tags=["tools"], dependencies=[may(app, "tools:approve")])
    def held(server: str) -> Held:
        """All tools from one server (a registration, or an upstream of the settings) that are held
        back and that nobody has rejected, with the digest by which they are approved together."""
        return app.others.pins.held(server)

    @api.post(
        "/api/v2/pins/{server}/approve", tags=["tools"], dependencies=[may(app, "tools:approve")]
    )
    async def approve_all(
        server: str, request: Request, digest: All, reason: Reason = ""
    ) -> PinList:
        """All of these at once. 409 where any of them has changed, come or gone meanwhile."""
        pins, by = app.others.pins, request.scope[BY]
        found = await to_thread(pins.approve_all, server, digest, by, reason)
        app.registry.recheck()
        return PinList(found)
