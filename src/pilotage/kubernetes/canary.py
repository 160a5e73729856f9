"""A canary: a second Deployment, NAME-canary, with the new version and the same pod labels, so that
the Service sends it its share; a step at a time, each judged, before the Deployment itself is
touched. What is there keeps all its replicas until then."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pilotage.domain.errors import Conflict
from pilotage.domain.text import counted
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import NotFound
from pilotage.kubernetes.kind import DEPLOYMENT, Object
from pilotage.kubernetes.plan import MANAGER, Item
from pilotage.kubernetes.release import Check, Checked, Release, Step, held, rolled
from pilotage.kubernetes.rollout import ready, restarts
from pilotage.kubernetes.waiting import LOOK_SECONDS

WORK = "pilotage/work"
"""The annotation that says of which deployment a canary is."""
TRACK = {"pilotage/track": "canary"}


@dataclass(frozen=True, slots=True)
class Canary:
    """The canary of one Deployment."""

    item: Item
    mark: str

    @property
    def name(self) -> str:
        return f"{self.item.name}-canary"

    @property
    def beside(self) -> int:
        """How many pods of the version that is there it stands beside."""
        return int(self.item.after["spec"].get("replicas", 1))

    def replicas(self, percent: int) -> int:
        """How many of its pods are that share of all, at least one."""
        return max(1, math.ceil(self.beside * percent / (100 - percent)))

    def object(self, percent: int) -> Object:
        """It belongs to the Deployment: who deletes that deletes it too."""
        after = self.item.after
        left_out = ("paused", "replicas", "selector", "template")
        spec = {key: value for key, value in after["spec"].items() if key not in left_out}
        selector, template = after["spec"]["selector"], after["spec"]["template"]
        meta = template.get("metadata") or {}
        labels = {**(meta.get("labels") or {}), **TRACK}
        owner = {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.kind,
            "name": self.item.name,
            "uid": after["metadata"]["uid"],
        }
        return {
            "metadata": {
                "name": self.name,
                "namespace": self.item.namespace,
                "labels": labels,
                "annotations": {WORK: self.mark},
                "ownerReferences": [owner],
            },
            "spec": {
                **spec,
                "replicas": self.replicas(percent),
                "selector": {
                    **selector,
                    "matchLabels": {**(selector.get("matchLabels") or {}), **TRACK},
                },
                "template": {**template, "metadata": {**_plain(meta), "labels": labels}},
            },
        }


def _plain(meta: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in meta.items() if key != "creationTimestamp"}


async def canaries(client: Client, items: Sequence[Item], mark: str) -> list[Canary]:
    """One for each Deployment that was there and whose pods will change. The canary of an earlier
    run of this same deployment is taken over; one of any other is a Conflict."""
    found = [Canary(one, mark) for one in items if _changes(one)]
    for each in found:
        await _check_free(client, each)
        await _apply(client, each, 1, dry_run=True)
    return found


def _changes(item: Item) -> bool:
    before = item.before
    if item.kind != DEPLOYMENT or before is None or not item.after["spec"].get("replicas", 1):
        return False
    return bool(before["spec"]["template"] != item.after["spec"]["template"])


async def _check_free(client: Client, canary: Canary) -> None:
    try:
        there = await client.get(DEPLOYMENT, canary.name, canary.item.namespace)
    except NotFound:
        return
    whose = (there["metadata"].get("annotations") or {}).get(WORK)
    if whose == canary.mark:
        return
    other = "is of another deployment, which may still run" if whose else "is none of ours"
    raise Conflict(
        f"there is a Deployment {canary.name} in {canary.item.namespace}, and it {other}",
        f"kubectl delete deployment {canary.name} -n {canary.item.namespace}, if nobody needs it",
    )


async def _apply(client: Client, canary: Canary, percent: int, *, dry_run: bool = False) -> None:
    await client.apply(
        DEPLOYMENT, canary.object(percent), manager=MANAGER, force=True, dry_run=dry_run
    )


async def _remove(client: Client, canary: Canary) -> None:
    with contextlib.suppress(NotFound):
        await client.delete(DEPLOYMENT, canary.name, canary.item.namespace)


async def stepwise(
    release: Release,
    birds: Sequence[Canary],
    percents: Sequence[int],
    pause: float,
    checks: Sequence[Check],
) -> None:
    """Each step in turn, then the Deployments themselves, then the canaries go."""
    release.extra += [functools.partial(_remove, release.client, one) for one in birds]
    for item in release.items:
        if not item.workload:
            await release.apply(item)
    if not birds:
        release.tell("no canary: no Deployment with pods that run changes them; all at once, then")
    for number, percent in enumerate(percents if birds else (), 1):
        step = await _step(release, birds, percent, pause, checks)
        release.steps.append(step)
        said = "; ".join(f"{one.name}: {one.said}" for one in step.checks)
        release.tell(f"canary step {number} of {len(percents)}, {step.pods}: {said}")
        held(step.checks, f"the canary at {percent} %")
    await rolled(release, () if birds else checks)
    for one in birds:
        await _remove(release.client, one)
        release.tell(f"Deployment {one.name}: removed, its version is everywhere")


async def _step(
    release: Release,
    birds: Sequence[Canary],
    percent: int,
    pause: float,
    checks: Sequence[Check],
) -> Step:
    for one in birds:
        await _apply(release.client, one, percent)
    for one in birds:
        await release.rollouts.wait(DEPLOYMENT, one.name, one.item.namespace)
    count = sum(one.replicas(percent) for one in birds)
    pods = f"{count} new beside {sum(one.beside for one in birds)}"
    release.tell(f"{pods}; looks at them for {pause:g} s")
    found = await _watched(release, birds, count, pause)
    if all(one.passed for one in found):
        now = await _pods(release, birds)
        found += [await check(now) for check in checks]
    return Step(percent, pods, found, all(one.passed for one in found))


async def _watched(
    release: Release, birds: Sequence[Canary], count: int, pause: float
) -> list[Checked]:
    """Are all of them ready, and did none start again? Over at once where that is not so."""
    loop = asyncio.get_running_loop()
    end = loop.time() + pause
    while True:
        pods = await _pods(release, birds)
        up, again = sum(ready(pod) for pod in pods), restarts(pods)
        found = [
            Checked("readiness", up >= count, f"{up} of {counted(count, 'pod')} ready"),
            Checked("restarts", again == 0, counted(again, "restart")),
        ]
        if loop.time() >= end or not all(one.passed for one in found):
            return found
        await asyncio.sleep(min(LOOK_SECONDS, max(0.0, end - loop.time())))


async def _pods(release: Release, birds: Sequence[Canary]) -> list[Object]:
    found: list[Object] = []
    for one in birds:
        live = await release.client.get(DEPLOYMENT, one.name, one.item.namespace)
        found += await release.rollouts.pods(live)
    return found
