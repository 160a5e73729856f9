"""An MCPPipeline as the pipeline file that the tool server runs, and a run of it as a status. Pure.

Source of the shapes: deploy/crds/mcppipelines.yaml, docs/schemas/pipeline.schema.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pilotage.domain.text import cut, visible
from pilotage.kubernetes.kind import Object
from pilotage.operator.definition import check_bounds

JOB = "k8s_job"
_APPROVAL = re.compile(r"[0-9A-Z]{58}")
"""The id of a call's approval, which an earlier attempt may have had (tool/approvals.py)."""
_ATTEMPT = re.compile(r"[0-9]{1,9}")
MESSAGE_LIMIT = 1_000
STEPS = 100
PROBLEMS = 10
_SAME = ("name", "tool", "params", "on_failure", "retry_count", "retry_delay", "depends_on")
_JOB = {
    "image": "image",
    "imagePullPolicy": "image_pull_policy",
    "command": "command",
    "args": "args",
    "workingDir": "working_dir",
    "env": "env",
    "resources": "resources",
    "serviceAccountName": "service_account",
}


def document(pipeline: Object, cluster: str) -> dict[str, Any]:
    """The pipeline, in the words of a pipeline file. Its jobs run in its own namespace, in the
    cluster that the tool server knows as `cluster` ("": the only one). BadInput: too deep."""
    meta, spec = pipeline["metadata"], pipeline["spec"]
    check_bounds(spec)
    made: dict[str, Any] = {"name": f"{meta['namespace']}/{meta['name']}"}
    made |= {name: spec[name] for name in ("description", "inputs", "env") if name in spec}
    made["steps"] = [_step(one, meta["namespace"], cluster) for one in spec["steps"]]
    return made


def _step(given: Mapping[str, Any], namespace: str, cluster: str) -> dict[str, Any]:
    step = {name: given[name] for name in (*_SAME, "timeout") if name in given}
    if "job" not in given:
        return step
    params = {ours: given["job"][theirs] for theirs, ours in _JOB.items() if theirs in given["job"]}
    params["namespace"] = namespace
    if cluster:
        params["cluster"] = cluster
    if "timeout" in given:
        params["seconds"] = int(given["timeout"])
    return {**step, "tool": JOB, "params": params}


def steps(view: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How the steps of a run stand, as the status holds them."""
    return [_told(one) for one in view["steps"][:STEPS]]


def _told(one: Mapping[str, Any]) -> dict[str, Any]:
    outputs = one.get("outputs") or {}
    verdict = f"{outputs['verdict']}: {outputs.get('why')}" if "verdict" in outputs else ""
    message = one.get("error") or one.get("why") or verdict
    told = {
        "name": one["name"],
        "state": one["state"],
        "outcome": one.get("outcome"),
        "attempt": one.get("attempt") or None,
        "seconds": one.get("seconds") or None,
        "message": cut(message, MESSAGE_LIMIT) or None,
    }
    return {key: value for key, value in told.items() if value is not None}


def problems(found: Iterable[Mapping[str, Any]]) -> str:
    """What lint has found, in words: the first of it."""
    found = list(found)
    said = [_problem(one) for one in found[:PROBLEMS]]
    more = [f"and {len(found) - PROBLEMS} more"] if len(found) > PROBLEMS else []
    return "; ".join([*said, *more])


def _problem(one: Mapping[str, Any]) -> str:
    hint = f" ({one['hint']})" if one.get("hint") else ""
    where = f"{one['path']}: " if one.get("path") else ""
    return visible(f"{where}{one['what']}{hint}")


def waiting(view: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a person decides about, each by an id of its own: the approval that its call needs, or
    the attempt that has failed. A later attempt is another question."""
    return list(_waiting(view))


def _waiting(view: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    named = set(view.get("waiting") or ())
    for one in view["steps"]:
        if one["name"] in named:
            yield {
                "id": one.get("approval") or f"{one['name']}.{one['attempt']}",
                "step": one["name"],
                "message": cut(one.get("why") or one.get("error") or "", MESSAGE_LIMIT),
            }


def never_waited(view: Mapping[str, Any], ids: Iterable[str]) -> str:
    """The first id of these under which nothing can have waited: a slip of the pen; "": none."""
    last = {one["name"]: one.get("attempt") or 0 for one in view["steps"]}
    for id in ids:
        name, _, number = id.rpartition(".")
        attempt = int(number) if _ATTEMPT.fullmatch(number) else None
        past = attempt is not None and attempt <= last.get(name, -1)
        if not past and not _APPROVAL.fullmatch(id):
            return id
    return ""
