"""Is a workload rolled out, and if not: what keeps it? Pure, over objects as the API shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pilotage.domain.text import counted
from pilotage.kubernetes.kind import Object

WORKLOADS = ("deployments.apps", "statefulsets.apps", "daemonsets.apps", "jobs.batch")
PATIENCE = 20.0
"""Seconds that something may be wrong that often mends itself."""
UNSCHEDULABLE = 60.0
"""A cluster that grows by itself needs time for a new node."""
NEVER = float("inf")
_FINAL = ("ErrImageNeverPull", "InvalidImageName")
_WRONG = ("ImagePullBackOff", "CreateContainerConfigError", "CreateContainerError",
          "RunContainerError", "CreatePodSandboxError")  # fmt: skip
_CRASH = "CrashLoopBackOff"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a rollout is. `failed`: why it will not come any more. `idle`: it is done, and yet it
    runs no pod, or leaves some as they are, and why."""

    done: bool
    said: str
    failed: str = ""
    idle: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a pod, and for how many seconds that may last. Of `container`, the log may tell
    more; `ready` False: it runs, and its probe says no."""

    why: str
    patience: float
    pod: str = ""
    container: str = ""
    crashed: bool = False
    unready: bool = False


def standing(live: Object) -> Standing:
    """As `kubectl rollout status` judges; and a Job is done when it is complete."""
    kind = live["kind"]
    spec, status = live.get("spec") or {}, live.get("status") or {}
    if kind == "Job":
        return _job(status)
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return Standing(False, "waits for its controller")
    if kind == "Deployment":
        return _deployment(spec, status)
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return _on_delete(spec, status)
    return (_stateful if kind == "StatefulSet" else _daemon)(spec, status)


def condition(status: Mapping[str, Any], type: str) -> Mapping[str, Any]:
    """The condition of that type; {} where there is none."""
    for one in status.get("conditions") or ():
        if one["type"] == type:
            found: Mapping[str, Any] = one
            return found
    return {}


def _deployment(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    progressing = condition(status, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Standing(False, "", str(progressing.get("message") or "no progress in time"))
    wanted = spec.get("replicas", 1)
    updated, all_pods = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    said = f"{updated} of {wanted} updated, {available} available"
    if all_pods > updated:
        said += f", {all_pods - updated} old to end"
    done = updated >= wanted and all_pods <= updated and available >= updated
    return Standing(done, said, idle=_idle(wanted))


def _stateful(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    wanted = spec.get("replicas", 1)
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    partition = int(rolling.get("partition") or 0)
    due = max(0, wanted - partition)
    updated, ready = status.get("updatedReplicas", 0), status.get("readyReplicas", 0)
    said = f"{updated} of {due} updated, {ready} of {wanted} ready"
    idle = _idle(wanted) or _left(wanted - updated, f"partition is {partition}")
    return Standing(ready >= wanted and updated >= due, said, idle=idle)


def _on_delete(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    """Of a StatefulSet or a DaemonSet. Nobody waits for pods that stay at another version."""
    wanted = status.get("desiredNumberScheduled", spec.get("replicas", 1))
    pods = status.get("replicas", status.get("currentNumberScheduled", 0))
    updated = status.get("updatedReplicas", status.get("updatedNumberScheduled", 0))
    ready = status.get("readyReplicas", status.get("numberAvailable", 0))
    why = "they change when somebody deletes them (OnDelete)"
    left = _left(pods - updated, why)
    said = f"{updated} of {pods} updated, {ready} of {wanted} ready"
    return Standing(bool(left) or ready >= wanted, said, idle=left)


def _left(old: int, why: str) -> str:
    return f"leaves {counted(old, 'pod')} at the version before: {why}" if old > 0 else ""


def _daemon(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Standing:
    wanted = status.get("desiredNumberScheduled", 0)
    updated, ready = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    done = updated >= wanted and ready >= wanted
    said = f"{updated} of {wanted} updated, {ready} available"
    return Standing(done, said, idle="" if wanted else "runs no pod: no node is meant to run it")


def _idle(wanted: int) -> str:
    return "" if wanted else "runs no pod: spec.replicas is 0"


def _job(status: Mapping[str, Any]) -> Standing:
    if condition(status, "Complete").get("status") == "True":
        return Standing(True, "complete")
    failed = condition(status, "Failed")
    if failed.get("status") == "True":
        return Standing(False, "", f"{failed.get('reason')}: {failed.get('message')}")
    return Standing(False, f"{status.get('active', 0)} running, {status.get('failed', 0)} failed")


def trouble(live: Object, pods: Sequence[Object]) -> Trouble | None:
    """The worst of what keeps this workload, from the pods of its newest version."""
    refused = condition(live.get("status") or {}, "ReplicaFailure")
    found = [one for pod in pods for one in _of_pod(pod)]
    if refused.get("status") == "True":
        found.append(Trouble(f"no pod can be made: {refused.get('message')}", PATIENCE))
    if live["kind"] == "Job":  # how often it may fail is its backoffLimit
        found = [replace(one, patience=NEVER) if one.crashed else one for one in found]
    return min(found, key=lambda one: one.patience, default=None)


def _of_pod(pod: Object) -> Iterator[Trouble]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if "deletionTimestamp" in pod["metadata"]:
        return
    scheduled = condition(status, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        yield Trouble(f"{name} finds no node: {scheduled.get('message')}", UNSCHEDULABLE, name)
    for part in ("initContainerStatuses", "containerStatuses"):
        for one in status.get(part) or ():
            if found := _of_container(name, one):
                yield found


def _of_container(pod: str, one: Mapping[str, Any]) -> Trouble | None:
    name, state = one["name"], one.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason", "")
    if reason in _FINAL or reason in _WRONG:
        why = f"container {name} of {pod}: {reason}: {waiting.get('message', one.get('image'))}"
        return Trouble(why, 0.0 if reason in _FINAL else PATIENCE, pod, name)
    if reason == _CRASH and one.get("restartCount", 0) > 0:
        last = (one.get("lastState") or {}).get("terminated") or {}
        how = f"{last.get('reason', 'ended')}, exit code {last.get('exitCode')}"
        times = one["restartCount"] + 1
        why = f"container {name} of {pod}: {_CRASH}: it ended {times} times ({how})"
        return Trouble(why, 0.0, pod, name, crashed=True)
    if "running" in state and not one.get("ready", False):
        why = f"container {name} of {pod} runs and is not ready"
        return Trouble(why, NEVER, pod, name, unready=True)
    return None


def restarts(pods: Sequence[Object]) -> int:
    """Of all their containers."""
    found = 0
    for pod in pods:
        status = pod.get("status") or {}
        for part in ("initContainerStatuses", "containerStatuses"):
            found += sum(one.get("restartCount", 0) for one in status.get(part) or ())
    return found


def ready(pod: Object) -> bool:
    """Does it count for its Service?"""
    return condition(pod.get("status") or {}, "Ready").get("status") == "True"


def selector(live: Object) -> str:
    """Its spec.selector, as lists of the API take it."""
    given = (live.get("spec") or {}).get("selector") or {}
    words = [f"{key}={value}" for key, value in (given.get("matchLabels") or {}).items()]
    for one in given.get("matchExpressions") or ():
        key, operator = one["key"], one["operator"]
        values = f"({','.join(one.get('values') or ())})"
        words.append(
            {"In": f"{key} in {values}", "NotIn": f"{key} notin {values}", "Exists": key}.get(
                operator, f"!{key}"
            )
        )
    return ",".join(words)
