"""MCPToolInstance: an MCP server that runs as pods of the cluster, and its tools at the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pilotage.domain.errors import BadInput, PilotageError
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import ApiError, Conflict, NotFound
from pilotage.kubernetes.kind import CONFIG_MAP, DEPLOYMENT, POD, SECRET, SERVICE, Kind, Object
from pilotage.operator import definition, instance_objects, mcptool
from pilotage.operator.conditions import FALSE, READY, TRUE, Condition
from pilotage.operator.instance_objects import Surroundings
from pilotage.operator.registrar import (
    Registrar,
    refused,
    registered,
    standing_of,
)
from pilotage.operator.resources import MANAGER
from pilotage.operator.runtime.store import Store
from pilotage.operator.status import StatusWriter

WAITING_SECONDS = 5.0
Addresses = Literal["dns", "ip"]


class Foreign(PilotageError):
    """An object of that name is there, and it is not ours."""


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
            definition.registered_name(object["spec"], place)
        except BadInput as wrong:
            await self._say(object, [Condition("Accepted", FALSE, "InvalidSpec", str(wrong))])
            return None
        await parts.status.hold(object, parts.finalizer)
        try:
            config = await self._config(object)
            deployment, service = await self._apply(object, config)
        except (Foreign, _Missing) as wrong:
            reason = "OwnershipConflict" if isinstance(wrong, Foreign) else "ConfigMissing"
            await self._say(
                object, [_accepted(), Condition("Available", FALSE, reason, str(wrong))]
            )
            return WAITING_SECONDS * 2
        return await self._registered(object, deployment, service)

    async def _registered(
        self, object: Object, deployment: Object, service: Object
    ) -> float | None:
        """How the pods are, and then what the server makes of what they offer."""
        available = await self._available(object, deployment)
        said = [_accepted(), available]
        suspended = bool(object["spec"].get("suspend"))
        known = "toolName" in object.get("status", {})
        if available.status != TRUE and not known:
            await self._say(object, said, deployment)
            return WAITING_SECONDS
        wanted = self._wanted(object, service)
        try:
            standing = await self._parts.registrar.register(object, wanted, suspended=suspended)
        except PilotageError as error:
            await self._say(object, [*said, refused(error)], deployment)
            return mcptool.later(error, self._parts.registrar)
        ready = mcptool.readiness(standing, suspended=suspended)
        if available.status != TRUE and not suspended:
            ready = Condition(READY, FALSE, available.reason, available.message)
        more = {**_counts(object, deployment, self._parts.here), **standing_of(standing, wanted)}
        await self._parts.status.write(object, [*said, registered(standing), ready], more)
        refresh = self._parts.registrar.refresh if wanted.secrets or _refs(object) else None
        return mcptool.again(object, ready, refresh)

    def _wanted(self, object: Object, service: Object) -> definition.Wanted:
        spec, place = object["spec"], self._parts.registrar.place(object)
        host = f"{place.name}.{place.namespace}.svc.{place.domain}"
        if self._parts.addresses == "ip":
            host = service["spec"]["clusterIP"]
        given = {name: spec[name] for name in ("headers", "prefix", "tools") if name in spec}
        given["url"] = f"http://{host}:{spec['port']}{spec['path']}"
        name = definition.registered_name(spec, place)
        return definition.mcp(name, given, spec.get("timeoutSeconds"), place)

    async def _config(self, object: Object) -> str:
        """Changes when a Secret or ConfigMap that its pods read does. Raises _Missing."""
        namespace, seen = object["metadata"]["namespace"], []
        for kind, ref in _refs(object):
            try:
                found = await self._parts.client.get(kind, ref["name"], namespace)
            except NotFound:
                raise _Missing(f"there is no {kind.kind} {ref['name']}") from None
            except ApiError as error:
                raise _Missing(
                    f"the {kind.kind} {ref['name']} cannot be read: {error.what}"
                ) from None
            if ref["key"] not in (found.get("data") or {}):
                raise _Missing(f"the {kind.kind} {ref['name']} has no key {ref['key']}")
            meta = found["metadata"]
            seen.append(f"{meta['uid']} {meta['resourceVersion']} {ref['key']}")
        return instance_objects.digest(seen)

    async def _apply(self, object: Object, config: str) -> tuple[Object, Object]:
        """Its Deployment and its Service as they are then. What is there and is not ours stays."""
        there = {}
        for kind, wanted in instance_objects.made(object, self._parts.here, config):
            there[kind] = await self._apply_one(object, kind, wanted)
        return there[DEPLOYMENT], there[SERVICE]

    async def _apply_one(self, object: Object, kind: Kind, wanted: Object) -> Object:
        meta, client = wanted["metadata"], self._parts.client
        try:
            found = await client.get(kind, meta["name"], meta["namespace"])
        except NotFound:
            try:
                return await client.create(kind, wanted, manager=MANAGER)
            except Conflict:  # somebody was faster, we ourselves maybe
                found = await client.get(kind, meta["name"], meta["namespace"])
        owners = found["metadata"].get("ownerReferences", ())
        if not any(one["uid"] == object["metadata"]["uid"] for one in owners):
            raise Foreign(
                f"there is a {kind.kind} {meta['name']} already, which is not of this object",
                "delete or rename one of them",
            )
        exact = {**wanted, "metadata": {**meta, "uid": found["metadata"]["uid"]}}
        return await client.apply(kind, exact, manager=MANAGER, force=True)

    async def _available(self, object: Object, deployment: Object) -> Condition:
        """How its pods are, with what the cluster says of those that are not well."""
        if object["spec"].get("suspend"):
            return Condition("Available", FALSE, "Suspended", "spec.suspend is true: no pod runs")
        wanted, status = object["spec"]["replicas"], deployment.get("status") or {}
        seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        count = status.get("availableReplicas", 0)
        if not wanted:
            return Condition("Available", FALSE, "ScaledToZero", "spec.replicas is 0")
        if seen and count >= 1 and status.get("updatedReplicas", 0) >= 1:
            return Condition("Available", TRUE, "Available", f"{count} of {wanted} pods are ready")
        why = await self._why(object)
        late = any(
            one["type"] == "Progressing" and one.get("reason") == "ProgressDeadlineExceeded"
            for one in status.get("conditions", ())
        )
        reason = "RolloutFailed" if late else "Progressing"
        return Condition("Available", FALSE, reason, f"{count} of {wanted} pods are ready{why}")

    async def _why(self, object: Object) -> str:
        """What the cluster says of a pod that waits: an image that cannot be pulled, a crash."""
        labels = ",".join(
            f"{key}={value}"
            for key, value in instance_objects.selector(object, self._parts.here).items()
        )
        page = await self._parts.client.page(
            POD, object["metadata"]["namespace"], labels=labels, limit=20
        )
        for pod in page.items:
            if said := _wrong(pod):
                return f"; {pod['metadata']['name']}: {said}"
        return ""

    async def _say(
        self, object: Object, said: list[Condition], deployment: Object | None = None
    ) -> None:
        """The last condition that is not well is why it is not ready."""
        worst = next(one for one in reversed(said) if one.status != TRUE)
        ready = Condition(READY, worst.status, worst.reason, worst.message)
        more = {**mcptool.kept(object), **_counts(object, deployment, self._parts.here)}
        await self._parts.status.write(object, [*said, ready], more)

    async def _unregister(self, object: Object) -> None:
        await mcptool.unregister(object, self._parts.registrar)


class _Missing(PilotageError):
    """A Secret or a ConfigMap that the pods read is not there."""


def _accepted() -> Condition:
    return Condition("Accepted", TRUE, "Accepted", "an MCP server that runs in the cluster")


def _refs(object: Object) -> list[tuple[Kind, Mapping[str, Any]]]:
    found = []
    for one in object["spec"].get("env", ()):
        if "secretKeyRef" in one:
            found.append((SECRET, one["secretKeyRef"]))
        elif "configMapKeyRef" in one:
            found.append((CONFIG_MAP, one["configMapKeyRef"]))
    return found


def _counts(object: Object, deployment: Object | None, here: Surroundings) -> dict[str, Any]:
    status = (deployment or {}).get("status") or {}
    labels = instance_objects.selector(object, here)
    return {
        "replicas": status.get("replicas", 0),
        "readyReplicas": status.get("readyReplicas", 0),
        "selector": ",".join(f"{key}={value}" for key, value in labels.items()),
    }


def _wrong(pod: Object) -> str:
    status = pod.get("status") or {}
    for one in status.get("conditions", ()):
        if one["type"] == "PodScheduled" and one["status"] == "False":
            return str(one.get("message", "cannot be scheduled"))
    for one in status.get("containerStatuses", ()):
        waiting = (one.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']} {waiting.get('message', '')}".strip()
    return ""
