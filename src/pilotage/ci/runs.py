"""Runs of a server: started once, followed through every break of the connection.

A run is followed by the numbers of its events, so that whoever comes back asks for what follows
the last one he has. That the server is restarted meanwhile makes no difference.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, BinaryIO
from urllib.parse import quote

import msgspec

from pilotage.ci.client import Client
from pilotage.domain.errors import Busy, NotFound, Unavailable
from pilotage.domain.run import RunState

RUNS = "/api/v2/runs"
GIVE_UP_SECONDS = 600.0
"""So long a server may be away before whoever follows a run stops to wait for it."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
START_WAITS = (0.5, 2.0)


class RunsThere:
    """`tell` is given a line when the connection breaks, and when it is back."""

    def __init__(self, client: Client, tell: Callable[[str], None]) -> None:
        self._client, self._tell = client, tell

    async def start(self, body: Mapping[str, Any], key: str) -> dict[str, Any]:
        """The run that has this key (see server/routes/runs.py for `body` and the answer). It is
        asked for again where no answer comes: the key makes it the same run."""
        headers = {"Idempotency-Key": key}
        for wait in START_WAITS:
            try:
                return await self._client.post(RUNS, body, headers)
            except Unavailable:
                await asyncio.sleep(wait)
        return await self._client.post(RUNS, body, headers)

    async def one(self, run: str, *, results: bool = False) -> dict[str, Any]:
        """How it stands."""
        more = {"results": "true"} if results else {}
        return await self._client.get(f"{RUNS}/{quote(run, safe='')}", **more)

    async def newest(self, **wanted: str | int) -> list[dict[str, Any]]:
        """The newest first."""
        found: list[dict[str, Any]] = (await self._client.get(RUNS, **wanted))["runs"]
        return found

    async def find(self, start: str) -> str:
        """The run whose id is or begins with `start`."""
        found = await self.newest(begins=start, limit=2) if start else []
        if len(found) != 1:
            what = f"more than one run begins with {start!r}" if found else f"no run {start!r}"
            raise NotFound(what, "pilotage runs list")
        return str(found[0]["id"])

    async def say(self, verb: str, run: str, step: str | None, reason: str) -> dict[str, Any]:
        """Approve, reject, resume or cancel; the answer's `seq` is where to listen from."""
        body = {"reason": reason} if step is None else {"reason": reason, "step": step}
        return await self._client.post(f"{RUNS}/{quote(run, safe='')}/{verb}", body)

    async def artifacts(self, run: str) -> list[dict[str, Any]]:
        """The files of its steps."""
        answer = await self._client.get(f"{RUNS}/{quote(run, safe='')}/artifacts")
        found: list[dict[str, Any]] = answer["artifacts"]
        return found

    async def fetch(self, href: str, into: BinaryIO) -> None:
        """One of these files."""
        await self._client.fetch(href, into)

    async def events(
        self, run: str, after: int = -1, *, settled: bool = False
    ) -> AsyncIterator[dict[str, Any]]:
        """What happens after event `after`, until the run has ended; `settled`: or waits for a
        person. Each event once, however often the connection breaks."""
        away = _Away(self._tell)
        path = f"{RUNS}/{quote(run, safe='')}/events"
        until = "settled" if settled else "ended"
        while True:
            try:
                async for _, data in self._client.stream(path, after=after, until=until):
                    away.back()
                    shown = msgspec.json.decode(data, type=dict[str, Any])
                    after = int(shown["seq"])
                    yield shown
                if await self._over(run, after, settled=settled):
                    return
            except (Unavailable, Busy) as error:
                await away.wait(error)
            else:
                await asyncio.sleep(FIRST_WAIT)

    async def _over(self, run: str, after: int, *, settled: bool) -> bool:
        stands = await self.one(run)
        rest = (RunState.ENDED, RunState.WAITING) if settled else (RunState.ENDED,)
        return stands["state"] in rest and int(stands["seq"]) <= after


class _Away:
    """A server that cannot be reached: waits longer each time, not for ever."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._since, self._wait = tell, 0.0, FIRST_WAIT

    def back(self) -> None:
        if self._since:
            self._tell("the server is back")
        self._since, self._wait = 0.0, FIRST_WAIT

    async def wait(self, error: Exception) -> None:
        now = time.monotonic()
        if not self._since:
            self._since = now
            self._tell(f"{error}: trying again")
        if now - self._since > GIVE_UP_SECONDS:
            raise error
        await asyncio.sleep(self._wait * random.uniform(0.5, 1.0))
        self._wait = min(LONGEST_WAIT, self._wait * 2)
