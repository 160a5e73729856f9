"""Write the status of our objects: server-side apply, one field manager, and only what is new."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import NotFound
from pilotage.kubernetes.kind import Kind, Object
from pilotage.operator import conditions
from pilotage.operator.conditions import READY, TRUE, Condition
from pilotage.operator.resources import MANAGER
from pilotage.operator.runtime.events import Recorder, Weight

EXPECTED = ("Progressing", "NoTools", "Suspended", "ScaledToZero", "Running", "Waiting")
"""Reasons why something is not so, of which nobody need be warned."""


class StatusWriter:
    """For one kind. `told` is the condition whose transitions are events as well."""

    def __init__(self, client: Client, kind: Kind, events: Recorder, told: str = READY) -> None:
        self._client, self._kind, self._events, self._told = client, kind, events, told

    async def write(
        self, object: Object, said: Iterable[Condition], more: Mapping[str, Any]
    ) -> None:
        """All that is known of it now. What is there already is not written again, so that writing
        brings no change that would bring us back."""
        said, meta = list(said), object["metadata"]
        old: Mapping[str, Any] = object.get("status") or {}
        generation = meta["generation"]
        made = conditions.written(said, old.get("conditions", ()), generation, moment())
        status = {key: value for key, value in more.items() if value is not None}
        status |= {"observedGeneration": generation, "conditions": made}
        if status == old:
            return
        await self._client.apply(
            self._kind,
            {"metadata": identity(object), "status": status},
            manager=MANAGER,
            force=True,
            subresource="status",
        )
        for one in said:
            if one.type == self._told and conditions.turned(conditions.find(old, one.type), one):
                well = one.status == TRUE or one.reason in EXPECTED
                weight: Weight = "Normal" if well else "Warning"
                self._events.event(object, weight, one.reason, one.message or one.reason)

    async def hold(self, object: Object, finalizer: str) -> None:
        """From now on it is deleted only once we have let go of it."""
        if finalizer not in object["metadata"].get("finalizers", ()):
            meta = {**identity(object), "finalizers": [finalizer]}
            await self._client.apply(self._kind, {"metadata": meta}, manager=MANAGER)

    async def let_go(self, object: Object, finalizer: str) -> None:
        """Take our finalizer away, whoever has put it there: a copy of the object brings it along,
        and then another manager owns it. Those of others stay. Conflict: it has changed since."""
        meta = object["metadata"]
        left = [one for one in meta.get("finalizers", ()) if one != finalizer]
        change = {"finalizers": left, "resourceVersion": meta["resourceVersion"]}
        with contextlib.suppress(NotFound):
            await self._client.patch(
                self._kind, meta["name"], {"metadata": change}, meta["namespace"], manager=MANAGER
            )


def identity(object: Object) -> dict[str, Any]:
    """Which object is meant, and no other of its name: with the UID, apply makes none anew."""
    meta = object["metadata"]
    return {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}


def moment(at: datetime | None = None) -> str:
    """A time as Kubernetes writes it, to the second."""
    return (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since(text: str | None) -> float:
    """Seconds since such a time; 0 where there is none."""
    if not text:
        return 0.0
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds())
