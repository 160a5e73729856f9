"""Who may use a route of the management API."""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from fastapi import Depends, Request

from pilotage.app import App
from pilotage.domain.call import ACTING_FOR, VIA, Principal
from pilotage.domain.errors import BadInput, Denied
from pilotage.domain.ids import new_id
from pilotage.server.http import BY

CHANGES = ("tools:write", "tools:approve")
_WHO = re.compile(r"[!-~](?:[ -~]{0,510}[!-~])?")


def speaker(app: App, request: Request) -> Principal:
    """Who speaks: who asks, or whom they speak for, a person or a namespace of a cluster, by right
    of `act:for:NAME`. That one has the rights of the key, and a name that says which it was."""
    by: Principal = request.scope[BY]
    person = request.headers.get(ACTING_FOR)
    if person is None:
        return by
    if not _WHO.fullmatch(person) or VIA in person:
        raise BadInput(f"{ACTING_FOR} is no name", "1 to 512 printable ASCII characters")
    if not app.policy.may(by, f"act:for:{person}"):
        why = f"no role of {by.name} allows act:for:{person}"
        app.audit.refuse(new_id(), "", by.name, "rest", why)
        raise Denied(why, "roles.yaml: manage")
    return replace(by, name=f"{person}{VIA}{by.name}")


def may(app: App, action: str) -> Any:
    """A dependency that lets in who may do `action`, and records who may not. A key for some tools
    only changes and approves none of another name."""

    def check(request: Request) -> None:
        by: Principal = request.scope[BY]
        if not app.policy.may(by, action):
            denied = Denied.to_manage(by.name, action)
            app.audit.refuse(new_id(), "", by.name, "rest", denied.what)
            raise denied
        if action in CHANGES:
            name = request.path_params.get("name")
            if name is not None or "server" in request.path_params:
                keep_to_key(app, by, name)

    return Depends(check)


def keep_to_key(app: App, by: Principal, name: str | None) -> None:
    """Denied, and on record, where the key of `by` is not for the tool of that name; None: for all
    the tools of a server, whose names are its own."""
    if any(glob == "*" or (name is not None and fnmatchcase(name, glob)) for glob in by.tools):
        return
    what = f"the key of {by.name} is for the tools {', '.join(by.tools)} only"
    if name is None:
        what += ", and a server's tools have any name"
    app.audit.refuse(new_id(), name or "", by.name, "rest", what)
    raise Denied(what, "pilotage keys create --tool: a key for all of them")
