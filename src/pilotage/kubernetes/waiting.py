"""Wait until a workload is rolled out; where it cannot be, say why as soon as that is sure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from pilotage.domain.errors import PilotageError
from pilotage.domain.text import cut, visible
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import ApiError
from pilotage.kubernetes.kind import CORE_EVENT, POD, REPLICA_SET, Kind, Object
from pilotage.kubernetes.rollout import Standing, Trouble, selector, standing, trouble

Tell = Callable[[str], None]
LOOK_SECONDS = 1.0
LOG_LINES, LOG_BYTES = 5, 2_000
_REVISION = "deployment.kubernetes.io/revision"
_DAEMON_REVISION = "deprecated.daemonset.template.generation"


class NotUp(PilotageError):
    """A workload does not come up, or does not hold what was asked of it; `what` says why."""

    exit = 1


class Rollouts:
    """Looks at workloads of one cluster. `tell` hears each change, `seconds` are for one wait."""

    def __init__(self, client: Client, tell: Tell, seconds: float) -> None:
        self._client, self._tell, self._seconds = client, tell, seconds

    async def wait(self, kind: Kind, name: str, namespace: str | None) -> Object:
        """The workload when it is rolled out. NotUp: it will not be, or not in time."""
        label, said, last = f"{kind.kind} {name}", "", ""
        loop = asyncio.get_running_loop()
        end, bad_since = loop.time() + self._seconds, 0.0
        while True:
            live = await self._seen(kind, name, namespace)
            if live is not None:
                now, found = standing(live), None
                if now.done:
                    self._tell(f"{label}: {now.said}" + (f" ({now.idle})" if now.idle else ""))
                    return live
                found = await self._trouble(live)
                bad_since = 0.0 if found is None else bad_since or loop.time()
                late = found is not None and loop.time() - bad_since >= found.patience
                if now.failed or late:
                    raise NotUp(f"{label} does not come up: {await self._why(live, now, found)}")
                said, last = self._told(label, now, found, said), now.said
            if loop.time() > end:
                why = last if live is None else await self._why(live, now, found)
                raise NotUp(f"{label} is not rolled out after {self._seconds:g} s: {why}")
            await asyncio.sleep(LOOK_SECONDS)

    def _told(self, label: str, now: Standing, found: Trouble | None, before: str) -> str:
        line = f"{label}: {now.said}" + (f"; {visible(found.why)}" if found else "")
        if line != before:
            self._tell(line)
        return line

    async def _seen(self, kind: Kind, name: str, namespace: str | None) -> Object | None:
        """The workload; None where the API server gives no answer for a while."""
        try:
            return await self._client.get(kind, name, namespace)
        except ApiError as error:
            if error.status < 500 and error.status != 429:
                raise
            return None

    async def _trouble(self, live: Object) -> Trouble | None:
        try:
            return trouble(live, await self.pods(live))
        except ApiError:  # no right to see pods, or no answer now
            return trouble(live, ())

    async def _why(self, live: Object, now: Standing, found: Trouble | None) -> str:
        """All that can be said, with the last lines of a container that ended."""
        words = [now.failed or now.said]
        if found is not None:
            words.append(found.why)
            words.append(await self._more(found, str(live["metadata"].get("namespace") or "")))
        return visible(cut("; ".join(word for word in words if word), 2_000))

    async def _more(self, found: Trouble, namespace: str) -> str:
        with contextlib.suppress(ApiError):
            if found.crashed:
                lines = await self._last_lines(found, namespace)
                return f"its last lines: {lines}" if lines else "it wrote nothing"
            if found.unready:
                return await self._probe(found.pod, namespace)
        return ""

    async def _last_lines(self, found: Trouble, namespace: str) -> str:
        text = bytearray()
        log = self._client.log(
            found.pod, namespace, container=found.container, previous=True, tail=LOG_LINES
        )
        async with contextlib.aclosing(log):
            async for piece in log:
                text += piece
                del text[:-LOG_BYTES]  # a line may be as long as somebody likes
        return bytes(text).decode("utf-8", "replace").strip().replace("\n", " | ")

    async def _probe(self, pod: str, namespace: str) -> str:
        """What its probe said last."""
        fields = f"involvedObject.name={pod},reason=Unhealthy"
        page = await self._client.page(CORE_EVENT, namespace, fields=fields, limit=20)
        newest = sorted(page.items, key=lambda one: str(one.get("lastTimestamp") or ""))
        return str(newest[-1].get("message") or "") if newest else ""

    async def pods(self, live: Object) -> list[Object]:
        """The pods of its newest version, those that end left out."""
        namespace = live["metadata"].get("namespace")
        labels, owner = selector(live), live["metadata"]["uid"]
        version: dict[str, str] = {}
        notes = live["metadata"].get("annotations") or {}
        status = live.get("status") or {}
        if live["kind"] == "Deployment":
            owner = await self._newest(owner, labels, namespace)
        elif live["kind"] == "StatefulSet":
            version = {"controller-revision-hash": str(status.get("updateRevision"))}
        elif live["kind"] == "DaemonSet":
            version = {"pod-template-generation": str(notes.get(_DAEMON_REVISION))}
        page = await self._client.list(POD, namespace, labels=labels)
        return [
            pod
            for pod in page.items
            if owner in _owners(pod)
            and version.items() <= (pod["metadata"].get("labels") or {}).items()
            and "deletionTimestamp" not in pod["metadata"]
        ]

    async def _newest(self, owner: str, labels: str, namespace: str | None) -> str:
        """The uid of the newest ReplicaSet of a Deployment; "" where there is none yet."""
        page = await self._client.list(REPLICA_SET, namespace, labels=labels)
        mine = [one for one in page.items if owner in _owners(one)]
        newest = max(mine, key=_revision, default=None)
        return "" if newest is None else str(newest["metadata"]["uid"])


def _owners(object: Object) -> list[str]:
    return [one["uid"] for one in object["metadata"].get("ownerReferences") or ()]


def _revision(one: Object) -> int:
    return int((one["metadata"].get("annotations") or {}).get(_REVISION) or 0)
