"""The Job that runs one container once, whatever becomes of its pod, and then is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilotage.kubernetes import restricted
from pilotage.kubernetes.kind import Object, there

KEPT_SECONDS = 86_400
"""How long the cluster keeps a Job that has ended, so that its end is not missed."""
GRACE_SECONDS = 5
"""How long a pod that is ended may take: another attempt waits for it."""
DISRUPTED = "DisruptionTarget"
"""The condition of a pod that the cluster ends: for a drain, for a more urgent pod, for want of
memory. No other is made in its place: that would run the attempt twice."""
MARK = "pilotage/work"
_LABEL = "app.kubernetes.io/managed-by"


def new_job(
    name: str, namespace: str, mark: str, container: Mapping[str, Any], account: str, seconds: int
) -> Object:
    """To be created. `mark` is what `mark_of` finds at it."""
    labels = {_LABEL: "pilotage"}
    meta = {
        "name": name,
        "namespace": namespace,
        "labels": labels,
        "annotations": {MARK: mark},
    }
    disrupted = [{"type": DISRUPTED, "status": "True"}]
    return {
        "metadata": meta,
        "spec": {
            "backoffLimit": 0,  # trying again is the pipeline's business
            "podFailurePolicy": {"rules": [{"action": "FailJob", "onPodConditions": disrupted}]},
            "activeDeadlineSeconds": seconds,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": _pod(container, account)},
        },
    }


def _pod(container: Mapping[str, Any], account: str) -> dict[str, Any]:
    return there(
        {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "serviceAccountName": account or None,
            "automountServiceAccountToken": bool(account),
            "enableServiceLinks": False,
            "securityContext": restricted.POD,
            "containers": [
                {
                    "name": "job",
                    **there(container),
                    "securityContext": restricted.CONTAINER,
                    "volumeMounts": restricted.MOUNTS,
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        }
    )


def mark_of(job: Object) -> str:
    """Of which piece of work it is; "": of none of ours."""
    return str((job["metadata"].get("annotations") or {}).get(MARK) or "")
