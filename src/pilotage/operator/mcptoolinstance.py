"""MCPToolInstance: an MCP server that runs as pods of the cluster, and its tools at the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pilotage.domain.errors import BadInput, PilotageError
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import BadRequest, Forbidden, Invalid, NotFound
from pilotage.kubernetes.kind import CONFIG_MAP, DEPLOYMENT, POD, SECRET, SERVICE, Kind, Object
from pilotage.operator import definition, instance_objects, instance_pods, mcptool
from pilotage.operator.conditions import FALSE, READY, TRUE, Condition
from pilotage.operator.instance_objects import Surroundings
from pilotage.operator.registrar import (
    SECRETS_HINT,
    Registrar,
    own_key,
    refused,
    registered,
    standing_of,
)
from pilotage.operator.resources import MANAGER
from pilotage.operator.runtime.store import Store
from pilotage.operator.status import StatusWriter

LONGEST = 10.0
"""Seconds between two looks at pods that are not well, at most."""
REFRESH = 30
"""Seconds after which the server lists the tools anew, of pods that announce no change: a newer
version has others, maybe, and nobody else tells the server."""
PODS = 20
"""So many are looked at."""
_LASTING = ("Ready", "Suspended", "ScaledToZero", "InvalidSpec")
"""Reasons that stay until an object changes, of which we hear."""
Addresses = Literal["dns", "ip"]


class NotApplied(PilotageError):
    """Its objects are not as they should be. `reason` is one word for it."""

    def __init__(self, reason: str, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Parts:
    """What reconciling needs. `addresses`: is a Service called by its name, or by its address where
    the tool server cannot ask the cluster's DNS?"""

    store: Store
    client: Client
    status: StatusWriter
    registrar: Registrar
    finalizer: str
    here: Surroundings
    addresses: Addresses = "dns"


class Instances:
    """Reconciles MCPToolInstances."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def reconcile(self, key: str) -> float | None:
        """Make its objects what the spec says; once pods are there, register what they offer."""
        parts = self._parts
        object = parts.store.get(key)
        if object is None:
            return None
        if "deletionTimestamp" in object["metadata"]:
            return await mcptool.leave(object, parts.status, parts.finalizer, self._unregister)
        place = parts.registrar.place(object)
        try:
            definition.check_bounds(object["spec"])
            definition.registered_name(object["spec"], place)
        except BadInput as wrong:
            said = Condition("Accepted", FALSE, "InvalidSpec", str(wrong))
            return await self._say(object, [said])
        await parts.status.hold(object, parts.finalizer)
        try:
            config = await self._config(object)
            deployment, service = await self._apply(object, config)
        except NotApplied as wrong:
            return await self._say(
                object, [_accepted(), Condition("Applied", FALSE, wrong.reason, str(wrong))]
            )
        return await self._registered(object, deployment, service)

    async def _registered(
        self, object: Object, deployment: Object, service: Object
    ) -> float | None:
        """How the pods are, and then what the server makes of what they offer. It is asked once
        they could be called at all, and is told of all that comes after."""
        spec, registrar = object["spec"], self._parts.registrar
        suspended = bool(spec.get("suspend"))
        pods = await self._pods(object, deployment)
        said = [_accepted(), _applied(), *instance_pods.conditions(spec, deployment, pods)]
        if said[2].status != TRUE and "toolName" not in object.get("status", {}):
            return await self._say(object, said, deployment)
        wanted = self._wanted(object, service)
        try:
            standing = await registrar.register(object, wanted, suspended=suspended)
        except PilotageError as error:
            await self._say(object, [*said, refused(error)], deployment)
            return mcptool.later(error, registrar)
        ready = _first_wrong(said) or mcptool.readiness(standing, suspended=suspended)
        more = {**_counts(object, deployment, self._parts.here), **standing_of(standing, wanted)}
        await self._parts.status.write(object, [*said, registered(standing), ready], more)
        if _first_wrong(said) and ready.reason not in _LASTING:
            return _soon(object, ready)
        changing = wanted.secrets or _refs(object)
        return mcptool.again(object, ready, registrar.refresh if changing else None)

    def _wanted(self, object: Object, service: Object) -> definition.Wanted:
        spec, place = object["spec"], self._parts.registrar.place(object)
        host = f"{place.name}.{place.namespace}.svc.{place.domain}"
        if self._parts.addresses == "ip":
            address = service["spec"]["clusterIP"]
            host = f"[{address}]" if ":" in address else address
        given = {name: spec[name] for name in ("headers", "prefix", "tools") if name in spec}
        given["url"] = f"http://{host}:{spec['port']}{spec['path']}"
        given["refresh"] = REFRESH
        name = definition.registered_name(spec, place)
        return definition.mcp(name, given, spec.get("timeoutSeconds"), place)

    async def _config(self, object: Object) -> str:
        """Changes when a Secret or ConfigMap that its pods read does. Raises NotApplied."""
        namespace, seen = object["metadata"]["namespace"], []
        for kind, ref in _refs(object):
            if kind is SECRET and self._parts.registrar.is_own(namespace, ref["name"]):
                raise NotApplied("InvalidSpec", own_key(ref["name"], "pod"), "another Secret")
            what = f"the {kind.kind} {ref['name']}"
            try:
                found = await self._parts.client.get(kind, ref["name"], namespace)
            except NotFound:
                said = f"there is no {kind.kind} {ref['name']}"
                raise NotApplied("ConfigMissing", said) from None
            except Forbidden as error:
                said = f"{what} may not be read: {error.what}"
                hint = SECRETS_HINT if kind is SECRET else error.hint
                raise NotApplied("ConfigMissing", said, hint) from None
            if ref["key"] not in {**(found.get("data") or {}), **(found.get("binaryData") or {})}:
                raise NotApplied("ConfigMissing", f"{what} has no key {ref['key']}")
            meta = found["metadata"]
            seen.append(f"{meta['uid']} {meta['resourceVersion']} {ref['key']}")
        return instance_objects.digest(seen)

    async def _apply(self, object: Object, config: str) -> tuple[Object, Object]:
        """Its Deployment and its Service as they are then. Nothing is touched while one of the
        names is another's."""
        made = instance_objects.made(object, self._parts.here, config)
        uids = [await self._uid(object, kind, wanted) for kind, wanted in made]
        there = {}
        for (kind, wanted), uid in zip(made, uids, strict=True):
            there[kind] = await self._apply_one(kind, wanted, uid)
        return there[DEPLOYMENT], there[SERVICE]

    async def _uid(self, object: Object, kind: Kind, wanted: Object) -> str | None:
        """Of the object of that name that is ours; None: there is none."""
        name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
        try:
            meta = (await self._parts.client.get(kind, name, namespace))["metadata"]
        except NotFound:
            return None
        owners = [one["uid"] for one in meta.get("ownerReferences", ())]
        if object["metadata"]["uid"] not in owners:
            raise NotApplied(
                "OwnershipConflict",
                f"there is a {kind.kind} {name} already, which is not of this MCPToolInstance",
                f"kubectl delete {kind.kind.lower()} {name}, or another name for this one",
            )
        return str(meta["uid"])

    async def _apply_one(self, kind: Kind, wanted: Object, uid: str | None) -> Object:
        """Ours is made what it should be by force, against whom it may; a new one by no force, so
        that one that somebody else makes in this moment stays theirs."""
        meta = {**wanted["metadata"], **({"uid": uid} if uid else {})}
        try:
            return await self._parts.client.apply(
                kind, {**wanted, "metadata": meta}, manager=MANAGER, force=uid is not None
            )
        except (BadRequest, Forbidden, Invalid) as error:
            raise NotApplied("Refused", error.what, error.hint) from None

    async def _pods(self, object: Object, deployment: Object) -> list[Object]:
        """Its pods, where something may be wrong with them."""
        spec = object["spec"]
        wanted = 0 if spec.get("suspend") else spec["replicas"]
        if instance_pods.is_rolled_out(deployment, wanted):
            return []
        labels = _selector(object, self._parts.here)
        namespace = object["metadata"]["namespace"]
        page = await self._parts.client.page(POD, namespace, labels=labels, limit=PODS)
        return list(page.items)

    async def _say(
        self, object: Object, said: list[Condition], deployment: Object | None = None
    ) -> float | None:
        """The first condition that is not well is why it is not ready."""
        ready = _first_wrong(said)
        assert ready is not None
        more = {**mcptool.kept(object), **_counts(object, deployment, self._parts.here)}
        await self._parts.status.write(object, [*said, ready], more)
        return None if ready.reason in _LASTING else _soon(object, ready)

    async def _unregister(self, object: Object) -> None:
        await mcptool.unregister(object, self._parts.registrar)


def _accepted() -> Condition:
    return Condition("Accepted", TRUE, "Accepted", "an MCP server that runs in the cluster")


def _applied() -> Condition:
    what = "Deployment, Service, NetworkPolicy and ServiceAccount are as the spec says"
    return Condition("Applied", TRUE, "Applied", what)


def _first_wrong(said: Iterable[Condition]) -> Condition | None:
    wrong = next((one for one in said if one.status != TRUE), None)
    return wrong and Condition(READY, wrong.status, wrong.reason, wrong.message)


def _soon(object: Object, ready: Condition) -> float:
    """When to look again at what nobody tells us of: pods, Secrets, objects of others."""
    return mcptool.soon(object, ready, LONGEST)


def _refs(object: Object) -> list[tuple[Kind, Mapping[str, Any]]]:
    found = []
    for one in object["spec"].get("env", ()):
        if "secretKeyRef" in one:
            found.append((SECRET, one["secretKeyRef"]))
        elif "configMapKeyRef" in one:
            found.append((CONFIG_MAP, one["configMapKeyRef"]))
    return found


def _counts(object: Object, deployment: Object | None, here: Surroundings) -> dict[str, Any]:
    """What the scale subresource shows; where the Deployment was not seen, what it was."""
    counts = (deployment or object).get("status") or {}
    return {
        "replicas": counts.get("replicas", 0),
        "readyReplicas": counts.get("readyReplicas", 0),
        "selector": _selector(object, here),
    }


def _selector(object: Object, here: Surroundings) -> str:
    labels = instance_objects.selector(object, here)
    return ",".join(f"{key}={value}" for key, value in labels.items())
