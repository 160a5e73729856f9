"""Apply what was planned, wait for it, and go back to what was there if it does not come up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilotage.domain.call import LET_GO
from pilotage.domain.errors import PilotageError
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.difference import plain
from pilotage.kubernetes.errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from pilotage.kubernetes.kind import JOB, POD, Object
from pilotage.kubernetes.plan import BEFORE, HELD_SECONDS, MANAGER, TTL, Item, noted, revision
from pilotage.kubernetes.rollout import ready, standing
from pilotage.kubernetes.waiting import NotUp, Rollouts, Tell

BACK_SECONDS = 120.0
"""How long is waited for what was there before to be up again."""
_KEPT = ("namespaces", "persistentvolumeclaims", "customresourcedefinitions.apiextensions.k8s.io")
"""Not removed on the way back: others may have put something there meanwhile."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was looked at, whether it holds, and what was seen."""

    name: str
    passed: bool
    said: str


Check = Callable[[Sequence[Object]], Awaitable[Checked]]
"""Takes the pods of the new version."""


@dataclass(frozen=True, slots=True)
class Step:
    """New pods beside the others, and how they did. `percent` is the share that was asked for."""

    percent: int
    pods: str
    checks: list[Checked]
    passed: bool


@dataclass
class Release:
    """One deployment under way. What it holds is what its answer says."""

    client: Client
    items: tuple[Item, ...]
    tell: Tell
    seconds: float
    take_over: bool = False
    steps: list[Step] = field(default_factory=list)
    applied: list[Item] = field(default_factory=list)
    extra: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    """What has come up with no pod, or has left some as they were, and why."""
    uids: dict[tuple[str, str | None, str], str] = field(default_factory=dict)
    """Of what was applied: an object that is gone is not made again."""
    gone: list[Item] = field(default_factory=list)
    """Jobs that are not there any more; another of the name is not waited for."""
    blocked: list[Item] = field(default_factory=list)
    """What will not come up again by itself."""
    rolled_back: bool = False
    revisions: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.applied = [one for one in self.items if one.begun]
        self.rollouts = Rollouts(self.client, self.tell, self.seconds)

    async def apply(self, item: Item) -> None:
        """As the manifest has it, with the way back noted at the object until `settle`. NotUp: a
        Job that was there is gone."""
        wanted = item.wanted
        if item.change != "unchanged":
            wanted = _under_way(item)
            if item not in self.applied:
                self.applied.append(item)
        made = await self._put(item, wanted, item.uid if _is_job(item) else "", self.take_over)
        if made is None:
            self._vanished(item)
        else:
            self.uids[item.key] = made["metadata"]["uid"]
            self.tell(f"{item.label}: {item.change}")

    async def _put(self, item: Item, wanted: Object, uid: str, force: bool) -> Object | None:
        """The object as it is now; None: that of this `uid` is gone, and is not made again."""
        if uid:
            wanted = {**wanted, "metadata": {**wanted["metadata"], "uid": uid}}
        try:
            return await self.client.apply(item.kind, wanted, manager=MANAGER, force=force)
        except (Conflict, NotFound, Invalid):
            if uid and await self._gone(item, uid):
                return None
            raise

    async def _gone(self, item: Item, uid: str) -> bool:
        """Is the object of this uid not there any more, also where another of its name is?"""
        try:
            live = await self.client.get(item.kind, item.name, item.namespace)
        except NotFound:
            return True
        return bool(live["metadata"]["uid"] != uid)

    def _vanished(self, item: Item) -> None:
        """A Job that was complete when it was planned may go. NotUp: nobody saw how this ended."""
        self.gone.append(item)
        if not standing(item.after).done:
            raise NotUp(
                f"{item.label} is gone, and how it ended was not seen: somebody deleted it, or the "
                f"cluster did by its {TTL}; leave that out of the manifest, or let it be longer"
            )
        self.tell(f"{item.label}: was complete, and is gone by now")

    async def wait(self, item: Item) -> None:
        """Until it is rolled out."""
        if item in self.gone:
            return
        try:
            live = await self.rollouts.wait(item.kind, item.name, item.namespace)
        except NotFound:
            if not _is_job(item):
                raise
            self._vanished(item)
            return
        if _is_job(item) and live["metadata"]["uid"] != self._uid(item):
            self._vanished(item)
        if why := standing(live).idle:
            self.idle.append(f"{item.label} {why}")
        if live["kind"] == "Deployment":
            self.revisions.append(
                {"object": item.label, "before": item.revision, "after": revision(live)}
            )

    async def settle(self) -> None:
        """It has come up: the way back is forgotten. Jobs come last: the cluster may collect them
        from then on."""
        for item in sorted(self.applied, key=_is_job):
            if await self._put(item, item.wanted, self._uid(item), self.take_over) is None:
                self.tell(f"{item.label}: somebody has deleted it meanwhile")

    def _uid(self, item: Item) -> str:
        return self.uids.get(item.key, item.uid)

    async def undo(self, *, wait: bool) -> str:
        """Back to what was there. In words, what could not be put back, or is not up again; "":
        all is well. `rolled_back` says that all was put back."""
        left: list[str] = []
        self.tell("goes back to what was there before")
        for remove in self.extra:
            await _tried(remove(), "the canary", left)
        for item in reversed(self.applied):
            await _tried(self._restore(item), item.label, left)
        self.rolled_back = not left
        words = [f"not everything could be put back: {'; '.join(left)}"] if left else []
        if wait and (down := await self._down()):
            words.append(f"what was there before is not up again: {down}")
        return "; ".join(words)

    async def _down(self) -> str:
        """What of that which was put back does not come up."""
        down: list[str] = []
        patient = Rollouts(self.client, self.tell, min(self.seconds, BACK_SECONDS))
        for item in self.applied:
            waits = item.workload and not _is_job(item) and item not in self.blocked
            if waits and item.before is not None:
                await _tried(patient.wait(item.kind, item.name, item.namespace), item.label, down)
        return "; ".join(down)

    async def _restore(self, item: Item) -> None:
        uid = self._uid(item)
        if item.before is not None:
            stuck = await self._stuck(item)
            if await self._put(item, item.before, uid, True) is None:
                self.tell(f"{item.label}: somebody has deleted it meanwhile, and so it stays")
                return
            self.tell(f"{item.label}: as it was")
            await self._unstick(item, stuck)
        elif item.kind.resource in _KEPT:
            forgotten = {"metadata": {"annotations": {BEFORE: None}}}
            await self.client.patch(item.kind, item.name, forgotten, item.namespace)
            self.tell(f"{item.label} is new and stays: others may use it")
        else:
            try:
                await self.client.delete(item.kind, item.name, item.namespace, uid=uid or None)
            except NotFound:
                return
            except Conflict:
                if uid and await self._gone(item, uid):
                    return
                raise
            self.tell(f"{item.label}: removed, it was not there before")

    async def _stuck(self, item: Item) -> list[Object]:
        """Pods of its new version that never became ready: a StatefulSet waits for them also on its
        way back (kubernetes/kubernetes#67250); other workloads remove them by themselves."""
        if item.before is None or item.kind.kind != "StatefulSet":
            return []
        try:
            live = await self.client.get(item.kind, item.name, item.namespace)
            if plain(live)["spec"]["template"] == item.before["spec"]["template"]:
                return []
            return [pod for pod in await self.rollouts.pods(live) if not ready(pod)]
        except NotFound:
            return []
        except ApiError as error:
            self.tell(f"{item.label}: pods that keep it from going back cannot be seen: {error}")
            return []

    async def _unstick(self, item: Item, stuck: Sequence[Object]) -> None:
        """NotUp: with no right to delete its pods it will not come up, and nobody waits for it."""
        names = [str(pod["metadata"]["name"]) for pod in stuck]
        for pod, name in zip(stuck, names, strict=True):
            try:
                await self.client.delete(POD, name, item.namespace, uid=pod["metadata"]["uid"])
            except (NotFound, Conflict):  # it is gone, or another by now
                continue
            except Forbidden as error:
                self.blocked.append(item)
                raise NotUp(
                    "it is as it was, but its pods that never became ready keep it from coming up, "
                    f"and may not be deleted ({error.what}): grant delete on pods, or kubectl "
                    f"delete pod {' '.join(names)} -n {item.namespace}"
                ) from None


def _is_job(item: Item) -> bool:
    return item.kind.resource == JOB.resource


def _under_way(item: Item) -> Object:
    """The object of the manifest while the deployment is not over."""
    meta, spec = dict(item.wanted["metadata"]), item.wanted.get("spec") or {}
    meta["annotations"] = {**(meta.get("annotations") or {}), BEFORE: noted(item)}
    wanted = {**item.wanted, "metadata": meta}
    if _is_job(item) and item.before is None and spec.get(TTL) is not None:
        wanted["spec"] = {**spec, TTL: max(spec[TTL], HELD_SECONDS)}
    return wanted


async def released(release: Release, work: Callable[[Release], Awaitable[None]]) -> str:
    """Do it; "": it is done. Else why not, and everything is as it was, if `rolled_back`. Who
    cancels it gets the same; a process that lets it go leaves it to the next."""
    try:
        await work(release)
        await release.settle()
    except asyncio.CancelledError as cancelled:
        if LET_GO not in cancelled.args:
            await asyncio.shield(release.undo(wait=False))
        raise
    except PilotageError as error:
        more = await release.undo(wait=True)
        return f"{error.what}; {more}" if more else error.what
    except Exception:
        await release.undo(wait=False)
        raise
    return ""


async def rolling(release: Release, checks: Sequence[Check]) -> None:
    """Each workload's own rolling update; what is asked of the new pods comes after it."""
    for item in release.items:
        if not item.workload:
            await release.apply(item)
    await rolled(release, checks)


async def rolled(release: Release, checks: Sequence[Check]) -> None:
    """The workloads alone."""
    workloads = [one for one in release.items if one.workload]
    for item in workloads:
        await release.apply(item)
    for item in workloads:
        await release.wait(item)
    if not checks:
        return
    pods: list[Object] = []
    for item in workloads:
        if item.kind.kind != "Job":
            live = await release.client.get(item.kind, item.name, item.namespace)
            pods += await release.rollouts.pods(live)
    found = [await check(pods) for check in checks]
    release.steps.append(Step(100, f"all {len(pods)}", found, all(one.passed for one in found)))
    held(found, "the new version")


def held(found: Sequence[Checked], what: str) -> None:
    """NotUp: one does not hold."""
    if bad := [f"{one.name}: {one.said}" for one in found if not one.passed]:
        raise NotUp(f"{what} does not hold: {'; '.join(bad)}")


async def _tried(work: Awaitable[Any], label: str, left: list[str]) -> None:
    try:
        await work
    except PilotageError as error:
        left.append(f"{label}: {error.what}")
