"""Who may use a route of the management API."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request

from pilotage.app import App
from pilotage.domain.call import Principal
from pilotage.domain.errors import Denied
from pilotage.domain.ids import new_id
from pilotage.server.http import BY


def may(app: App, action: str) -> Any:
    """A dependency that lets in who may do `action`, and records who may not."""

    def check(request: Request) -> None:
        by: Principal = request.scope[BY]
        if not app.policy.may(by, action):
            denied = Denied.to_manage(by.name, action)
            app.audit.refuse(new_id(), "", by.name, "rest", denied.what)
            raise denied

    return Depends(check)
