"""Objects of a Kubernetes cluster: look at them, list, create, change and delete them.

Clusters, and what of them is for tools, are named in the settings file (kubernetes/clusters.py).
Nobody can call this until it is registered, by an MCPTool or by `pilotage tools put`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pilotage.domain.call import Effect
from pilotage.domain.errors import BadInput, Denied
from pilotage.kubernetes.client import Page
from pilotage.kubernetes.clusters import Clusters, Place
from pilotage.kubernetes.kind import Kind, Object
from pilotage.kubernetes.manifests import check_head
from pilotage.kubernetes.plan import deleting
from pilotage.tool.tool import Actions, Call, tool

MANAGER = "pilotage"
LIMIT = 50
MOST = 500
ANSWER_BYTES = 32 << 20
"""Of one page of a list, as the API server sends it: an object alone may have 1.5 MiB."""
Action = Literal["get", "list", "create", "update", "delete"]
_EFFECTS = {
    "get": Effect.READ,
    "list": Effect.READ,
    "create": Effect.WRITE,
    "update": Effect.WRITE,
}
_SECRET = ("data", "stringData")
_OURS = ("apiVersion", "kind", "metadata")


@dataclass(frozen=True, slots=True)
class Done:
    """`resource` is the object as it is now (as it was, of one that is deleted); `resources` are
    those of a list, `next` pages on as `after`. `version` is the resourceVersion that a change may
    name, so that nobody's work is overwritten unseen."""

    message: str
    resource: dict[str, Any] | None = None
    resources: list[dict[str, Any]] = field(default_factory=list)
    version: str = ""
    next: str = ""


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a call asks for, checked against the bounds of its cluster."""

    place: Place
    kind: Kind
    namespace: str | None
    name: str
    dry_run: bool
    version: str

    @property
    def label(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.kind.kind} {self.name}{where}"

    @property
    def ending(self) -> str:
        return ", as a dry run: nothing has changed" if self.dry_run else ""


async def _check(
    resource_type: str,
    action: Action,
    namespace: str,
    name: str,
    cluster: str,
    *,
    clusters: Clusters,
    here: Call,
) -> None:
    """What can be said against a call without asking the cluster."""
    place = clusters.get(cluster, here.call.by)
    if namespace == "*" and action != "list":
        raise BadInput('namespace "*" is for list', "name the namespace")
    if namespace:
        place.check_namespace(namespace)
    if not name and action != "list":
        raise BadInput(f"{action} needs the name of one {resource_type}", "or list them first")


_ACTIONS = Actions("action", _EFFECTS)


@tool(Effect.DESTROY, actions=_ACTIONS, offered=False, timeout=60.0, check=_check)
async def k8s_resource_manager(
    resource_type: str,
    action: Action,
    namespace: str = "",
    name: str = "",
    spec: dict[str, Any] | None = None,
    manifest: dict[str, Any] | None = None,
    cluster: str = "",
    labels: str = "",
    full: bool = False,
    dry_run: bool = False,
    resource_version: str = "",
    limit: int = LIMIT,
    after: str = "",
    *,
    clusters: Clusters,
    here: Call,
) -> Done:
    """Get, list, create, update or delete an object of a Kubernetes cluster.

    `resource_type` as kubectl has it: deployment, svc, deployments.apps. `namespace`: the default
    one where it is left out, "*" for a list of all. `spec` is the object's spec: all of it to
    create, what changes to update (null removes a field); `manifest` gives other fields, such as a
    ConfigMap's data or metadata.labels. An update or delete that names `resource_version` fails if
    somebody else has changed the object since. `dry_run` asks the server without changing anything.
    A list gives names and states, whole objects with `full`; `labels` selects (app=web).
    """
    place = clusters.get(cluster, here.call.by)
    kind = await place.discovery.kind(resource_type)
    where = _namespace(place, kind, namespace)
    place.check(kind, where)
    wish = _Wish(place, kind, where, name, dry_run, resource_version)
    if action == "list":
        return await _list(wish, labels, full=full, limit=limit, after=after)
    return await _one(wish, action, spec, manifest)


async def _one(wish: _Wish, action: Action, spec: Any, manifest: Mapping[str, Any] | None) -> Done:
    """What is done with one object."""
    if action == "get":
        found = await wish.place.client.get(wish.kind, wish.name, wish.namespace)
        return _done(f"this is {wish.label}", found)
    if wish.kind.resource == "secrets":
        raise Denied("Secrets are not written by tools", "kubectl create secret, or a secret store")
    if action == "delete":
        return await _delete(wish)
    change = _change(wish, spec, manifest)
    return await (_create if action == "create" else _update)(wish, change)


def _namespace(place: Place, kind: Kind, namespace: str) -> str | None:
    """Where to look: None for what has no namespace, or for a list of all."""
    if not kind.namespaced:
        if namespace:
            raise BadInput(f"a {kind.kind} is in no namespace", "leave namespace out")
        return None
    return None if namespace == "*" else namespace or place.namespace


async def _list(wish: _Wish, labels: str, *, full: bool, limit: int, after: str) -> Done:
    if not 1 <= limit <= MOST:
        raise BadInput(f"limit is {limit}", f"1 to {MOST}")
    page: Page = await wish.place.client.page(
        wish.kind, wish.namespace, labels=labels, limit=limit, more=after, most=ANSWER_BYTES
    )
    items = [_shown(one) if full else _line(one) for one in page.items]
    more = ", and there are more" if page.more else ""
    where = f" in {wish.namespace}" if wish.namespace else ""
    what = f"{len(items)} {wish.kind.plural}{where}{more}"
    return Done(what, resources=items, version=page.resource_version, next=page.more)


async def _create(wish: _Wish, change: Object) -> Done:
    made = await wish.place.client.create(wish.kind, change, dry_run=wish.dry_run, manager=MANAGER)
    return _done(f"created {wish.label}{wish.ending}", made)


async def _update(wish: _Wish, change: Object) -> Done:
    spec = change.get("spec")
    if isinstance(spec, dict) and (found := deleting(wish.kind, spec, {})):
        word, lost = found
        what = f"spec.{word} of a {wish.kind.kind} that is there is not for update"
        raise BadInput(
            f"{what}: the cluster deletes {lost} by it", "leave it out, or action delete"
        )
    made = await wish.place.client.patch(
        wish.kind, wish.name, change, wish.namespace, dry_run=wish.dry_run
    )
    return _done(f"updated {wish.label}{wish.ending}", made)


async def _delete(wish: _Wish) -> Done:
    client = wish.place.client
    there = await client.get(wish.kind, wish.name, wish.namespace)
    await client.delete(
        wish.kind,
        wish.name,
        wish.namespace,
        uid=there["metadata"]["uid"],
        resource_version=wish.version or None,
        dry_run=wish.dry_run,
    )
    return _done(f"deleted {wish.label}{wish.ending}", there)


def _change(wish: _Wish, spec: Any, manifest: Mapping[str, Any] | None) -> Object:
    """The object to create, or what is to change of it. Which one is meant is said by the call
    alone: a manifest that names another is refused."""
    given = dict(manifest or {})
    if spec is not None:
        if "spec" in given:
            raise BadInput("spec is there twice: in spec and in manifest", "leave one out")
        given["spec"] = spec
    meta = dict(given.get("metadata") or {})
    check_head(meta, wish.label)
    for part in ("annotations", "labels"):
        if part in meta and meta[part] is None:
            what = f"{wish.label}: metadata.{part} is null, which takes those of others away"
            raise BadInput(what, "name each, with null, that is to go")
    said = {
        "apiVersion": (given.get("apiVersion"), wish.kind.api_version),
        "kind": (given.get("kind"), wish.kind.kind),
        "metadata.name": (meta.get("name"), wish.name),
        "metadata.namespace": (meta.get("namespace"), wish.namespace),
    }
    for field_name, (got, meant) in said.items():
        if got is not None and got != meant:
            raise BadInput(f"manifest says {field_name} {got!r}, the call {meant!r}")
    if not set(given) - set(_OURS) and not set(meta) - {"name", "namespace"}:
        raise BadInput("nothing is said of the object", "spec, or manifest for what has no spec")
    meta |= {"name": wish.name} | ({"namespace": wish.namespace} if wish.namespace else {})
    if wish.version:
        meta["resourceVersion"] = wish.version
    top = {"apiVersion": wish.kind.api_version, "kind": wish.kind.kind}
    return {**given, **top, "metadata": meta}


def _done(message: str, object: Object) -> Done:
    return Done(message, _shown(object), version=object["metadata"].get("resourceVersion", ""))


def _shown(object: Object) -> Object:
    """The object without what nobody reads; of a Secret, the sizes of its values."""
    shown = dict(object)
    meta = {k: v for k, v in object["metadata"].items() if k != "managedFields"}
    if object.get("kind") == "Secret":
        for part in _SECRET:
            if part in shown:
                shown[part] = {k: f"({len(v)} characters)" for k, v in shown[part].items()}
        last = "kubectl.kubernetes.io/last-applied-configuration"
        notes = {k: v for k, v in (meta.get("annotations") or {}).items() if k != last}
        meta["annotations"] = notes
    shown["metadata"] = meta
    return shown


def _line(object: Object) -> dict[str, Any]:
    """One object of a list: which it is, and how it stands in a word."""
    meta, status = object["metadata"], object.get("status") or {}
    line = {
        "name": meta["name"],
        "namespace": meta.get("namespace"),
        "created": meta.get("creationTimestamp"),
        "labels": meta.get("labels"),
        "state": _state(object, status),
    }
    return {key: value for key, value in line.items() if value}


def _state(object: Object, status: Mapping[str, Any]) -> str:
    if "deletionTimestamp" in object["metadata"]:
        return "Terminating"
    if "phase" in status:
        return str(status["phase"])
    wanted = (object.get("spec") or {}).get("replicas")
    if wanted is not None:
        return f"{status.get('readyReplicas', 0)} of {wanted} ready"
    true = [c["type"] for c in status.get("conditions") or () if c.get("status") == "True"]
    return ", ".join(true)
