"""A Job of a manifest runs once, whenever the cluster collects it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cluster_desk import Desk
from deployed_web import web
from pilotage.domain.call import LET_GO
from pilotage.kubernetes.clusters import Place
from pilotage.kubernetes.manifests import read
from pilotage.kubernetes.plan import HELD_SECONDS, Work, plan
from pilotage.kubernetes.release import Release, released, rolling
from waiting import until

DEPLOY = "k8s_deployer"


def job(command: str = "true", **spec: Any) -> dict[str, Any]:
    """Without pods (`completions=0`) it is complete at once."""
    container = {"name": "job", "image": "localhost/web:1", "imagePullPolicy": "Never",
                 "command": ["/bin/sh", "-c", command]}  # fmt: skip
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec},
    }


def slow() -> dict[str, Any]:
    """A Deployment that takes longer than the Job and its collection."""
    found = web(replicas=1)
    container = found["spec"]["template"]["spec"]["containers"][0]
    container["readinessProbe"]["initialDelaySeconds"] = 8
    return found


def ran(desk: Desk) -> list[str]:
    """The pods that were ever made for the Job."""
    fields = "involvedObject.kind=Job,reason=SuccessfulCreate"
    found = json.loads(desk.kubectl("get", "events", f"--field-selector={fields}", "-o", "json"))
    return [one["message"] for one in found["items"]]


@pytest.mark.parametrize("first", ["Job", "Deployment"])
async def test_a_job_that_ends_before_the_rest_is_up_runs_once(node_desk: Desk, first: str) -> None:
    objects = [job(ttlSecondsAfterFinished=1), slow()]
    path = node_desk.write(*(objects if first == "Job" else objects[::-1]))
    done = await node_desk.call(DEPLOY, manifest_path=path, image_tag="1")
    assert done.succeeded, done
    assert len(ran(node_desk)) == 1
    await until(lambda: node_desk.get("job", "once") is None)
    assert len(ran(node_desk)) == 1, "its time is that of the manifest again"


async def test_taken_up_after_its_job_has_ended_it_runs_no_second(node_desk: Desk) -> None:
    path = node_desk.write(job(ttlSecondsAfterFinished=1), slow())
    given: dict[str, Any] = {"manifest_path": path, "image_tag": "1"}
    task = asyncio.create_task(node_desk.step(DEPLOY, "run-1/deploy", **given))
    await until(lambda: "Job once: complete" in node_desk.said or task.done())
    task.cancel(LET_GO)
    await asyncio.wait([task])
    await asyncio.sleep(3)
    done = await node_desk.step(DEPLOY, "run-1/deploy", **given)
    assert done.succeeded, done
    assert len(ran(node_desk)) == 1


async def test_a_job_that_is_gone_at_once_takes_nothing_back(desk: Desk) -> None:
    path = desk.write(job(completions=0, ttlSecondsAfterFinished=0))
    done = await desk.call(DEPLOY, manifest_path=path)
    assert done.succeeded, done
    assert "Job once: complete" in desk.said


async def test_a_job_whose_end_nobody_saw_is_no_success(desk: Desk) -> None:
    task = asyncio.create_task(desk.call(DEPLOY, manifest_path=desk.write(job(suspend=True))))
    await until(lambda: desk.get("job", "once") is not None)
    desk.kubectl("delete", "job", "once")
    done = await task
    assert "Job once is gone, and how it ended was not seen" in str(done.error)
    assert "by its ttlSecondsAfterFinished; leave that out" in str(done.error)
    assert done.value["rolled_back"]
    assert desk.get("job", "once") is None


async def _deployed(desk: Desk, meanwhile: Callable[[], Awaitable[None]]) -> str:
    """Planned, then something happens, then deployed: why not."""
    place: Place = desk.app._clusters.get("", desk.by)
    objects = read(desk.folder / "manifest.yaml", lambda path: path)
    items = await plan(place, objects, desk.namespace, Work("mark"), take_over=True)
    await meanwhile()
    doing = Release(place.client, items, desk.said.append, 30, take_over=True)
    return await released(doing, lambda one: rolling(one, []))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("complete", [False, True])
async def test_a_job_that_was_there_is_not_made_again(
    desk: Desk, complete: bool, again: bool
) -> None:
    """Neither where it was taken from, nor where somebody has made another of its name."""
    there = job(completions=0) if complete else job(suspend=True)
    desk.kubectl("create", "-f", desk.write(there))
    if complete:
        desk.kubectl("wait", "--for=condition=complete", "job/once")

    async def meanwhile() -> None:
        desk.kubectl("delete", "job", "once")
        if again:
            desk.kubectl("create", "-f", desk.write(job(suspend=True), name="other.yaml"))

    why = await _deployed(desk, meanwhile)
    assert (why == "") if complete else ("Job once is gone" in why), why
    assert (desk.get("job", "once") is not None) is again


async def test_a_job_that_a_cut_off_deployment_has_left_gets_its_time(desk: Desk) -> None:
    left = job(completions=0, ttlSecondsAfterFinished=HELD_SECONDS)
    argv = ("apply", "--server-side", "--field-manager=pilotage", "-f", "-")
    desk.kubectl(*argv, input=json.dumps(left))
    path = desk.write(job(completions=0, ttlSecondsAfterFinished=3_600))
    done = await desk.call(DEPLOY, manifest_path=path)
    assert done.succeeded, done
    assert desk.there("job", "once")["spec"]["ttlSecondsAfterFinished"] == 3_600


async def test_the_end_of_another_job_of_its_name_is_not_its_end(desk: Desk) -> None:
    task = asyncio.create_task(desk.call(DEPLOY, manifest_path=desk.write(job(suspend=True))))
    await until(lambda: "Job once: 0 running, 0 failed" in desk.said)
    desk.kubectl("replace", "--force", "-f", desk.write(job(completions=0), name="other.yaml"))
    assert "Job once is gone, and how it ended was not seen" in str((await task).error)
    assert desk.get("job", "once") is not None, "it is not ours to remove"
