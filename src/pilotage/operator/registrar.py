"""What our objects stand for at the tool server: put there, taken away, and kept true.

The server's registrations outlive us, and we outlive its restarts. So, now and then, both sides are
compared: what is missing or differs is reconciled, what nobody declares any more is taken away.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.errors import BadInput, Conflict, PilotageError
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import Forbidden, NotFound
from pilotage.kubernetes.kind import SECRET, Object, key_of
from pilotage.operator.conditions import FALSE, TRUE, UNKNOWN, Condition
from pilotage.operator.definition import Place, SecretRef, Wanted, own_secrets
from pilotage.operator.runtime.controller import Controller
from pilotage.operator.tool_server import Away, Standing, ToolServer

SWEEP_SECONDS = 30.0
SECRET_SECONDS = 60.0
"""How often the Secrets of an object are read again: nobody needs the right to watch them."""
LONG_AWAY = 2
"""Comparisons in a row that found no server."""
SECRETS_HINT = "the chart's operator.secretNamespaces: where it may"
_HOLDER = "holder"
_OWNER = re.compile(r"(?P<holder>[^\s/]+/(?P<namespace>[^\s/]+)/[^\s/]+)/\d+")
_log = logging.getLogger(__name__)


def own_key(secret: str, who: str) -> str:
    """Why a Secret goes to nobody."""
    return f"the Secret {secret} holds the operator's own key, which goes to no {who}"


class NoSecret(PilotageError):
    """A Secret, or its key, is not there or is not ours to read. `reason` is one word for it."""

    reason = "SecretMissing"


class WrongSecret(NoSecret):
    """It is there, and the server does not keep it."""

    reason = "SecretInvalid"


@dataclass(frozen=True, slots=True)
class Member:
    """A controller whose objects have registrations, and what tells it to come."""

    controller: Controller
    finalizer: str


class Registrar:
    """One for all kinds. `cluster` names the cluster at the server: what begins with it is ours.
    `refresh` is how often, in seconds, the Secrets of an object are read again. `key` is the
    operator's own and `at` the namespace and name of its Secret: in one namespace with it, an
    MCPTool could name that, also when it holds a newer key than ours."""

    def __init__(
        self,
        server: ToolServer,
        client: Client,
        cluster: str,
        domain: str,
        refresh: float = SECRET_SECONDS,
        key: str = "",
        at: tuple[str, str] = ("", ""),
    ) -> None:
        self.server, self.cluster, self.refresh = server, cluster, refresh
        self._client, self._domain, self._key, self._at = client, domain, key, at
        self._kept: dict[str, tuple[str, str]] = {}
        self._members: list[Member] = []
        self._doubtful: set[str] = set()
        self._away = 0
        server.back = self.everything

    def join(self, member: Member) -> None:
        """Its objects are compared from now on."""
        member.controller.primary.store.index(_HOLDER, lambda object: [self.holder(object)])
        self._members.append(member)

    def everything(self) -> None:
        """The server was away: who knows what it holds now."""
        self._kept.clear()
        self._look_again()

    def _look_again(self) -> None:
        for member in self._members:
            member.controller.add_all()

    def place(self, object: Object) -> Place:
        """Where an object stands."""
        meta = object["metadata"]
        return Place(self.cluster, meta["namespace"], meta["name"], meta["uid"], self._domain)

    def owner(self, object: Object) -> str:
        """Whose its registration is, at the server: cluster/namespace/uid/generation."""
        meta = object["metadata"]
        return "/".join((self.holder(object), str(meta["generation"])))

    def holder(self, object: Object) -> str:
        """The same without the generation, which is what stays."""
        meta = object["metadata"]
        return "/".join((self.cluster, meta["namespace"], meta["uid"]))

    async def register(self, object: Object, wanted: Wanted, *, suspended: bool) -> Standing:
        """It is at the server as its object says, and no secret that it does not need. Raises Away,
        NoSecret, or what the server has against it."""
        namespace = object["metadata"]["namespace"]
        for secret in wanted.secrets:
            await self._keep(namespace, secret)
        owner = self.owner(object)
        try:
            standing = await self.server.put(wanted, owner)
        except Conflict as taken:
            raise self._taken(taken, object, wanted.name) from None
        await self._forget(self._secrets(object) - {secret.name for secret in wanted.secrets})
        if suspended and standing.state != "disabled":
            return await self.server.enable(wanted.name, owner, on=False)
        if not suspended and standing.state == "disabled" and not standing.held:
            return await self.server.enable(wanted.name, owner, on=True)
        return standing

    def _taken(self, taken: Conflict, object: Object, name: str) -> Conflict:
        """The name is another's; or our own, from when this cluster was called otherwise."""
        place = self.place(object)
        for found in _OWNER.finditer(taken.what):
            cluster, _, rest = found["holder"].partition("/")
            if cluster != self.cluster and rest == f"{place.namespace}/{place.uid}":
                what = f"the server has it of this very object, as one of the cluster {cluster}"
                mend = f"--cluster-name {cluster}, as before; or: pilotage tools remove {name}"
                return Conflict(what, mend)
        return Conflict(self._named(taken.what, place.namespace), taken.hint)

    def _named(self, text: str, namespace: str) -> str:
        """With the object in the place of the owner's text, where it is one of ours. Of another
        namespace than the asker's, that alone is said."""
        for found in _OWNER.finditer(text):
            for member in self._members:
                primary = member.controller.primary
                if keys := primary.store.by(_HOLDER, found["holder"]):
                    there = f"{primary.kind.kind} {keys[0]}"
                    if found["namespace"] != namespace:
                        there = f"an object of the namespace {found['namespace']}"
                    return text.replace(found[0], there)
        return text

    async def unregister(self, object: Object, name: str) -> None:
        """Its registration and its secrets are gone from the server. What somebody else has under
        its name by now stays."""
        with contextlib.suppress(Conflict):
            await self.server.remove(name, self.owner(object))
        await self._forget(self._secrets(object))

    def _secrets(self, object: Object) -> set[str]:
        """The names of the secrets that were kept for it at the server. Others may write what the
        status says: none but its own count."""
        own = own_secrets(self.place(object))
        named = object.get("status", {}).get("secrets", ())
        return {name for name in named if str(name).startswith(own)}

    async def _forget(self, secrets: Iterable[str]) -> None:
        for name in secrets:
            self._kept.pop(name, None)
            await self.server.forget(name)

    async def hand_over(self, object: Object, wanted: Wanted) -> None:
        """It stays at the server, and is nobody's of this cluster any more. What somebody else has
        under its name by now stays as it is."""
        meta = object["metadata"]
        with contextlib.suppress(Conflict):
            await self.server.remove(wanted.name, self.owner(object))
            owner = f"orphan/{self.cluster}/{meta['namespace']}.{meta['name']}"
            await self.server.put(wanted, owner)

    async def _keep(self, namespace: str, ref: SecretRef) -> None:
        """The value of a Secret is at the server. It is read each time, and sent where it has
        changed."""
        if self.is_own(namespace, ref.secret):
            raise NoSecret(own_key(ref.secret, "tool"), "another Secret")
        try:
            secret = await self._client.get(SECRET, ref.secret, namespace)
        except NotFound:
            raise NoSecret(f"there is no Secret {ref.secret} in {namespace}") from None
        except Forbidden as error:
            what = f"the Secret {ref.secret} may not be read: {error.what}"
            raise NoSecret(what, SECRETS_HINT) from None
        version = (secret["metadata"]["uid"], secret["metadata"]["resourceVersion"])
        if self._kept.get(ref.name) == version:
            return
        data: Mapping[str, Any] = secret.get("data") or {}
        if ref.key not in data:
            raise NoSecret(f"the Secret {ref.secret} has no key {ref.key}")
        try:
            value = base64.b64decode(data[ref.key], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise NoSecret(f"the key {ref.key} of the Secret {ref.secret} is no text") from None
        if self._key and self._key in value:
            raise NoSecret(own_key(ref.secret, "tool"), "another Secret")
        try:
            await self.server.keep(ref, value.strip("\r\n"))
        except BadInput as wrong:
            what = f"the key {ref.key} of the Secret {ref.secret} is no credential: "
            said = wrong.what.replace(ref.name, "its value")
            raise WrongSecret(what + said, wrong.hint) from None
        self._kept[ref.name] = version

    def is_own(self, namespace: str, secret: str) -> bool:
        """Is this the Secret with the operator's key?"""
        return (namespace, secret) == self._at

    async def sweep(self, namespaces: Iterable[str], seconds: float = SWEEP_SECONDS) -> None:
        """Compare, for as long as we lead. `namespaces`: none means all."""
        owners = [f"{self.cluster}/{one}" for one in namespaces] or [self.cluster]
        while True:
            await asyncio.sleep(seconds)
            try:
                for owner in owners:
                    await self.compare(owner, await self.server.standings(owner))
                self._away = 0
            except Away as away:
                _log.info("nothing is compared: %s", away.what)
                self._doubt()
            except PilotageError as error:
                _log.warning("nothing is compared: %s", error)

    def _doubt(self) -> None:
        """Once for each time that the server is away, and not for a short one: nobody can say of
        anything that it can be called. It is all looked at again when the server is back."""
        self._away = self._away + 1 if self.server.why else 0
        if self._away == LONG_AWAY:
            self._look_again()

    async def compare(self, owner: str, found: Iterable[Standing]) -> None:
        """What the server holds for `owner` against what is declared."""
        there = {one.owner.rpartition("/")[0]: one for one in found}
        declared = set()
        for member in self._members:
            for count, object in enumerate(member.controller.primary.store.objects()):
                if count % 100 == 99:
                    await asyncio.sleep(0)  # many objects must not hold up the lease
                holder = self.holder(object)
                declared.add(holder)
                within = holder.startswith(owner + "/")
                if within and _differs(object, there.get(holder), member.finalizer):
                    self._forget_kept(there.get(holder))
                    member.controller.add(key_of(object))
        nobodys = there.keys() - declared
        for holder in nobodys & self._doubtful:  # seen twice: an object that is new is not in doubt
            one = there[holder]
            _log.warning("%s is registered for an object that is gone: removed", one.name)
            secrets = await self.server.secrets_of(one.name)
            await self.server.remove(one.name, one.owner)
            await self._forget(secrets)
        self._doubtful = {one for one in self._doubtful if not one.startswith(owner + "/")}
        self._doubtful |= nobodys

    def _forget_kept(self, standing: Standing | None) -> None:
        """A server that has lost a registration may have lost its secrets too."""
        if standing is None:
            self._kept.clear()


def _differs(object: Object, standing: Standing | None, finalizer: str) -> bool:
    """Is what the status says of the server not so? One without our finalizer was never ours."""
    meta, status = object["metadata"], object.get("status") or {}
    if "deletionTimestamp" in meta or finalizer not in meta.get("finalizers", ()):
        return False
    if standing is None:
        return "digest" in status
    if any(status.get(name) != value for name, value in _at_server(standing).items()):
        return True
    ready = any(c["type"] == "Ready" and c["status"] == TRUE for c in status.get("conditions", ()))
    callable = len(standing.tools) > len(standing.quarantined)
    return ready != (standing.state == "ready" and callable)


def standing_of(standing: Standing, wanted: Wanted) -> dict[str, Any]:
    """A registration as the status holds it."""
    secrets = sorted({secret.name for secret in wanted.secrets}) or None
    return {"secrets": secrets, **_at_server(standing)}


def _at_server(standing: Standing) -> dict[str, Any]:
    return {
        "toolName": standing.name,
        "toolId": standing.tool_id or None,
        "tools": len(standing.tools),
        "quarantined": len(standing.quarantined) or None,
        "digest": standing.etag or None,
    }


def registered(standing: Standing) -> Condition:
    """What is said of a registration that the server has taken."""
    return Condition("Registered", TRUE, "Registered", f"the server has it as {standing.name}")


def refused(error: PilotageError) -> Condition:
    """What is said where the server has not taken it."""
    if isinstance(error, Away):
        return Condition("Registered", UNKNOWN, "ServerUnreachable", error.what)
    reason = _REASONS.get(error.status, "Refused")
    if isinstance(error, NoSecret):
        reason = error.reason
    hint = f" ({error.hint})" if error.hint else ""
    return Condition("Registered", FALSE, reason, error.what + hint)


_REASONS = {400: "InvalidSpec", 401: "NotAllowed", 403: "NotAllowed", 409: "NameTaken"}
