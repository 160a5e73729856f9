"""Is a workload rolled out? Over objects as a real cluster shows them."""

from __future__ import annotations

from typing import Any

import pytest

from pilotage.kubernetes.rollout import standing


def stateful(updated: int, to: str = "db-a", **spec: Any) -> dict[str, Any]:
    """Three pods, all ready, the current revision db-a."""
    return {
        "kind": "StatefulSet",
        "metadata": {"name": "db", "generation": 3},
        "spec": {"replicas": 3, **spec},
        "status": {
            "observedGeneration": 3,
            "replicas": 3,
            "readyReplicas": 3,
            "currentRevision": "db-a",
            "updateRevision": to,
            "updatedReplicas": updated,
        },
    }


@pytest.mark.parametrize(("updated", "done"), [(2, False), (3, True)])
def test_going_back_in_mid_rollout_it_waits_for_the_pods_of_the_other_version(
    updated: int, done: bool
) -> None:
    """Both revisions are the same then, and a pod is still of another."""
    assert standing(stateful(updated)).done is done


@pytest.mark.parametrize(
    ("partition", "updated", "done", "idle"),
    [
        (0, 2, False, None),
        (1, 2, True, "leaves 1 pod at the version before: partition is 1"),
        (5, 0, True, "leaves 3 pods at the version before: partition is 5"),
        (5, 3, True, ""),
    ],
)
def test_a_partition_is_done_when_its_pods_are(
    partition: int, updated: int, done: bool, idle: str | None
) -> None:
    way = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    found = standing(stateful(updated, "db-b", updateStrategy=way))
    assert found.done is done
    assert idle is None or found.idle == idle


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_new_pods_are_waited_for_whoever_would_delete_old_ones(kind: str) -> None:
    counts = {
        "StatefulSet": {"replicas": 1, "updatedReplicas": 1},
        "DaemonSet": {
            "desiredNumberScheduled": 1, "currentNumberScheduled": 1, "updatedNumberScheduled": 1
        },
    }  # fmt: skip
    ready = {"StatefulSet": "readyReplicas", "DaemonSet": "numberAvailable"}
    one: dict[str, Any] = {
        "kind": kind,
        "metadata": {"generation": 1},
        "spec": {"updateStrategy": {"type": "OnDelete"}},
        "status": {"observedGeneration": 1, **counts[kind]},
    }
    assert not standing(one).done
    one["status"][ready[kind]] = 1
    assert standing(one).done


def test_pods_that_wait_to_be_deleted_are_told() -> None:
    way = {"type": "OnDelete"}
    why = "pods at the version before: they change when somebody deletes them (OnDelete)"
    assert standing(stateful(1, "db-b", updateStrategy=way)).idle == f"leaves 2 {why}"
    assert standing(stateful(3, "db-b", updateStrategy=way)).idle == ""
    daemon = {
        "kind": "DaemonSet",
        "metadata": {"generation": 1},
        "spec": {"updateStrategy": way},
        "status": {
            "observedGeneration": 1, "currentNumberScheduled": 4, "updatedNumberScheduled": 1
        },
    }  # fmt: skip
    assert standing(daemon).idle == f"leaves 3 {why}"
