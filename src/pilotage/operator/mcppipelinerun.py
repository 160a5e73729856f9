"""MCPPipelineRun: one execution, by the tool server's durable engine, mirrored into its status.

The run is the server's: it is started under the object's UID as its idempotency key, so that no
restart of ours or of the server's starts it twice. Here it is only looked at, and told what people
have written into the object.

It acts for the namespace of its object, and we ask about it in that name: what the server knows
under this name and this UID is its run, whatever somebody may have written into its status.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from pilotage.ci.client import Unlinted
from pilotage.domain.call import ACTING_FOR, Tenant
from pilotage.domain.errors import BadInput, Conflict, NotFound, PilotageError, Unavailable
from pilotage.kubernetes import errors
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.kind import Kind, Object
from pilotage.operator import pipeline_document
from pilotage.operator.approvals import UNTIED, Approvals
from pilotage.operator.conditions import FALSE, TRUE, UNKNOWN, Condition, find
from pilotage.operator.definition import check_bounds
from pilotage.operator.mcptool import leave
from pilotage.operator.runtime.store import Store
from pilotage.operator.status import StatusWriter, moment, seconds_since
from pilotage.operator.tool_server import Away, Full, ToolServer, spread

LOOK_SECONDS, WAITING_SECONDS = 1.0, 3.0
REFUSED_SECONDS, BUSY_SECONDS = 30.0, 60.0
UNANSWERED = ("ServerBusy", "ServerUnreachable", "Cancelling", "Terminating")
UNSURE_SECONDS = 60.0
"""How long a start that was not answered may yet begin."""
SUCCEEDED = "Succeeded"
RUNS = "/api/v2/runs"


@dataclass(frozen=True, slots=True)
class Parts:
    """What reconciling needs. `cluster` is our name of the cluster, `known` that which the tool
    server's settings have for it ("": its only one). `untied`: nothing here ties an approval to
    who wrote it, so none that stands in an object counts."""

    kind: Kind
    runs: Store
    pipelines: Store
    client: Client
    status: StatusWriter
    server: ToolServer
    finalizer: str
    cluster: str
    known: str
    untied: bool = False


class PipelineRuns:
    """Reconciles MCPPipelineRuns."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._runs: dict[str, tuple[str, dict[str, Any]]] = {}
        """By the UID of the object, its run at the server and what that runs. It knows of a start
        before our cache shows the status that we have written."""
        self._sent: dict[str, float] = {}  # by the UID, when the server was last told to start it
        self._approvals = Approvals(parts.server, parts.cluster, untied=parts.untied)

    async def reconcile(self, key: str) -> float | None:
        """Start it, tell it what people say, and write down how it stands."""
        parts = self._parts
        object = parts.runs.get(key)
        if object is None:
            return None
        if "deletionTimestamp" in object["metadata"]:
            return await self._leave(object)
        status = object.get("status") or {}
        if status.get("completionTime"):
            return await self._expire(object)
        await parts.status.hold(object, parts.finalizer)
        try:
            view, pipeline = await self._view(object)
            await self._say(object, view)
        except _Over as over:
            await self._refuse(object, over)
            return None
        except _Later as later:
            said = Condition(SUCCEEDED, UNKNOWN, later.reason, str(later))
            await parts.status.write(object, [said], _kept(status))
            return later.seconds
        except Away as away:
            said = Condition(SUCCEEDED, UNKNOWN, "ServerUnreachable", away.what)
            await parts.status.write(object, [said], _kept(status))
            return away.seconds
        return await self._mirror(object, view, pipeline)

    async def _view(self, object: Object) -> tuple[dict[str, Any], dict[str, Any]]:
        """How its run stands at the server, started if it is not there, and what it runs."""
        status, uid = object.get("status") or {}, object["metadata"]["uid"]
        known = self._runs.get(uid)
        if known is None and "runId" not in status:
            view, pipeline = await self._start(object)
            self._runs[uid] = view["run"], pipeline
            return view, pipeline
        run, pipeline = known or ("", dict(status.get("pipeline") or {}))
        seen = await self._seen(object, run)
        if seen is None:
            what = f"the server knows no run of it (this cluster is {self._parts.cluster} there)"
            raise _Over("RunLost", what)
        self._runs[uid] = seen["run"], pipeline
        return seen, pipeline

    async def _seen(self, object: Object, run: str = "") -> dict[str, Any] | None:
        """How its run stands at the server, whoever has started it; None: there is none. `run` is
        its id, where that is known."""
        try:
            run = run or await self._found(object)
            return await self._ask("GET", f"{RUNS}/{quote(run)}", object)
        except NotFound:
            return None

    async def _found(self, object: Object) -> str:
        """The run that the server has for it. NotFound."""
        found = await self._ask("GET", RUNS, object, key=object["metadata"]["uid"])
        if not found["runs"]:
            raise NotFound("it has no run at the server")
        return str(found["runs"][0]["id"])

    async def _ask(
        self, method: str, path: str, object: Object, body: Any = None, **query: str
    ) -> dict[str, Any]:
        """In the name of its namespace."""
        return await self._parts.server.ask(method, path, body, self._headers(object), **query)

    def _headers(self, object: Object) -> dict[str, str]:
        tenant = Tenant(self._parts.cluster, object["metadata"]["namespace"])
        return {ACTING_FOR: tenant.name}

    async def _start(self, object: Object) -> tuple[dict[str, Any], dict[str, Any]]:
        """Its run: the one that an earlier start of ours has made, of whose end we never heard, or
        a new one. What it runs is fixed from here on."""
        try:
            view = await self._seen(object)
            if view is not None:
                return view, {"digest": view["plan"]["digest"]}
            return await self._started(object)
        except Full as full:  # one namespace may have thousands: they must not keep it from others
            raise _Later("ServerBusy", full.what, spread(BUSY_SECONDS)) from None
        except (_Over, _Later, Away):
            raise
        except PilotageError as error:
            raise _Later("NotStarted", str(error), REFUSED_SECONDS) from None

    async def _started(self, object: Object) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new run of it."""
        parts, meta, spec = self._parts, object["metadata"], object["spec"]
        if spec.get("cancelled"):
            if self._is_unsure(object):
                what = "it is cancelled; whether it had begun by then is not known yet"
                raise _Later("Cancelling", what, LOOK_SECONDS)
            raise _Over("Cancelled", "it was cancelled before it began", "cancelled")
        name = spec["pipelineRef"]["name"]
        pipeline = parts.pipelines.get(f"{meta['namespace']}/{name}")
        if pipeline is None:
            raise _Later("PipelineNotFound", f"there is no MCPPipeline {name}", REFUSED_SECONDS)
        try:
            check_bounds(spec)
            body = {
                "pipeline": pipeline_document.document(pipeline, parts.known),
                "inputs": spec.get("inputs") or {},
            }
            if "timeoutSeconds" in spec:
                body["timeout"] = spec["timeoutSeconds"]
            headers = {**self._headers(object), "Idempotency-Key": meta["uid"]}
            self._sent[meta["uid"]] = time.monotonic()
            view = await parts.server.ask("POST", RUNS, body, headers)
        except Unlinted as wrong:
            raise _Over("InvalidPipeline", _problems(wrong)) from None
        except BadInput as wrong:
            raise _Over("InvalidRun", str(wrong)) from None
        meta = pipeline["metadata"]
        ran = {"uid": meta["uid"], "generation": meta["generation"]}
        return view, {**ran, "digest": view["plan"]["digest"]}

    def _is_unsure(self, object: Object) -> bool:
        """May it begin yet, though the server has no run of it? It was told to start it a moment
        ago; by a process before ours: from now on."""
        uid, said = object["metadata"]["uid"], find(object.get("status") or {}, SUCCEEDED)
        if said is not None and said["reason"] in UNANSWERED:
            self._sent.setdefault(uid, time.monotonic())
        return time.monotonic() - self._sent.get(uid, -UNSURE_SECONDS) < UNSURE_SECONDS

    async def _say(self, object: Object, view: dict[str, Any]) -> None:
        """Tell the server what people have written: an end, approvals. `view` is brought up to
        date where that has changed anything."""
        if view["state"] == "ended":
            return
        path, spec = f"{RUNS}/{quote(view['run'])}", object["spec"]
        if spec.get("cancelled"):
            try:
                view |= await self._cancel(path, object, "spec.cancelled") or {}
            except Away:
                raise
            except PilotageError as error:
                raise _Later("NotCancelled", str(error), REFUSED_SECONDS) from None
            return
        await self._approvals.bring(object, view, path)

    async def _cancel(self, path: str, object: Object, why: str) -> dict[str, Any] | None:
        """What was cancelled before, or has ended, is no error."""
        try:
            return await self._ask("POST", f"{path}/cancel", object, {"reason": why})
        except (Conflict, NotFound):
            return None

    async def _mirror(
        self, object: Object, view: Mapping[str, Any], pipeline: Mapping[str, Any]
    ) -> float | None:
        ended = view["state"] == "ended"
        waits = pipeline_document.waiting(view)
        more = {
            "runId": view["run"],
            "state": view["state"],
            "outcome": view["outcome"] if ended else None,
            "startTime": _moment(view["created"]),
            "completionTime": _moment(view["changed"]) if ended else None,
            "pipeline": dict(pipeline) or None,
            "steps": pipeline_document.steps(view),
            "waiting": waits or None,
        }
        said = _condition(view, waits)
        if self._approvals.unheard(object, waits):
            said = Condition(SUCCEEDED, UNKNOWN, "ApprovalsRefused", UNTIED + said.message)
        elif waits:
            remarks = self._approvals.remarks(object, view, waits)
            said = replace(said, message="; ".join([said.message, *remarks]))
        await self._parts.status.write(object, [said], more)
        if ended:
            self._forget(object)
            ttl: float | None = object["spec"].get("ttlSecondsAfterFinished")
            return ttl
        return WAITING_SECONDS if view["state"] == "waiting" else LOOK_SECONDS

    def _forget(self, object: Object) -> None:
        uid = object["metadata"]["uid"]
        self._runs.pop(uid, None)
        self._sent.pop(uid, None)
        self._approvals.forget(uid)

    async def _refuse(self, object: Object, over: _Over) -> None:
        """It has ended, and no run of it goes on."""
        self._forget(object)
        more = {**_kept(object.get("status") or {}), "state": "ended", "outcome": over.outcome}
        said = Condition(SUCCEEDED, FALSE, over.reason, over.what)
        await self._parts.status.write(object, [said], {**more, "completionTime": moment()})

    async def _expire(self, object: Object) -> float | None:
        """Delete what has outlived its time."""
        limit = object["spec"].get("ttlSecondsAfterFinished")
        if limit is None:
            return None
        left = float(limit) - seconds_since(object["status"]["completionTime"])
        if left > 0:
            return left
        await delete(self._parts.client, self._parts.kind, object)
        return None

    async def _leave(self, object: Object) -> float | None:
        """What still runs is ended first."""
        again = await leave(
            object, self._parts.status, self._parts.finalizer, self._end, _not_cancelled
        )
        if again is None:
            self._forget(object)
        return again

    async def _end(self, object: Object) -> None:
        """Its run, also one that was started and never written down."""
        status = object.get("status") or {}
        if "completionTime" in status and "runId" in status:
            return
        try:
            known = self._runs.get(object["metadata"]["uid"])
            run = known[0] if known else await self._found(object)
        except NotFound:
            if self._is_unsure(object):
                raise Unavailable("whether it has begun is not known yet") from None
            return
        await self._cancel(f"{RUNS}/{quote(run)}", object, "it was deleted")


def _not_cancelled(object: Object, why: Condition) -> tuple[list[Condition], Mapping[str, Any]]:
    what = f"it is deleted, and its run is not cancelled: {why.message}"
    return [Condition(SUCCEEDED, UNKNOWN, "Terminating", what)], _kept(object.get("status") or {})


class _Over(PilotageError):
    """There is no run, and there will be none."""

    def __init__(self, reason: str, what: str, outcome: str = "failed") -> None:
        super().__init__(what)
        self.reason, self.outcome = reason, outcome


class _Later(PilotageError):
    """It cannot be started yet."""

    def __init__(self, reason: str, what: str, seconds: float) -> None:
        super().__init__(what)
        self.reason, self.seconds = reason, seconds


async def delete(client: Client, kind: Kind, object: Object) -> None:
    """This very object, if it is still there."""
    meta = object["metadata"]
    try:
        await client.delete(kind, meta["name"], meta["namespace"], uid=meta["uid"])
    except (errors.NotFound, errors.Conflict):
        pass


def _condition(view: Mapping[str, Any], waits: list[dict[str, Any]]) -> Condition:
    if view["state"] != "ended":
        if waits:
            why = "; ".join(f"{one['step']}: {one['message']}" for one in waits)
            return Condition(SUCCEEDED, UNKNOWN, "Waiting", f"waits for a person: {why}")
        return Condition(SUCCEEDED, UNKNOWN, "Running", f"run {view['run']} is {view['state']}")
    if view["outcome"] == "succeeded":
        return Condition(SUCCEEDED, TRUE, "Succeeded", f"run {view['run']} has succeeded")
    reason = "".join(word.capitalize() for word in str(view["outcome"]).split("_"))
    return Condition(SUCCEEDED, FALSE, reason, str(view.get("error") or view.get("why") or reason))


def _problems(wrong: Unlinted) -> str:
    return pipeline_document.problems(wrong.problems) or str(wrong)


def _kept(status: Mapping[str, Any]) -> dict[str, Any]:
    names = ("runId", "state", "startTime", "pipeline", "steps", "waiting")
    return {"state": "pending"} | {name: status[name] for name in names if name in status}


def _moment(microseconds: int) -> str:
    return moment(datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds))
