"""A key that goes straight into a Secret of a cluster: no person and no file ever has its text.

What starts a server in a cluster runs this before it, each time. It reads and patches one Secret,
which must be there: the rights for that can be given by name, those to make one cannot.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.app import local_principal
from pilotage.domain.errors import BadInput, Unauthenticated
from pilotage.kubernetes import errors, kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.kind import SECRET
from pilotage.server import tls
from pilotage.store.keys import Keys

KEY, AUTHORITY = "key", "ca.crt"
"""Where in the Secret the key's text is, and the certificate that the server is trusted by."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The key to deliver. `secret` is NAME or NAMESPACE/NAME, the namespace else the pod's own;
    `authority` the file of the local authority to deliver with it, made if it is not there."""

    name: str
    roles: tuple[str, ...]
    tools: tuple[str, ...]
    secret: str
    authority: Path | None = None


async def deliver(keys: Keys, wanted: Wanted) -> str:
    """See to it that the Secret has a live key; what was done, for the log. A key that is there and
    good stays; one that was lost, or whose roles are others, is renewed; one that somebody has
    revoked stays revoked."""
    cluster = kubeconfig.find()
    space, _, name = wanted.secret.rpartition("/")
    space = space or cluster.namespace
    async with Client(cluster) as client:
        try:
            found = await client.get(SECRET, name, space)
        except errors.NotFound:
            hint = "make it, empty: kubectl create secret generic NAME"
            raise BadInput(f"there is no Secret {space}/{name}", hint) from None
        change, said = _change(keys, wanted, found)
        if change:
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            await client.patch(SECRET, name, {"metadata": version, "data": change}, space)
    return f"{said} in the Secret {space}/{name}"


def _change(keys: Keys, wanted: Wanted, found: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """What to write into the Secret, and what is said of it."""
    data = found.get("data") or {}
    change: dict[str, str] = {}
    if wanted.authority is not None:
        tls.ensure(wanted.authority)
        authority = _encoded(wanted.authority.read_text("utf-8"))
        if data.get(AUTHORITY) != authority:
            change[AUTHORITY] = authority
    known = keys.named(wanted.name)
    if known is not None and known.revoked is not None:
        return change, f"the key {wanted.name} is revoked, and stays so: no key"
    if known is not None and _good(keys, wanted, data.get(KEY, "")):
        return change, f"the key {wanted.name} is good"
    by = local_principal()
    make = keys.create if known is None else keys.renew
    _, text = make(wanted.name, wanted.roles, wanted.tools, by=by)
    return {**change, KEY: _encoded(text)}, f"a new key {wanted.name}"


def _good(keys: Keys, wanted: Wanted, text: str) -> bool:
    """Is that the text of the wanted key, with the roles and tools that are wanted?"""
    try:
        holder = keys.principal(base64.b64decode(text, validate=True).decode("ascii"))
    except (Unauthenticated, binascii.Error, UnicodeDecodeError):
        return False
    asked = (f"key:{wanted.name}", frozenset(wanted.roles), wanted.tools)
    return (holder.name, holder.roles, holder.tools) == asked


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
