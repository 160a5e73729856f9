"""Secrets of outgoing calls: kept, replaced and forgotten over the network, never read back.

A key may be given these rights for some names only: `manage: ["secrets:write:K8S_*"]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from pilotage.app import App
from pilotage.domain.call import Principal
from pilotage.domain.errors import Denied
from pilotage.domain.ids import new_id
from pilotage.server.http import BY
from pilotage.server.routes.permission import may
from pilotage.upstream.secrets import Secret, refuse_ordinary

WRITE, READ = "secrets:write", "secrets:read"
Name = Annotated[str, Path(max_length=64, description="such as TRACKER_TOKEN")]


class Value(BaseModel):
    """A secret, and where it may go: hosts (`api.example`, `api.example:8443`, `*.example`). A
    secret for no host goes nowhere."""

    model_config = ConfigDict(extra="forbid")
    value: SecretStr = Field(max_length=16_384)
    hosts: list[str] = Field(min_length=1, max_length=100)


@dataclass(frozen=True, slots=True)
class SecretList:
    """By name, without their values. `home` is where one is kept."""

    secrets: list[Secret]


def add(api: FastAPI, app: App) -> None:
    @api.get("/api/v2/secrets", tags=["secrets"], dependencies=[may(app, READ)])
    def list_secrets() -> SecretList:
        """Which there are, and where they may go. Nobody is shown a value."""
        return SecretList(app.others.secrets.list())

    @api.put("/api/v2/secrets/{name}", tags=["secrets"], status_code=204, response_class=Response)
    async def put_secret(name: Name, value: Value, request: Request) -> None:
        """Keep a secret, or another value of it. Needs `secrets:write:NAME`."""
        by, secret = _check(app, request, name), value.value.get_secret_value()
        refuse_ordinary(name, secret)
        app.others.secrets.set(name, secret, value.hosts)
        app.audit.note("secret.kept", name, by, {"hosts": sorted(value.hosts)})
        await app.audit.settled()

    @api.delete(
        "/api/v2/secrets/{name}", tags=["secrets"], status_code=204, response_class=Response
    )
    async def remove_secret(name: Name, request: Request) -> None:
        """Forget it; 404 where it is gone. Needs `secrets:write:NAME`."""
        by = _check(app, request, name)
        app.others.secrets.remove(name)
        app.audit.note("secret.removed", name, by, {})
        await app.audit.settled()


def _check(app: App, request: Request, name: str) -> Principal:
    """Who asks, if that secret is theirs to write."""
    by: Principal = request.scope[BY]
    if not app.policy.may(by, f"{WRITE}:{name}"):
        denied = Denied.to_manage(by.name, f"{WRITE}:{name}")
        app.audit.refuse(new_id(), "", by.name, "rest", denied.what)
        raise denied
    return by
