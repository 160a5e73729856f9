"""A canary on real pods: its share, what is asked of it, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from cluster_desk import Desk
from deployed_web import service, web
from pilotage.domain.call import LET_GO, Outcome
from waiting import until

DEPLOY = "k8s_deployer"
CANARY: dict[str, Any] = {
    "rollout_strategy": "canary",
    "canary_percent": [25, 50],
    "canary_pause_seconds": 2,
}
SHORT = ["/bin/sh", "-c", "/bin/httpd -p 8080 -h /www; sleep 4; exit 7"]


async def first(desk: Desk, replicas: int = 2) -> str:
    """Version 1 is there; the path of its manifest."""
    path = desk.write(service(), web(replicas=replicas))
    done = await desk.call(DEPLOY, manifest_path=path, image_tag="1", **CANARY)
    assert done.succeeded, done
    assert done.value["steps"] == [], "there was nothing to stand beside"
    desk.said.clear()
    return path


def version(desk: Desk) -> tuple[str, int]:
    """The image of the Deployment itself, and its generation."""
    found = desk.there("deployment", "web")
    image = found["spec"]["template"]["spec"]["containers"][0]["image"]
    return str(image), int(found["metadata"]["generation"])


async def test_a_good_version_goes_step_by_step_and_then_everywhere(node_desk: Desk) -> None:
    path = await first(node_desk)
    checks = [{"path": "/", "port": 8080}]
    task = asyncio.create_task(
        node_desk.call(DEPLOY, manifest_path=path, image_tag="2", checks=checks, **CANARY)
    )
    await until(lambda: any("1 new beside 2" in line for line in node_desk.said))
    behind = json.loads(node_desk.kubectl("get", "endpoints", "web", "-o", "json"))
    assert len(behind["subsets"][0]["addresses"]) == 3, "the Service sends it its share"
    assert version(node_desk)[0] == "localhost/web:1", "and the Deployment is not touched"
    done = await task
    assert done.succeeded, done
    steps = done.value["steps"]
    assert [(one["percent"], one["pods"]) for one in steps] == [
        (25, "1 new beside 2"),
        (50, "2 new beside 2"),
    ]
    said = {one["name"]: one["said"] for one in steps[1]["checks"]}
    assert said == {
        "readiness": "2 of 2 pods ready",
        "restarts": "0 restarts",
        ":8080/": "2 pods answered",
    }
    assert version(node_desk)[0] == "localhost/web:2"
    assert node_desk.get("deployment", "web-canary") is None


async def test_a_version_that_does_not_hold_a_check_is_taken_back_with_the_reason(
    node_desk: Desk,
) -> None:
    path = await first(node_desk)
    before = version(node_desk)
    checks = [{"path": "/nowhere", "port": 8080}]
    done = await node_desk.call(DEPLOY, manifest_path=path, image_tag="2", checks=checks, **CANARY)
    assert done.outcome is Outcome.FAILED
    assert "rolled back: the canary at 25 % does not hold: :8080/nowhere: " in str(done.error)
    assert "answered 404" in str(done.error)
    (step,) = done.value["steps"]
    assert not step["passed"]
    assert version(node_desk) == before, "the Deployment was never touched"
    assert node_desk.get("deployment", "web-canary") is None


async def test_a_canary_that_is_never_ready_is_taken_back(node_desk: Desk) -> None:
    await first(node_desk)
    before = version(node_desk)
    path = node_desk.write(service(), web(path="/nowhere"))
    given = {"manifest_path": path, "image_tag": "2", "timeout_seconds": 8}
    done = await node_desk.call(DEPLOY, **given, **CANARY)
    assert "Deployment web-canary is not rolled out after 8 s" in str(done.error)
    assert "Readiness probe failed" in str(done.error)
    assert version(node_desk) == before
    assert node_desk.get("deployment", "web-canary") is None


async def test_a_canary_that_starts_again_is_taken_back(node_desk: Desk) -> None:
    await first(node_desk)
    path = node_desk.write(service(), web(command=SHORT))
    given = {"manifest_path": path, "image_tag": "2"}
    done = await node_desk.call(DEPLOY, **given, **{**CANARY, "canary_pause_seconds": 60})
    assert done.outcome is Outcome.FAILED
    assert "the canary at 25 % does not hold" in str(done.error)
    assert version(node_desk)[0] == "localhost/web:1"


async def test_who_cancels_it_gets_no_canary(node_desk: Desk) -> None:
    path = await first(node_desk)
    before = version(node_desk)
    slow = {**CANARY, "canary_pause_seconds": 600}
    task = asyncio.create_task(node_desk.call(DEPLOY, manifest_path=path, image_tag="2", **slow))
    await until(lambda: any("1 new beside 2" in line for line in node_desk.said))
    task.cancel()
    await asyncio.wait([task])
    assert node_desk.get("deployment", "web-canary") is None
    assert version(node_desk) == before


async def test_taken_up_under_its_key_it_is_the_same_canary_and_under_another_a_conflict(
    node_desk: Desk,
) -> None:
    path = await first(node_desk)
    given = {"manifest_path": path, "image_tag": "2", **CANARY}
    slow = {**given, "canary_pause_seconds": 600}
    task = asyncio.create_task(node_desk.step(DEPLOY, "run-1/deploy", **slow))
    await until(lambda: any("1 new beside 2" in line for line in node_desk.said))
    task.cancel(LET_GO)
    await asyncio.wait([task])
    left = node_desk.there("deployment", "web-canary")["metadata"]
    other = await node_desk.call(DEPLOY, **given)
    assert "is of another deployment, which may still run" in str(other.error)
    uid, kept = left["uid"], []
    task = asyncio.create_task(node_desk.step(DEPLOY, "run-1/deploy", **given))
    await until(lambda: any("2 new beside 2" in line for line in node_desk.said))
    kept.append(node_desk.there("deployment", "web-canary")["metadata"]["uid"])
    assert (await task).succeeded
    assert kept == [uid], "never two"
    assert version(node_desk)[0] == "localhost/web:2"
