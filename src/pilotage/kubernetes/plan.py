"""What a manifest would change in a cluster: every bound, every object and every conflict is looked
at before anything is touched."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from pilotage.domain.errors import BadInput, Denied, PilotageError
from pilotage.domain.text import counted
from pilotage.kubernetes.clusters import Place
from pilotage.kubernetes.difference import difference, plain
from pilotage.kubernetes.errors import ApiError, Conflict, NotFound
from pilotage.kubernetes.kind import JOB, Kind, Object
from pilotage.kubernetes.manifests import check_head, containers
from pilotage.kubernetes.rollout import WORKLOADS

MANAGER = "pilotage"
BEFORE = "pilotage/before"
"""The annotation that holds an object as it was, while a deployment of it is under way: who takes
the deployment up after a crash can still go back. NEW and the mark of the deployment: the object
was not there. Others may write there: nothing is removed on the word of a note that is not ours."""
NEW = "new "
SKEW_SECONDS = 60.0
"""The API server's clock may be so much behind."""
MOST = 200
"""Objects in one deployment."""
TTL = "ttlSecondsAfterFinished"
HELD_SECONDS = 604_801
"""How long the cluster keeps a new Job that has ended, at least, while its deployment is under way:
one that went before would be made again, and run again, by who takes the deployment up. Nobody else
says a week and a second: of one that is left with it, a deployment may make its own time."""
_DELETING = {
    JOB.resource: (TTL, "it"),
    "statefulsets.apps": ("persistentVolumeClaimRetentionPolicy", "its volumes"),
}
"""Fields of a spec by which the cluster deletes later, and what."""
_ABSENT = object()
_NOT_OF_A_NOTE = ("ownerReferences", "finalizers")
NOTE_LIMIT = 200_000
"""Characters; the API takes 262,144 in all annotations of an object."""


@dataclass(frozen=True)
class Item:
    """One object of a deployment. `wanted` is it as the manifest has it, `before` as it was (None:
    it was not there), `after` as the server says it will be. `begun`: an earlier run of a
    deployment was cut off here. `revision` is that of a Deployment, before; `mark` that of the
    deployment."""

    kind: Kind
    wanted: Object
    before: Object | None
    after: Object
    begun: bool = False
    revision: str = ""
    mark: str = ""

    @property
    def name(self) -> str:
        return str(self.wanted["metadata"]["name"])

    @property
    def namespace(self) -> str | None:
        found: str | None = self.wanted["metadata"].get("namespace")
        return found

    @property
    def key(self) -> tuple[str, str | None, str]:
        return self.kind.resource, self.namespace, self.name

    @property
    def uid(self) -> str:
        """Of the object that was there; "": there was none."""
        there = self.begun or self.before is not None
        return str(self.after["metadata"]["uid"]) if there else ""

    @property
    def label(self) -> str:
        return f"{self.kind.kind} {self.name}"

    @functools.cached_property
    def diff(self) -> str:
        return difference(self.before, self.after, self.label)

    @property
    def change(self) -> str:
        if self.before is None:
            return "created"
        return "changed" if self.diff else "unchanged"

    @property
    def workload(self) -> bool:
        return self.kind.resource in WORKLOADS

    def images(self) -> list[dict[str, str]]:
        """Its containers, with the images before and after."""
        old = {one["name"]: one["image"] for one in containers(self.before or {})}
        return [
            {"object": self.label, "container": one["name"], "before": old.get(one["name"], ""),
             "after": one["image"]}
            for one in containers(self.after)
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Work:
    """One deployment, also where it is taken up again: its `mark`, and when it began at the
    earliest (Unix seconds)."""

    mark: str
    began: float = 0.0

    def made(self, note: str, live: Object) -> bool:
        """Has it made this object, as its note says? Whoever forges the note, an object that is
        older was not made by it."""
        made = datetime.fromisoformat(live["metadata"]["creationTimestamp"]).timestamp()
        return note == NEW + self.mark and made >= self.began - SKEW_SECONDS


async def plan(
    place: Place, objects: Sequence[Object], namespace: str, work: Work, *, take_over: bool
) -> tuple[Item, ...]:
    """All of it, asked of the server as a dry run. Denied: out of bounds. BadInput names each
    object that the server would refuse, or that would never change. Other objects first, workloads
    last, so that a pod finds what it mounts; else in the order of the manifest."""
    if len(objects) > MOST:
        raise BadInput(f"the manifest holds {len(objects)} objects", f"at most {MOST}")
    placed = [await _placed(place, one, namespace) for one in objects]
    found: list[Item] = []
    refused: list[PilotageError] = []
    for kind, wanted in placed:
        try:
            item = await _asked(place, kind, wanted, work, take_over=take_over)
            _check_moves(item)
            found.append(item)
        except ApiError as error:
            refused.append(_said(error, f"{kind.kind} {wanted['metadata']['name']}"))
        except BadInput as wrong:
            refused.append(wrong)
    if refused:
        raise _refusal(refused, len(placed))
    return tuple(sorted(found, key=lambda one: one.workload))


def namespace_of(object: Object, namespace: str) -> str:
    """Where the object, or the call that names `namespace`, says that it is; "": neither does."""
    meta = object["metadata"]
    where = str(meta.get("namespace") or namespace)
    if namespace and where != namespace:
        label = f"the {object['kind']} {meta['name']}"
        what = f"{label} says it is in {where}, the call says {namespace}"
        raise BadInput(what, "leave one of them out")
    return where


async def _placed(place: Place, object: Object, namespace: str) -> tuple[Kind, Object]:
    """The object in its namespace, if it may be touched."""
    kind = await place.discovery.kind(f"{object['apiVersion']}/{object['kind']}")
    meta = dict(object["metadata"])
    label = f"{kind.kind} {meta['name']}"
    if kind.resource == "secrets":
        what = f"the manifest holds the {label}: Secrets are not written by tools"
        raise Denied(what, "kubectl create secret, or a secret store")
    check_head(meta, f"the {label}")
    where = None
    if kind.namespaced:
        where = meta["namespace"] = namespace_of(object, namespace) or place.namespace
    place.check(kind, where)
    return kind, {**object, "metadata": meta}


async def _asked(place: Place, kind: Kind, wanted: Object, work: Work, *, take_over: bool) -> Item:
    meta = wanted["metadata"]
    try:
        live = await place.client.get(kind, meta["name"], meta.get("namespace"))
    except NotFound:
        live = None
    after = await place.client.apply(kind, wanted, manager=MANAGER, force=take_over, dry_run=True)
    was, mark = revision(live or {}), work.mark
    if live is None:
        return Item(kind, wanted, None, after, revision=was, mark=mark)
    note = _notes(live).get(BEFORE)
    if note is not None and work.made(note, live):
        return Item(kind, wanted, None, after, begun=True, revision=was, mark=mark)
    if not note or note.startswith(NEW):  # of another deployment, or forged: it is there now
        before = restorable(live, wanted)
        return Item(kind, wanted, before, after, revision=was, mark=mark)
    before = _read(note, wanted, live, f"{kind.kind} {meta['name']}")
    return Item(kind, wanted, before, after, begun=True, revision=was, mark=mark)


def _check_moves(item: Item) -> None:
    """BadInput: the cluster would delete by what it says; or its pods would stay as they are,
    however long somebody waits for them."""
    spec = item.after.get("spec") or {}
    old = (item.before or {}).get("spec") or {}
    if item.before is not None and (found := deleting(item.kind, spec, old)):
        word, lost = found
        what = f"{item.label} is there with another {word}, by which the cluster deletes {lost}"
        raise BadInput(what, f"leave it as it is, take another name, or delete {item.label} first")
    if item.kind.kind != "Deployment" or not spec.get("paused"):
        return
    if old.get("template") != spec["template"]:
        what = f"{item.label} is paused (spec.paused): no pod of it would change"
        raise BadInput(what, f"kubectl rollout resume deployment/{item.name} -n {item.namespace}")


def deleting(kind: Kind, spec: Mapping[str, Any], old: Mapping[str, Any]) -> tuple[str, str] | None:
    """The field that `spec` has otherwise than `old`, by which the cluster would delete the object
    or its volumes later, and which: who may write what is there may not do that."""
    word, lost = _DELETING.get(kind.resource, ("", ""))
    given = spec.get(word, _ABSENT)
    keeps = isinstance(given, dict) and "Delete" not in given.values()
    left = word == TTL and old.get(TTL) == HELD_SECONDS
    return None if keeps or left or given == old.get(word, _ABSENT) else (word, lost)


def _read(noted: str, wanted: Object, live: Object, label: str) -> Object:
    """What a note says of the object that it stands at. Others may have written it, and the cluster
    deletes by owners and finalizers: those are the ones that are there."""
    try:
        found = msgspec.json.decode(noted, type=dict[str, Any])
        there = {key: found[key] for key in ("apiVersion", "kind")}
        there |= {key: found["metadata"].get(key) for key in ("name", "namespace")}
    except (msgspec.DecodeError, RecursionError, KeyError, AttributeError, TypeError):
        found, there = {}, {}
    meta = wanted["metadata"]
    own = {"apiVersion": wanted["apiVersion"], "kind": wanted["kind"], "name": meta["name"]}
    if there != {**own, "namespace": meta.get("namespace")}:
        what = f"the annotation {BEFORE} of the {label} says nothing about it"
        raise BadInput(what, "who wrote it? remove it, and deploy again")
    said = {key: one for key, one in found["metadata"].items() if key not in _NOT_OF_A_NOTE}
    here = {key: live["metadata"][key] for key in _NOT_OF_A_NOTE if key in live["metadata"]}
    return {**found, "metadata": said | here}


def revision(live: Object) -> str:
    """The number of a Deployment's version; "" where there is none."""
    notes = (live.get("metadata") or {}).get("annotations") or {}
    return str(notes.get("deployment.kubernetes.io/revision", ""))


def noted(item: Item) -> str:
    """What `BEFORE` says of it; BadInput: it is too large to be kept there."""
    text = NEW + item.mark if item.before is None else msgspec.json.encode(item.before).decode()
    if len(text) > NOTE_LIMIT:
        what = f"{item.label} is too large to be kept for the way back ({len(text)} characters)"
        raise BadInput(what, "apply it with kubectl, apart from the deployment")
    return text


def restorable(live: Object, wanted: Object) -> Object:
    """The object as it can be applied again. How many replicas it has is left out where neither the
    manifest nor we ever said it: an autoscaler's number is not ours to restore."""
    found = plain(live)
    found["metadata"].pop("deletionTimestamp", None)
    if "replicas" in (found.get("spec") or {}) and not (
        "replicas" in (wanted.get("spec") or {}) or _ours(live, "f:spec", "f:replicas")
    ):
        found["spec"] = {k: v for k, v in found["spec"].items() if k != "replicas"}
    return found


def _ours(live: Object, *path: str) -> bool:
    """Do we own this field?"""
    for entry in live["metadata"].get("managedFields") or ():
        here: Any = entry.get("fieldsV1") if entry.get("manager") == MANAGER else None
        for step in path:
            here = here.get(step) if isinstance(here, dict) else None
        if here is not None:
            return True
    return False


def _notes(live: Object) -> dict[str, str]:
    return live["metadata"].get("annotations") or {}


def _said(error: ApiError, label: str) -> PilotageError:
    causes = error.details.get("causes") or ()
    owned = [one for one in causes if one.get("reason") == "FieldManagerConflict"]
    if not isinstance(error, Conflict) or not owned:
        return BadInput(f"{label}: {error.what}", error.hint)
    fields = ", ".join(f"{one.get('field')} ({one.get('message')})" for one in owned)
    return BadInput(
        f"{label}: others own fields that the manifest sets: {fields}",
        "leave those fields out of the manifest, or take_over: true makes them ours",
    )


def _refusal(refused: Sequence[PilotageError], all: int) -> PilotageError:
    if len(refused) == 1:
        first = refused[0]
        return BadInput(f"{first.what}; nothing has changed", first.hint)
    each = "; ".join(one.what for one in refused)
    what = f"{counted(len(refused), 'object')} of {all} would be refused, and nothing has changed"
    return BadInput(f"{what}: {each}", refused[0].hint)
