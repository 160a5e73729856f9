"""Leader election by a Lease: at most one process acts, and another takes over when it is gone.

Whether a lease has run out is judged by our own clock alone: since when has the record not changed?
No clock of another host counts. The clock goes on while the machine sleeps or we are frozen. Each
call is bounded, so that whoever cannot renew knows it before others may take over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pilotage.domain.errors import BadInput, PilotageError
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import ApiError, Conflict, NotFound
from pilotage.kubernetes.kind import LEASE, Object

READS = ("GET", "HEAD")
_log = logging.getLogger(__name__)


class Lost(PilotageError):
    """We lead no more. Nothing may be written; the process ends."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: others wait `duration` before they take over; whoever leads gives up after `renew`
    without a renewal; `retry` is the time between two tries."""

    duration: float = 15.0
    renew: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew < self.duration:
            what = f"lease of {self.duration:g}/{self.renew:g}/{self.retry:g} s"
            raise BadInput(what, "duration > renew > retry > 0, or two could lead at once")


def identity() -> str:
    """Who we are: no two processes are the same, not even one and its own restart."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


def boot_clock() -> float:
    """Seconds that also pass while the machine sleeps, where the system can tell."""
    which = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if which is None else time.clock_gettime(which)


class Election:
    """One process' part in the election for the Lease `namespace`/`name`. `client` is its own, so
    that nothing else holds its calls up."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        *,
        times: Times = Times(),
        me: str = "",
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self.me, self.times = me or identity(), times
        self._client, self._namespace, self._name, self._clock = client, namespace, name, clock
        self._record: Object | None = None
        self._seen = float("-inf")
        self._renewed: float | None = None
        self._ended = False
        self._wrong = ""

    @property
    def leads(self) -> bool:
        """May we write at this very moment?"""
        renewed = self._renewed
        alive = renewed is not None and not self._ended
        return alive and self._clock() - (renewed or 0.0) < self.times.renew

    @property
    def over(self) -> bool:
        """For Transport.shut: have we led, and do no more? Not one byte may leave then."""
        return self._ended or (self._renewed is not None and not self.leads)

    def fence(self, method: str) -> None:
        """For Transport.fence: who does not lead writes nothing. Lost."""
        if method not in READS and not self.leads:
            raise Lost(f"{self._name}: this process leads no more", "another one does its work")

    async def acquire(self) -> None:
        """Wait until we lead."""
        said: str | None = None
        while not await self._try_within(self.times.renew):
            holder = self.holder()
            if holder != said:
                _log.info("%s: %s leads, we wait", self._name, holder or "nobody")
                said = holder
            await asyncio.sleep(self.times.retry * random.uniform(0.3, 0.5))
        _log.info("%s: %s leads", self._name, self.me)

    async def hold(self) -> None:
        """Renew for as long as that works. Lost."""
        while True:
            await asyncio.sleep(self.times.retry)
            while not await self._try_within(self._left()):
                taken = self._record is not None and self.holder() != self.me
                if taken or self._left() <= 0:
                    self._ended = True
                    holder = self.holder() or "nobody"
                    why = f"{holder} holds it" if taken else "it was not renewed in time"
                    hint = "the process ends, and starts anew as one who waits"
                    raise Lost(f"{self._name}: the lease is lost: {why}", hint)
                await asyncio.sleep(min(self.times.retry / 4, max(0.0, self._left())))

    async def release(self) -> None:
        """Give it up so that another takes over at once. Nothing may be written after this."""
        leads, self._ended = self.leads, True
        if not leads:
            return
        try:
            async with asyncio.timeout(self.times.retry):
                await self._give_up()
            _log.info("%s: released", self._name)
        except (ApiError, TimeoutError) as error:
            _log.warning("%s: not released, it runs out by itself: %s", self._name, error)

    async def _give_up(self) -> None:
        """On what is there now: a renewal whose answer we did not wait for may have been done."""
        self._look(await self._client.get(LEASE, self._name, self._namespace))
        if self._record is not None and self.holder() == self.me:
            freed = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
            await self._put({**self._record["spec"], **freed})

    def holder(self) -> str:
        """Who leads, as far as we know; "" for nobody."""
        spec = (self._record or {}).get("spec") or {}
        return str(spec.get("holderIdentity") or "")

    def _left(self) -> float:
        """Seconds until we have to give up."""
        renewed = self._renewed if self._renewed is not None else float("-inf")
        return self.times.renew - (self._clock() - renewed)

    async def _try_within(self, seconds: float) -> bool:
        """Take or renew it, in one bounded try. Do we lead?"""
        try:
            async with asyncio.timeout(max(0.0, min(seconds, self.times.renew / 2))):
                leads = await self._try()
        except Conflict:
            self._record = None  # somebody was faster: look again
        except (ApiError, TimeoutError) as error:
            if isinstance(error, NotFound):
                self._record = None  # somebody has deleted it
            self._complain(str(error) or "no answer in time")
        else:
            self._wrong = ""
            return leads
        return False

    def _complain(self, why: str) -> None:
        """Once for each thing that is wrong, not at each try."""
        if why != self._wrong:
            _log.warning("%s: the lease cannot be reached: %s", self._name, why)
        self._wrong = why

    async def _try(self) -> bool:
        began = self._clock()  # what we renew holds from before the call, not from its answer
        if not (self.leads and self._record is not None):
            try:
                self._look(await self._client.get(LEASE, self._name, self._namespace))
            except NotFound:  # for who knew the record, its holder has its time all the same
                if self._waits():
                    return False
                self._look(await self._client.create(LEASE, self._object(self._spec({}))))
                self._renewed = began
                return True
            if self._waits():
                return False
        assert self._record is not None
        await self._put(self._spec(self._record.get("spec") or {}))
        self._renewed = began
        return True

    def _waits(self) -> bool:
        """Does another hold it, whose record has not stayed the same for its own duration by our
        clock?"""
        if self._record is None or self.holder() in ("", self.me):
            return False
        length = float(self._record["spec"].get("leaseDurationSeconds") or self.times.duration)
        return self._clock() - self._seen <= length

    def _look(self, record: Object) -> None:
        old = (self._record or {}).get("metadata", {}).get("resourceVersion")
        if record["metadata"]["resourceVersion"] != old:
            self._seen = self._clock()
        self._record = record

    def _spec(self, old: dict[str, Any]) -> dict[str, Any]:
        mine, at = old.get("holderIdentity") == self.me, _now()
        changes = int(old.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self.me,
            "leaseDurationSeconds": max(1, math.ceil(self.times.duration)),
            "acquireTime": old.get("acquireTime") if mine else at,
            "renewTime": at,
            "leaseTransitions": changes if mine or not old else changes + 1,
        }

    async def _put(self, spec: dict[str, Any]) -> None:
        """With the resourceVersion of what we saw: Conflict if anybody was faster."""
        assert self._record is not None
        version = self._record["metadata"]["resourceVersion"]
        self._look(await self._client.update(LEASE, self._object(spec, version)))

    def _object(self, spec: dict[str, Any], version: str | None = None) -> Object:
        meta = {"name": self._name, "namespace": self._namespace}
        meta |= {} if version is None else {"resourceVersion": version}
        kind = {"apiVersion": LEASE.api_version, "kind": LEASE.kind}
        return {**kind, "metadata": meta, "spec": spec}


def _now() -> str:
    """As people and other tools read it; nothing of ours is judged by it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def namespace_of_pod(file: str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace") -> str:
    """Where a pod's Lease lies; "" outside of a pod."""
    try:
        with open(file, encoding="ascii") as text:
            return text.read().strip()
    except OSError:
        return os.environ.get("POD_NAMESPACE", "")
