"""Run a container as a Job of a Kubernetes cluster, and wait for its end.

As a step of a pipeline it is adopted by its name after a crash: the name is made of run, step and
attempt, so that no attempt ever runs twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.call import LET_GO, Effect, Outcome, ToolCall, ToolResult
from pilotage.domain.errors import BadInput, Conflict, PilotageError
from pilotage.domain.text import visible
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.clusters import Clusters, Place
from pilotage.kubernetes.errors import (
    AlreadyExists,
    ApiError,
    Forbidden,
    NotFound,
    Unauthorized,
)
from pilotage.kubernetes.job import DISRUPTED, mark_of, new_job
from pilotage.kubernetes.kind import JOB, POD, Object
from pilotage.kubernetes.removal import Removal
from pilotage.kubernetes.rollout import Trouble, condition, trouble
from pilotage.kubernetes.waiting import NotUp
from pilotage.tool.tool import Call, tool

LONGEST = 86_400
LOG = 20_000
"""Characters of the log's end in an answer."""
LOOK_SECONDS = 2.0
DENIED_SECONDS = 60.0
"""How long the cluster may refuse to show the Job: rights and keys are changed while it runs."""
MAKE_SECONDS = 10.0
"""How long is waited for the answer to a create, by who is cancelled meanwhile."""


@dataclass(frozen=True, slots=True)
class _Work:
    """One Job: where it is, and what marks it as this very piece of work."""

    client: Client
    namespace: str
    name: str
    mark: str

    def made(self, job: Object) -> bool:
        """Is it of this very piece of work?"""
        return mark_of(job) == self.mark


async def _check(
    namespace: str,
    env: list[dict[str, Any]] | None,
    seconds: int,
    cluster: str,
    *,
    clusters: Clusters,
    here: Call,
) -> None:
    """What can be said against a call without asking the cluster."""
    if not 1 <= seconds <= LONGEST:
        raise BadInput(f"seconds is {seconds}", f"1 to {LONGEST}")
    _place(clusters.get(cluster, here.call.by), namespace)
    for one in env or ():
        _variable(one)


@tool(Effect.WRITE, idempotent=True, timeout=LONGEST, tasks="optional", check=_check)
async def k8s_job(
    image: str,
    namespace: str = "",
    command: list[str] | None = None,
    args: list[str] | None = None,
    env: list[dict[str, Any]] | None = None,
    working_dir: str = "",
    image_pull_policy: str = "",
    resources: dict[str, Any] | None = None,
    service_account: str = "",
    seconds: int = 3_600,
    cluster: str = "",
    *,
    clusters: Clusters,
    here: Call,
) -> ToolResult:
    """Run a container as a Job and wait for its end; it fails unless the container exits with 0.

    `env` is a list of {name, value} or {name, secretKeyRef: {name, key}} with a Secret of the same
    namespace. The pod fits the restricted standard: it is not root, its files are read-only but for
    /tmp. It has no token of the cluster unless `service_account` is named. What takes longer than
    `seconds` is ended, and who cancels the call ends the Job.
    """
    work = _Work(*_place(clusters.get(cluster, here.call.by), namespace), *_named(here.call))
    container = {
        "image": image,
        "imagePullPolicy": image_pull_policy or None,
        "command": command,
        "args": args,
        "workingDir": working_dir or None,
        "env": [_variable(one) for one in env or ()] or None,
        "resources": resources,
    }
    job = new_job(work.name, work.namespace, work.mark, container, service_account, seconds)
    return await _done(work, job, here)


def _place(place: Place, namespace: str) -> tuple[Client, str]:
    """Where Jobs may be made. Denied."""
    where = namespace or place.namespace
    place.check(JOB, where)
    return place.client, where


def _named(call: ToolCall) -> tuple[str, str]:
    """The name of the Job of a call, and the mark by which it is known to be of this call."""
    work = f"{call.idempotency_key or call.id}/{call.attempt}"
    digest = hashlib.sha256(f"{call.by.name}\0{work}".encode()).hexdigest()
    step = "".join(c if c.isalnum() else "-" for c in (call.step or "call").lower())[:30].strip("-")
    return f"{step or 'call'}-{digest[:16]}", digest[:40]


def _variable(one: Mapping[str, Any]) -> dict[str, Any]:
    name, ref = one.get("name"), one.get("secretKeyRef")
    if not isinstance(name, str) or ("value" in one) == (ref is not None) or len(one) != 2:
        raise BadInput(f"env: {one!r}"[:200], "{name, value} or {name, secretKeyRef: {name, key}}")
    return {"name": name, "valueFrom": {"secretKeyRef": ref}} if ref else dict(one)


async def _done(work: _Work, job: Object, here: Call) -> ToolResult:
    """The Job made and at its end. On every other way out it is removed, unless this process lets
    the call go: another takes the Job up."""
    making = asyncio.ensure_future(work.client.create(JOB, job))
    try:
        await _started(work, making)
        return await _ended(work, here)
    except (Exception, asyncio.CancelledError) as why:
        if LET_GO in why.args:
            making.cancel()
        else:
            _say(why, await asyncio.shield(_cleared(work, making)), here)
        raise


async def _started(work: _Work, making: asyncio.Future[Object]) -> None:
    """The Job is there; one of that name is ours if it has our mark. One that we have made before
    a crash may be the very reason why another is refused: a quota."""
    try:
        await asyncio.shield(making)
    except ApiError as refused:
        if refused.status >= 500:
            raise
        there = await _there(work)
        if there is None:
            raise
        if not work.made(there):
            what = f"there is a Job {work.name} in {work.namespace}, and it is not of this call"
            raise Conflict(what, "delete it") from None


async def _cleared(work: _Work, making: asyncio.Future[Object]) -> str:
    """In words, what may still run of this call; "": nothing."""
    await asyncio.wait([making], timeout=MAKE_SECONDS)
    late = making.cancel()  # it has not ended
    error = None if late else making.exception()
    if isinstance(error, ApiError) and not isinstance(error, AlreadyExists):
        late = error.status >= 500
        there = None if late else await _there(work)
        if not late and not (there and work.made(there)):
            return ""  # refused, and there is none of before a crash
    return await Removal(work.client, JOB, work.name, work.namespace, work.made).done(late=late)


async def _there(work: _Work) -> Object | None:
    """The Job of that name; None: none can be seen."""
    try:
        return await work.client.get(JOB, work.name, work.namespace)
    except ApiError:
        return None


def _say(why: BaseException, left: str, here: Call) -> None:
    if left:
        here.tell(visible(left))
        if isinstance(why, PilotageError):
            why.what = f"{why.what}; {left}"


async def _ended(work: _Work, here: Call) -> ToolResult:
    """Wait for its end; what its container writes is told as it comes."""
    here.tell(f"Job {work.name} in {work.namespace}")
    telling = asyncio.create_task(_tell(work, here))
    try:
        job = await _over_at_last(work, here)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    pod = None
    with contextlib.suppress(ApiError):  # how it ended is known
        pod = await _its_pod(work)
    return _result(job, pod, await _log(work, pod))


async def _over_at_last(work: _Work, here: Call) -> Object:
    """The Job at its end. NotUp: its container cannot start."""
    loop, told, since = asyncio.get_running_loop(), "", 0.0
    seen = _Look(work, here)
    while True:
        job = await seen()
        if job is not None and _over(job):
            return job
        found = await _kept(work, job)
        since = (since or loop.time()) if found else 0.0
        if found is not None and found.why != told:
            told = found.why
            here.tell(visible(told))
        if found is not None and loop.time() - since >= found.patience:
            raise NotUp(visible(f"the Job cannot run: {found.why}"))
        await asyncio.sleep(LOOK_SECONDS)


async def _kept(work: _Work, job: Object | None) -> Trouble | None:
    """What keeps it from running, if that can be seen."""
    with contextlib.suppress(ApiError):
        if job is not None and (pod := await _its_pod(work)):
            return trouble(job, (pod,))
    return None


@dataclass
class _Look:
    """At the Job, again and again. `denied`: since when it is not shown."""

    work: _Work
    here: Call
    denied: float = 0.0

    async def __call__(self) -> Object | None:
        """The Job now; None where the API server gives no answer for a while, or a no."""
        work, now = self.work, asyncio.get_running_loop().time()
        try:
            job = await work.client.get(JOB, work.name, work.namespace)
        except NotFound:
            raise Conflict(f"the Job {work.name} was deleted before its end") from None
        except (Unauthorized, Forbidden) as error:
            if not self.denied:
                self.denied = now
                self.here.tell(visible(f"the Job cannot be seen now: {error.what}"))
            if now - self.denied >= DENIED_SECONDS:
                raise
            return None
        except ApiError as error:
            if error.status < 500 and error.status != 429:
                raise
            return None
        self.denied = 0.0
        return job


def _over(job: Object) -> Mapping[str, Any] | None:
    """The condition that ends it; SuccessCriteriaMet and FailureTarget come before the end."""
    for one in (job.get("status") or {}).get("conditions") or ():
        if one["type"] in ("Complete", "Failed") and one["status"] == "True":
            found: Mapping[str, Any] = one
            return found
    return None


async def _its_pod(work: _Work) -> Object | None:
    labels = f"batch.kubernetes.io/job-name={work.name}"
    page = await work.client.page(POD, work.namespace, labels=labels, limit=10)
    newest = sorted(page.items, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    return newest[-1] if newest else None


async def _log(work: _Work, pod: Object | None) -> str:
    """The end of what its container wrote; "" where it never wrote."""
    if pod is None:
        return ""
    found = bytearray()
    with contextlib.suppress(ApiError):
        async for piece in work.client.log(pod["metadata"]["name"], work.namespace, tail=500):
            found += piece
            del found[: -4 * LOG]
    return found.decode("utf-8", "replace")[-LOG:]


async def _tell(work: _Work, here: Call) -> None:
    """Lines of its log as they come, once there is a container that writes."""
    while True:
        pod = None
        with contextlib.suppress(ApiError):
            pod = await _its_pod(work)
        if pod is not None and (pod.get("status") or {}).get("phase") != "Pending":
            break
        await asyncio.sleep(LOOK_SECONDS / 4)
    rest = b""
    with contextlib.suppress(ApiError):
        async for piece in work.client.log(pod["metadata"]["name"], work.namespace, follow=True):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-10_000:]
            for line in lines:
                here.tell(visible(line.decode("utf-8", "replace"))[:1_000])


def _result(job: Object, pod: Object | None, log: str) -> ToolResult:
    end = _over(job)
    assert end is not None
    state = _container_end(pod)
    value = {
        "job": job["metadata"]["name"],
        "namespace": job["metadata"]["namespace"],
        "pod": pod["metadata"]["name"] if pod else None,
        "exit_code": state.get("exitCode"),
        "log": log,
    }
    if end["type"] == "Complete":
        return ToolResult(Outcome.SUCCEEDED, value)
    if end.get("reason") == "PodFailurePolicy":
        return ToolResult(Outcome.FAILED, value, error=_disrupted(end, pod))
    late = end.get("reason") == "DeadlineExceeded"
    why = f"exit code {state['exitCode']}" if state.get("exitCode") else end.get("message", "")
    reason = state.get("reason") or end.get("reason", "")
    last = log.strip().rsplit("\n", 1)[-1][:300]
    said = f"the Job has failed: {reason}: {why}" + (f"; its last line: {last}" if last else "")
    return ToolResult(Outcome.TIMED_OUT if late else Outcome.FAILED, value, error=said)


def _disrupted(end: Mapping[str, Any], pod: Object | None) -> str:
    why = condition((pod or {}).get("status") or {}, DISRUPTED)
    said = f"{why['reason']}: {why.get('message')}" if why.get("reason") else end.get("message")
    return visible(
        "the Job has failed: the cluster has ended its pod, which was evicted, drained or "
        f"preempted ({said}); retry_count of the step runs it again"
    )


def _container_end(pod: Object | None) -> Mapping[str, Any]:
    """How its container ended; {} where it never ran."""
    for one in ((pod or {}).get("status") or {}).get("containerStatuses") or ():
        found: Mapping[str, Any] = (one.get("state") or {}).get("terminated") or {}
        return found
    return {}
