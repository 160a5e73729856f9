"""How the pods of an MCPToolInstance are: can they be called, does the newest version run, and what
the cluster says of those that do not. Pure: a Deployment and its pods in, conditions out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.text import counted
from pilotage.kubernetes.kind import Object
from pilotage.operator.conditions import FALSE, TRUE, Condition

AVAILABLE = "Available"
ROLLED_OUT = "RolledOut"
_COUNTS = ("replicas", "updatedReplicas", "availableReplicas")
_STARTING = ("ContainerCreating", "PodInitializing")
_IMAGE = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps pods from running: one word that stays the same while the trouble does, and the
    cluster's own words."""

    reason: str
    said: str


def is_rolled_out(deployment: Object, wanted: int) -> bool:
    """Do all pods run what the Deployment says now, and are they ready?"""
    status = deployment.get("status") or {}
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return False
    return all(status.get(name, 0) == wanted for name in _COUNTS)


def conditions(
    spec: Mapping[str, Any], deployment: Object, pods: Iterable[Object]
) -> list[Condition]:
    """Available: one can be called at least. RolledOut: all are ready, and none is of an older
    version. `pods` are looked at where that is not so."""
    wanted, status = int(spec["replicas"]), deployment.get("status") or {}
    count = status.get("availableReplicas", 0)
    if spec.get("suspend") or not wanted:
        suspended = bool(spec.get("suspend"))
        said = "spec.suspend is true: no pod runs" if suspended else "spec.replicas is 0"
        return [Condition(AVAILABLE, FALSE, "Suspended" if suspended else "ScaledToZero", said)]
    ready = f"{count} of {counted(wanted, 'pod')} {'is' if wanted == 1 else 'are'} ready"
    if is_rolled_out(deployment, wanted):
        new = "the pod runs" if wanted == 1 else "all pods run"
        return [
            Condition(AVAILABLE, TRUE, AVAILABLE, ready),
            Condition(ROLLED_OUT, TRUE, ROLLED_OUT, f"{new} what the spec says"),
        ]
    trouble = _trouble(deployment, pods)
    reason = trouble.reason if trouble else "Progressing"
    why = f"; {trouble.said}" if trouble else ""
    if not count:
        return [Condition(AVAILABLE, FALSE, reason, ready + why)]
    made_anew = int(status.get("updatedReplicas", 0))
    said = ready + why
    if status.get("replicas", 0) != made_anew:
        made = f"{made_anew} of {counted(wanted, 'pod')} made anew"
        said = f"{made}, those of before answer until they are ready{why}"
    return [
        Condition(AVAILABLE, TRUE, AVAILABLE, f"{counted(count, 'pod')} can be called"),
        Condition(ROLLED_OUT, FALSE, reason, said),
    ]


def _trouble(deployment: Object, pods: Iterable[Object]) -> Trouble | None:
    newest = sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True)
    for pod in newest:
        if "deletionTimestamp" not in pod["metadata"] and (found := _of_pod(pod)):
            return Trouble(found.reason, f"{pod['metadata']['name']}: {found.said}")
    told = {one["type"]: one for one in (deployment.get("status") or {}).get("conditions", ())}
    failure, progress = told.get("ReplicaFailure"), told.get("Progressing")
    if failure is not None and failure["status"] == "True":
        return Trouble("PodsRefused", str(failure.get("message", "")))
    if progress is not None and progress.get("reason") == "ProgressDeadlineExceeded":
        return Trouble("RolloutFailed", str(progress.get("message", "")))
    return next((one for pod in newest if (one := _slow(pod))), None)


def _of_pod(pod: Object) -> Trouble | None:
    status = pod.get("status") or {}
    for one in status.get("conditions", ()):
        if (one["type"], one["status"]) == ("PodScheduled", "False"):
            return Trouble("Unschedulable", str(one.get("message", "it cannot be scheduled")))
    for one in status.get("containerStatuses", ()):
        if not one.get("ready") and (found := _of_container(one)):
            return found
    return None


def _of_container(one: Mapping[str, Any]) -> Trouble | None:
    """One that has ended before is crashing, also in the moment in which it runs again."""
    state = one.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = str(waiting.get("reason") or "")
    said = f"{reason}: {waiting.get('message', '')}".rstrip(": ")
    if reason in _IMAGE:
        return Trouble("ImageNotPulled", said)
    ended = state.get("terminated") or (one.get("lastState") or {}).get("terminated")
    if ended:
        word = ended.get("reason", "Error")
        how = f"it ended with exit code {ended.get('exitCode')} ({word})"
        return Trouble("Crashing", f"{said}; {how}" if reason else how)
    if reason and reason not in _STARTING:
        return Trouble("ContainerNotCreated", said)
    return None


def _slow(pod: Object) -> Trouble | None:
    """It runs, and nobody listens yet: on its way up, or on another port."""
    for one in (pod.get("status") or {}).get("containerStatuses", ()):
        if not one.get("ready") and (one.get("state") or {}).get("running"):
            what = "it runs, and does not listen on spec.port yet"
            return Trouble("Progressing", f"{pod['metadata']['name']}: {what}")
    return None
