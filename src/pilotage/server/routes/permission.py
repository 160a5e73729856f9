"""Who may use a route of the management API."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from fastapi import Depends, Request

from pilotage.app import App
from pilotage.domain.call import VIA, Principal
from pilotage.domain.errors import BadInput, Denied
from pilotage.domain.ids import new_id
from pilotage.server.http import BY

ACTING_FOR = "Pilotage-Acting-For"
"""Names the person of whom a program brings word, such as an approval written in a cluster."""
_WHO = re.compile(r"[!-~](?:[ -~]{0,199}[!-~])?")


def speaker(app: App, request: Request) -> Principal:
    """Who speaks: who asks, or the person that it speaks for, by right of `act:for:PERSON`. That
    person has the rights of the key, and a name that says by which key its word came."""
    by: Principal = request.scope[BY]
    person = request.headers.get(ACTING_FOR)
    if person is None:
        return by
    if not _WHO.fullmatch(person) or VIA in person:
        raise BadInput(f"{ACTING_FOR} is no name", "1 to 200 printable ASCII characters")
    if not app.policy.may(by, f"act:for:{person}"):
        why = f"no role of {by.name} allows act:for:{person}"
        app.audit.refuse(new_id(), "", by.name, "rest", why)
        raise Denied(why, "roles.yaml: manage")
    return replace(by, name=f"{person}{VIA}{by.name}")


def may(app: App, action: str) -> Any:
    """A dependency that lets in who may do `action`, and records who may not."""

    def check(request: Request) -> None:
        by: Principal = request.scope[BY]
        if not app.policy.may(by, action):
            denied = Denied.to_manage(by.name, action)
            app.audit.refuse(new_id(), "", by.name, "rest", denied.what)
            raise denied

    return Depends(check)
