"""Take away what we have made, with its pods, and say what is left if that does not work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import ApiError, NotFound
from pilotage.kubernetes.kind import Kind, Object

SECONDS = 20.0
"""How long is waited for the end of its pods, and for a server that does not answer."""
LATE_SECONDS = 3.0
"""How much later than its request broke off an object may still appear."""
PAUSE_SECONDS = 0.5


@dataclass
class Removal:
    """Of one object, by its name, if it is `ours`. `why`: what keeps it, so far."""

    client: Client
    kind: Kind
    name: str
    namespace: str
    ours: Callable[[Object], bool]
    why: str = "the cluster does not answer"

    async def done(self, *, late: bool = False) -> str:
        """In words, what is left; "": nothing of ours. `late`: it may not have appeared yet."""
        try:
            async with asyncio.timeout(SECONDS):
                await self._gone(LATE_SECONDS if late else 0.0)
        except TimeoutError:
            label = f"the {self.kind.kind} {self.name} in {self.namespace}"
            return f"{label} could not be removed, and may still run: {self.why}"
        return ""

    async def _gone(self, late: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + late
        while True:
            try:
                if not await self._asked():
                    return
            except NotFound:
                if loop.time() >= end:
                    return
            except ApiError as error:
                self.why = error.what
            await asyncio.sleep(PAUSE_SECONDS)

    async def _asked(self) -> bool:
        """Is it there, and ours? Then its end has begun, and it stays until its pods are gone."""
        live = await self.client.get(self.kind, self.name, self.namespace)
        if not self.ours(live):
            return False
        self.why = "its pods take long to end"
        meta = live["metadata"]
        if "deletionTimestamp" not in meta:
            await self.client.delete(
                self.kind, self.name, self.namespace, uid=meta["uid"], propagation="Foreground"
            )
        return True
