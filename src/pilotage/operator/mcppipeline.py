"""MCPPipeline: the definition of a pipeline, and the clock that starts its runs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from pilotage.domain.errors import BadInput
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import AlreadyExists, ApiError, NotFound
from pilotage.kubernetes.kind import Kind, Object
from pilotage.operator.conditions import FALSE, READY, TRUE, Condition
from pilotage.operator.definition import check_bounds
from pilotage.operator.linting import Linter
from pilotage.operator.mcppipelinerun import delete
from pilotage.operator.resources import MANAGER
from pilotage.operator.runtime.informer import Change
from pilotage.operator.runtime.store import Store
from pilotage.operator.status import StatusWriter, moment

BY_PIPELINE = "pipeline"
"""The index of runs: namespace/name of their pipeline."""
AGAIN_SECONDS = 30.0
"""How soon a run is made again that the cluster has refused."""
NAME_LIMIT = 180


@dataclass(frozen=True, slots=True)
class Parts:
    """What reconciling needs. `run` is the kind of the runs that the clock makes."""

    pipelines: Store
    runs: Store
    run: Kind
    client: Client
    status: StatusWriter
    linter: Linter


class Pipelines:
    """Reconciles MCPPipelines."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def reconcile(self, key: str) -> float | None:
        """Start what is due, forget what is over, and say how it stands and when it is due next."""
        object = self._parts.pipelines.get(key)
        if object is None or "deletionTimestamp" in object["metadata"]:
            self._parts.linter.forget(key)
            return None  # its runs are its own: the cluster deletes them with it
        runs = [found for one in self._parts.runs.by(BY_PIPELINE, key) if (found := self._run(one))]
        await self._forget(object, runs)
        active = [one for one in runs if not _ended(one)]
        more: dict[str, Any] = {"active": len(active)}
        ready, due = await self._on_time(object, active, more)
        valid, again = await self._parts.linter.look(object)
        if ready.status == TRUE and valid.status != TRUE:
            ready = replace(valid, type=READY)
        await self._parts.status.write(object, [valid, ready], more)
        return again if due is None else min(again, due)

    async def _on_time(
        self, object: Object, active: list[Object], more: dict[str, Any]
    ) -> tuple[Condition, float | None]:
        """Start what is due. How the clock stands, in `more` as well, and seconds until it is due
        again."""
        last = more["lastScheduleTime"] = (object.get("status") or {}).get("lastScheduleTime")
        plan = object["spec"].get("schedule")
        if plan is None:
            return Condition(READY, TRUE, "Ready", "runs are started by hand"), None
        try:
            check_bounds(object["spec"])
            check_inputs(object["spec"])
            zone_of(plan)
            if plan.get("suspend"):
                what = "spec.schedule.suspend is true"
                return Condition(READY, TRUE, "ScheduleSuspended", what), None
            due, following = times(plan, since(object, last), datetime.now(UTC))
        except BadInput as wrong:
            return Condition(READY, FALSE, "InvalidSchedule", str(wrong)), None
        more["nextScheduleTime"] = moment(following)
        if due is not None:
            try:
                more["active"] += await self._start(object, active, due)
            except ApiError as error:
                what = f"the run of {moment(due)} could not be made: {error.what}"
                return Condition(READY, FALSE, "NotStarted", what), AGAIN_SECONDS
            more["lastScheduleTime"] = moment(due)
        ready = Condition(READY, TRUE, "Scheduled", f"runs at {plan['cron']} ({plan['timeZone']})")
        return ready, max(0.5, (following - datetime.now(UTC)).total_seconds())

    def _run(self, key: str) -> Object | None:
        found = self._parts.runs.get(key)
        return None if found is None or "deletionTimestamp" in found["metadata"] else found

    async def _start(self, object: Object, active: list[Object], due: datetime) -> int:
        """The run of that time, once: its name is made of it. How many more are active then."""
        plan, meta = object["spec"]["schedule"], object["metadata"]
        if active and plan["concurrencyPolicy"] == "Forbid":
            return 0
        if plan["concurrencyPolicy"] == "Replace":
            for one in active:
                change = {"spec": {"cancelled": True}}
                where = one["metadata"]
                with contextlib.suppress(NotFound):
                    await self._parts.client.patch(
                        self._parts.run, where["name"], change, where["namespace"]
                    )
        spec = {"pipelineRef": {"name": meta["name"]}}
        if "inputs" in plan:
            spec["inputs"] = plan["inputs"]
        head = {
            "name": run_name(meta["name"], due),
            "namespace": meta["namespace"],
            "annotations": {f"{self._parts.run.group}/scheduled-at": moment(due)},
            "ownerReferences": [owner(object)],
        }
        try:
            await self._parts.client.create(
                self._parts.run, {"metadata": head, "spec": spec}, manager=MANAGER
            )
        except AlreadyExists:
            return 0
        return 1

    async def _forget(self, object: Object, runs: list[Object]) -> None:
        """Delete the oldest runs that have ended, beyond those that are to be kept."""
        for limit, well in (
            ("successfulRunsHistoryLimit", True),
            ("failedRunsHistoryLimit", False),
        ):
            most = object["spec"].get(limit)
            if most is None:
                continue
            over = [one for one in runs if _ended(one) and _well(one) is well]
            over.sort(key=_end, reverse=True)
            for one in over[most:]:
                await delete(self._parts.client, self._parts.run, one)


def owner(object: Object) -> dict[str, Any]:
    """The reference by which the cluster deletes what belongs to `object` with it."""
    meta = object["metadata"]
    return {
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def times(
    plan: Mapping[str, Any], begin: datetime, now: datetime
) -> tuple[datetime | None, datetime]:
    """The newest time after `begin` that has come and is not too late (None: there is none), and
    the first one to come. BadInput where that is no time, or no zone."""
    cron, zone = plan["cron"], zone_of(plan)
    following = next(CronSim(cron, now.astimezone(zone)), None)
    if following is None:
        raise BadInput(f"cron {cron!r} never comes", 'such as "0 3 * * *"')
    # What is added to a time in its zone would lose the hour that comes twice in October.
    until = (now + timedelta(microseconds=1)).astimezone(zone)
    newest = next(CronSim(cron, until, reverse=True), None)
    late = plan.get("startingDeadlineSeconds")
    after = begin if late is None else max(begin, now - timedelta(seconds=late))
    due = newest.astimezone(UTC) if newest is not None and newest > after else None
    return due, following.astimezone(UTC)


def zone_of(plan: Mapping[str, Any]) -> ZoneInfo:
    """The zone of a schedule. BadInput says all that is wrong with its zone and its cron."""
    zone, wrong, cron = None, [], plan["cron"]
    try:
        if len(cron.split()) != 5:
            raise CronSimError("it has five fields")
        CronSim(cron, datetime.now(UTC))
    except CronSimError as error:
        wrong.append(f"cron is {cron!r}: {error}")
    try:
        zone = ZoneInfo(plan["timeZone"])
    except (OSError, ValueError, KeyError):  # KeyError: no zone of that name
        wrong.append(f"there is no time zone {plan['timeZone']!r}")
    if zone is None or wrong:
        raise BadInput("; ".join(wrong), 'such as cron "0 3 * * *", timeZone Europe/Berlin')
    return zone


def check_inputs(spec: Mapping[str, Any]) -> None:
    """BadInput where no run of its schedule could begin: nobody is there to give more."""
    known, given = spec.get("inputs") or {}, spec["schedule"].get("inputs") or {}
    for name, one in known.items():
        needs = isinstance(one, dict) and one.get("required") and one.get("default") is None
        if needs and given.get(name) is None:
            what = f"spec.schedule.inputs has no {name}, which the pipeline requires"
            raise BadInput(what, "give it, or a default in spec.inputs")
    if unknown := sorted(given.keys() - known.keys()):
        names = ", ".join(known) or "it has none"
        raise BadInput(f"spec.schedule.inputs: there is no input {unknown[0]}", f"inputs: {names}")


def counts(change: Change) -> bool:
    """Is this change of a run one for its pipeline: does it come, end or go?"""
    if change.old is None or change.new is None:
        return True
    leaves = ["deletionTimestamp" in one["metadata"] for one in (change.old, change.new)]
    return _ended(change.old) != _ended(change.new) or leaves[0] != leaves[1]


def by_pipeline(run: Object) -> list[str]:
    """For the index BY_PIPELINE."""
    meta = run["metadata"]
    return [f"{meta['namespace']}/{run['spec']['pipelineRef']['name']}"]


def run_name(pipeline: str, due: datetime) -> str:
    """What the run of that time is called: the same again, so that it is made once."""
    short = pipeline
    if len(pipeline) > NAME_LIMIT:  # two that begin alike have two
        begin, mark = pipeline[: NAME_LIMIT - 9], hashlib.sha256(pipeline.encode()).hexdigest()[:8]
        short = f"{begin.rstrip('-.')}-{mark}"
    return f"{short}-{int(due.timestamp()) // 60}"


def since(object: Object, last: str | None) -> datetime:
    """What came after this is made up for: the last run, or the begin of the schedule. One that is
    new, or was suspended until now, begins now."""
    status = object.get("status") or {}
    if "observedGeneration" in status and "nextScheduleTime" not in status:
        return datetime.now(UTC)
    return datetime.fromisoformat(last or object["metadata"]["creationTimestamp"])


def _ended(run: Object) -> bool:
    return bool((run.get("status") or {}).get("completionTime"))


def _end(run: Object) -> tuple[str, str]:
    """The second in which it ended; of one second, the later run has the larger id."""
    return run["status"]["completionTime"], run["status"].get("runId", "")


def _well(run: Object) -> bool:
    return bool((run.get("status") or {}).get("outcome") == "succeeded")
