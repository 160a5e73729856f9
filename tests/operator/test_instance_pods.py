"""What is said of pods that are not well: the cluster's own words, under one word that stays."""

from __future__ import annotations

from typing import Any

import pytest

from pilotage.operator import instance_pods

NOT_THERE = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
BACK_OFF = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
LOOPS = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting"}}
ENDED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
RUNS: dict[str, Any] = {"running": {"startedAt": "2026-11-26T06:00:00Z"}}


def deployment(*, conditions: Any = (), **status: Any) -> dict[str, Any]:
    told = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, **status}
    return {"metadata": {"generation": 2}, "status": {**told, "conditions": conditions}}


def pod(name: str, state: Any, last: Any = None, made: str = "2026-11-26T06:00:00Z") -> Any:
    container = {"name": "mcp", "ready": False, "state": state, "lastState": last or {}}
    meta = {"name": name, "creationTimestamp": made}
    return {"metadata": meta, "status": {"containerStatuses": [container]}}


def said(deployment: Any, *pods: Any, replicas: int = 1) -> list[tuple[str, str, str]]:
    found = instance_pods.conditions({"replicas": replicas}, deployment, pods)
    return [(one.status, one.reason, one.message) for one in found]


@pytest.mark.parametrize(
    ("state", "last", "reason", "words"),
    [
        (NOT_THERE, None, "ImageNotPulled", "ErrImagePull: not found"),
        (BACK_OFF, None, "ImageNotPulled", "ImagePullBackOff: Back-off pulling image"),
        (LOOPS, ENDED, "Crashing", "CrashLoopBackOff: back-off 20s restarting; it ended with"),
        (ENDED, None, "Crashing", "it ended with exit code 137 (OOMKilled)"),
        (RUNS, ENDED, "Crashing", "it ended with exit code 137 (OOMKilled)"),
        (RUNS, None, "Progressing", "it runs, and does not listen on spec.port yet"),
        (
            {"waiting": {"reason": "CreateContainerConfigError", "message": "no such user"}},
            None,
            "ContainerNotCreated",
            "CreateContainerConfigError: no such user",
        ),
    ],
)
def test_a_pod_that_is_not_ready_says_why(state: Any, last: Any, reason: str, words: str) -> None:
    [(status, found, message)] = said(deployment(), pod("a-1", state, last))
    assert (status, found) == ("False", reason)
    assert message.startswith(f"0 of 1 pod is ready; a-1: {words}")


def test_the_newest_pod_speaks_first_and_one_that_is_going_not_at_all() -> None:
    old = pod("old", NOT_THERE, made="2026-11-26T05:00:00Z")
    new = pod("new", LOOPS, ENDED)
    assert said(deployment(), old, new)[0][1] == "Crashing"
    new["metadata"]["deletionTimestamp"] = "2026-11-26T06:01:00Z"
    assert said(deployment(), old, new)[0][1] == "ImageNotPulled"


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ({"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}, "PodsRefused"),
        (
            {
                "type": "Progressing",
                "status": "False",
                "reason": "ProgressDeadlineExceeded",
                "message": "has timed out",
            },
            "RolloutFailed",
        ),
    ],
)
def test_where_no_pod_speaks_the_deployment_does(condition: Any, reason: str) -> None:
    [(_, found, message)] = said(deployment(conditions=[condition]))
    assert (found, message.endswith(condition["message"])) == (reason, True)


def test_it_cannot_be_scheduled() -> None:
    waiting = pod("a-1", {})
    told = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    waiting["status"] = {"conditions": [told]}
    [(_, reason, message)] = said(deployment(), waiting)
    assert (reason, "0/1 nodes are available" in message) == ("Unschedulable", True)


def test_pods_of_before_are_available_while_the_new_ones_are_not() -> None:
    rolling = deployment(replicas=3, updatedReplicas=1, availableReplicas=2)
    available, rolled_out = said(rolling, pod("new", NOT_THERE), replicas=2)
    assert available[:2] == ("True", "Available")
    assert rolled_out[:2] == ("False", "ImageNotPulled")
    assert rolled_out[2].startswith("1 of 2 pods made anew, those of before answer")


def test_some_pods_that_crash_are_said_though_another_answers() -> None:
    half = deployment(replicas=3, updatedReplicas=3, availableReplicas=1)
    available, rolled_out = said(half, pod("a-1", LOOPS, ENDED), replicas=3)
    assert available[:2] == ("True", "Available")
    assert rolled_out[:2] == ("False", "Crashing")
    assert rolled_out[2].startswith("1 of 3 pods are ready; a-1: CrashLoopBackOff")


def test_what_the_deployment_says_of_an_older_spec_counts_for_nothing() -> None:
    late = deployment(observedGeneration=1, availableReplicas=1)
    assert not instance_pods.is_rolled_out(late, 1)
    assert instance_pods.is_rolled_out(deployment(availableReplicas=1), 1)
