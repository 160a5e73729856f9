"""MCPPipelineRun: one execution, by the tool server's durable engine, mirrored into its status.

The run is the server's: it is started under the object's UID as its idempotency key, so that no
restart of ours or of the server's starts it twice. Here it is only looked at, and told what people
have written into the object.

It acts for the namespace of its object, and we ask about it in that name: what the server knows
under this name and this UID is its run, whatever somebody may have written into its status.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from pilotage.ci.client import Unlinted
from pilotage.domain.call import ACTING_FOR, Tenant
from pilotage.domain.errors import BadInput, Conflict, NotFound, PilotageError
from pilotage.kubernetes import errors
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.kind import Kind, Object
from pilotage.operator import pipeline_document
from pilotage.operator.conditions import FALSE, TRUE, UNKNOWN, Condition
from pilotage.operator.definition import check_bounds
from pilotage.operator.runtime.store import Store
from pilotage.operator.status import StatusWriter, moment, seconds_since
from pilotage.operator.tool_server import Away, Full, ToolServer, spread

LOOK_SECONDS, WAITING_SECONDS = 1.0, 3.0
REFUSED_SECONDS, BUSY_SECONDS = 30.0, 60.0
LETTING_GO_SECONDS = 600.0
SUCCEEDED = "Succeeded"
RUNS = "/api/v2/runs"
_VERBS = {"approve": "approve", "reject": "reject", "retry": "resume"}
UNTIED = (
    "spec.approvals is not heard here: without the cluster's admission policy nobody can tell who "
    "wrote it. Approve at the tool server (pilotage approvals, pilotage runs). It "
)
HOW = "; answer in spec.approvals, under the id in status.waiting"
_log = logging.getLogger(__name__)


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
        self._told: set[tuple[str, ...]] = set()  # what people have said, and the server has heard

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
        try:
            known = known or (await self._found(object), dict(status.get("pipeline") or {}))
            view = await self._ask("GET", f"{RUNS}/{quote(known[0])}", object)
        except NotFound:
            what = "the server does not know its run any more"
            raise _Over("RunLost", what) from None
        self._runs[uid] = known
        return view, known[1]

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
        """Its run, started now or before a crash of ours. What it runs is fixed from here on."""
        parts, meta, spec = self._parts, object["metadata"], object["spec"]
        if spec.get("cancelled"):
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
            view = await parts.server.ask("POST", RUNS, body, headers)
        except Conflict:  # the pipeline has changed since it was started
            view = await self._ask("GET", f"{RUNS}/{quote(await self._found(object))}", object)
        except Full as full:  # one namespace may have thousands: they must not keep it from others
            raise _Later("ServerBusy", full.what, spread(BUSY_SECONDS)) from None
        except Away:
            raise
        except Unlinted as wrong:
            raise _Over("InvalidPipeline", _problems(wrong)) from None
        except BadInput as wrong:
            raise _Over("InvalidRun", str(wrong)) from None
        except PilotageError as error:
            raise _Later("NotStarted", str(error), REFUSED_SECONDS) from None
        meta = pipeline["metadata"]
        ran = {"uid": meta["uid"], "generation": meta["generation"]}
        return view, {**ran, "digest": view["plan"]["digest"]}

    async def _say(self, object: Object, view: dict[str, Any]) -> None:
        """Tell the server what people have written: an end, approvals. `view` is brought up to
        date where that has changed anything."""
        if view["state"] == "ended":
            return
        path, spec = f"{RUNS}/{quote(view['run'])}", object["spec"]
        if spec.get("cancelled"):
            said = {"reason": "spec.cancelled"}
            view |= await self._tell(f"{path}/cancel", said, self._headers(object)) or {}
            return
        open_ones = {one["id"]: one["step"] for one in pipeline_document.waiting(view)}
        calls = {one.get("approval") for one in view["steps"]}
        for one in () if self._parts.untied else _approvals(object):
            word = (object["metadata"]["uid"], one["id"], one["user"], one["decision"])
            if one["id"] not in open_ones or word in self._told:
                continue
            verb, reason = _VERBS[one["decision"]], one.get("reason", "")
            if one["id"] in calls and verb != "resume":
                at, body = f"/api/v2/approvals/{quote(one['id'])}/{verb}", {"reason": reason}
            else:
                body = {"step": open_ones[one["id"]], "reason": reason}
                at = f"{path}/{verb}"
            person = f"kubernetes:{self._parts.cluster}:{one['user']}"
            await self._tell(at, body, {ACTING_FOR: person})
            self._told.add(word)

    async def _tell(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> dict[str, Any] | None:
        """Say it, in the name that the headers hold. What was said before, or comes too late, is no
        error; what they may not say is told by the server, and shown as it waits on."""
        try:
            return await self._parts.server.ask("POST", path, body, headers)
        except Away:
            raise
        except (Conflict, NotFound):
            return None
        except PilotageError as error:
            _log.warning("%s of %s is refused: %s", path, headers[ACTING_FOR], error)
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
        if self._parts.untied and _answered(object, waits):
            said = Condition(SUCCEEDED, UNKNOWN, "ApprovalsRefused", UNTIED + said.message)
        elif waits:
            lost = pipeline_document.never_waited(view, _said(object))
            how = "" if self._parts.untied else HOW
            slip = f"; nothing ever waited under {lost!r}" if lost else ""
            said = replace(said, message=said.message + how + slip)
        await self._parts.status.write(object, [said], more)
        if ended:
            self._forget(object)
            ttl: float | None = object["spec"].get("ttlSecondsAfterFinished")
            return ttl
        return WAITING_SECONDS if view["state"] == "waiting" else LOOK_SECONDS

    def _forget(self, object: Object) -> None:
        uid = object["metadata"]["uid"]
        self._runs.pop(uid, None)
        self._told = {word for word in self._told if word[0] != uid}

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
        meta = object["metadata"]
        if self._parts.finalizer not in meta.get("finalizers", ()):
            return None
        try:
            await self._end(object)
        except Away as away:
            if seconds_since(meta["deletionTimestamp"]) < LETTING_GO_SECONDS:
                return away.seconds
        await self._parts.status.let_go(object)
        self._forget(object)
        return None

    async def _end(self, object: Object) -> None:
        """Its run, also one that was started and never written down."""
        if (object.get("status") or {}).get("completionTime"):
            return
        try:
            known = self._runs.get(object["metadata"]["uid"])
            run = known[0] if known else await self._found(object)
        except NotFound:
            return
        said = {"reason": "it was deleted"}
        await self._tell(f"{RUNS}/{quote(run)}/cancel", said, self._headers(object))


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


def _approvals(object: Object) -> list[dict[str, Any]]:
    """What people have said in it; none where that is too large to be kept."""
    found = object["spec"].get("approvals")
    return found if isinstance(found, list) else []


def _said(object: Object) -> list[str]:
    """The ids that people have said something of."""
    return [one["id"] for one in _approvals(object)]


def _answered(object: Object, waits: list[dict[str, Any]]) -> bool:
    """Has anybody written a word about what waits?"""
    said = _said(object)
    return any(one["id"] in said for one in waits)


def _problems(wrong: Unlinted) -> str:
    return pipeline_document.problems(wrong.problems) or str(wrong)


def _kept(status: Mapping[str, Any]) -> dict[str, Any]:
    names = ("runId", "state", "startTime", "pipeline", "steps", "waiting")
    return {"state": "pending"} | {name: status[name] for name in names if name in status}


def _moment(microseconds: int) -> str:
    return moment(datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds))
