"""Events that people see in `kubectl describe`: told once for each transition, never in a storm.

They are a courtesy: one that cannot be written is counted and forgotten, and nothing waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pilotage.domain.errors import PilotageError
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.kind import EVENT, Object
from pilotage.operator.runtime.lease import Lost

OBJECTS = 4_096
"""Objects whose last events are remembered."""
WAITING = 256
BURST, REFILL_SECONDS = 25.0, 300.0
"""An object may have so many at once, and one more each five minutes: as client-go."""
NOTE_LIMIT = 1_024
_log = logging.getLogger(__name__)
Weight = Literal["Normal", "Warning"]


@dataclass(slots=True)
class _Told:
    """What was told of an object last, and how much may still be told."""

    last: tuple[str, str, str]
    tokens: float
    at: float


class Recorder:
    """`component` is who speaks, `instance` which process of it."""

    def __init__(
        self,
        client: Client,
        component: str,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dropped = 0
        self._client, self._clock = client, clock
        self._component, self._instance = component, instance[:128]
        self._told: OrderedDict[str, _Told] = OrderedDict()
        self._waiting: deque[Object] = deque()
        self._news, self._writing = asyncio.Event(), asyncio.Lock()

    def event(
        self, object: Object, weight: Weight, reason: str, note: str, action: str = "Reconcile"
    ) -> None:
        """Tell of a transition of `object`. The same as the last time is not told again; nor is
        anything beyond its share."""
        note = note if len(note) <= NOTE_LIMIT else note[: NOTE_LIMIT - 1] + "…"
        if not self._new(str(object["metadata"].get("uid") or ""), weight, reason, note):
            return
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(self._event(object, weight, reason, note, action))
        self._news.set()

    async def run(self) -> None:
        """Write them, one after the other, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write what waits; when it returns, all of it is out, also what `run` had at hand."""
        async with self._writing:
            while self._waiting:
                await self._write(self._waiting.popleft())

    async def _write(self, event: Object) -> None:
        try:
            await self._client.create(EVENT, event)
        except Lost:
            self.dropped += 1  # another process tells of it now
        except PilotageError as error:
            self.dropped += 1
            _log.warning("an event of %s is not written: %s", event["regarding"], error)

    def _new(self, uid: str, weight: str, reason: str, note: str) -> bool:
        now, said = self._clock(), (weight, reason, note)
        told = self._told.pop(uid, None) or _Told(("", "", ""), BURST, now)
        self._told[uid] = told
        if len(self._told) > OBJECTS:
            self._told.popitem(last=False)
        if told.last == said:
            return False
        told.tokens = min(BURST, told.tokens + (now - told.at) / REFILL_SECONDS)
        told.at = now
        if told.tokens < 1:
            self.dropped += 1
            return False
        told.tokens -= 1
        told.last = said
        return True

    def _event(self, object: Object, weight: str, reason: str, note: str, action: str) -> Object:
        meta = object["metadata"]
        namespace = meta.get("namespace") or "default"
        regarding = {
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "name": meta["name"],
            "uid": meta.get("uid"),
            "resourceVersion": meta.get("resourceVersion"),
        }
        if "namespace" in meta:
            regarding["namespace"] = namespace
        name = f"{meta['name'][:200]}.{uuid.uuid4().hex[:16]}"
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": self._component,
            "reportingInstance": self._instance,
            "action": action[:128],
            "reason": reason[:128],
            "regarding": {key: value for key, value in regarding.items() if value},
            "note": note,
            "type": weight,
        }
