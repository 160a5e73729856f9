"""k8s_deployer on real pods: what comes up stays, and what does not is taken back, and why."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from cluster_desk import Desk
from deployed_web import service, settings, web
from pilotage.domain.call import LET_GO, Outcome
from waiting import until

DEPLOY = "k8s_deployer"
CRASH = ["/bin/sh", "-c", "echo reads the settings; echo no database here; exit 3"]


def image(desk: Desk) -> str:
    found = desk.there("deployment", "web")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


async def first(desk: Desk) -> str:
    """Version 1 is there; the path of its manifest."""
    path = desk.write(settings(color="blue"), service(), web())
    done = await desk.call(DEPLOY, manifest_path=path, image_tag="1")
    assert done.succeeded, done
    desk.said.clear()
    return path


async def test_a_new_version_rolls_out_and_is_told_as_it_comes(node_desk: Desk) -> None:
    path = await first(node_desk)
    done = await node_desk.call(DEPLOY, manifest_path=path, image_tag="2")
    assert done.succeeded, done
    assert done.value["images"] == [
        {"object": "Deployment web", "container": "web", "before": "localhost/web:1",
         "after": "localhost/web:2"}
    ]  # fmt: skip
    assert done.value["revisions"] == [{"object": "Deployment web", "before": "1", "after": "2"}]
    assert "-      - image: localhost/web:1" in done.value["diff"]
    assert not done.value["rolled_back"]
    assert "Deployment web: 2 of 2 updated, 2 available" in node_desk.said
    live = node_desk.there("deployment", "web")
    assert not [one for one in live["metadata"]["annotations"] if one.startswith("pilotage/")]
    assert live["status"]["updatedReplicas"] == live["status"]["readyReplicas"] == 2


async def test_an_image_that_is_not_there_is_found_out_at_once(node_desk: Desk) -> None:
    path = await first(node_desk)
    done = await node_desk.call(DEPLOY, manifest_path=path, image_tag="none")
    assert done.outcome is Outcome.FAILED
    assert done.error is not None
    assert done.error.startswith("rolled back: Deployment web does not come up")
    assert "ErrImageNeverPull" in done.error
    assert "localhost/web:none" in done.error
    assert done.value["rolled_back"]
    assert image(node_desk) == "localhost/web:1"
    assert node_desk.there("deployment", "web")["status"]["readyReplicas"] == 2


async def test_a_crash_loop_is_told_with_its_last_lines_and_all_is_as_it_was(
    node_desk: Desk,
) -> None:
    await first(node_desk)
    more = service()
    more["metadata"]["name"] = "more"
    path = node_desk.write(settings(color="red"), more, web(command=CRASH))
    done = await node_desk.call(DEPLOY, manifest_path=path, image_tag="2")
    assert done.outcome is Outcome.FAILED
    assert "CrashLoopBackOff" in str(done.error)
    assert "exit code 3" in str(done.error)
    assert "its last lines: reads the settings | no database here" in str(done.error)
    assert node_desk.there("configmap", "settings")["data"] == {"color": "blue"}
    assert node_desk.get("service", "more") is None, "it was not there before"
    container = node_desk.there("deployment", "web")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "localhost/web:1"
    assert "command" not in container
    again = await node_desk.call(DEPLOY, manifest_path=node_desk.write(web()), image_tag="2")
    assert again.succeeded, "what was put back is no conflict"


async def test_a_probe_that_says_no_is_told_while_it_does_and_is_the_reason(
    node_desk: Desk,
) -> None:
    await first(node_desk)
    path = node_desk.write(web(path="/nowhere"))
    done = await node_desk.call(DEPLOY, manifest_path=path, image_tag="2", timeout_seconds=10)
    assert done.outcome is Outcome.FAILED
    assert "is not rolled out after 10 s" in str(done.error)
    assert "Readiness probe failed: HTTP probe failed with statuscode: 404" in str(done.error)
    assert any("runs and is not ready" in line for line in node_desk.said)
    assert image(node_desk) == "localhost/web:1"


async def test_what_no_pod_can_be_made_of_is_told(node_desk: Desk) -> None:
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    node_desk.access.kubectl("label", "namespace", node_desk.namespace, restricted)
    path = node_desk.write(web())
    done = await node_desk.call(DEPLOY, manifest_path=path, image_tag="1")
    assert "no pod can be made" in str(done.error)
    assert 'violates PodSecurity "restricted:latest"' in str(done.error)
    assert node_desk.get("deployment", "web") is None


async def test_who_cancels_it_gets_back_what_was_there(node_desk: Desk) -> None:
    await first(node_desk)
    path = node_desk.write(settings(color="red"), web(path="/nowhere"))
    task = asyncio.create_task(node_desk.call(DEPLOY, manifest_path=path, image_tag="2"))
    await until(lambda: any("is not ready" in line for line in node_desk.said))
    task.cancel()
    await asyncio.wait([task])
    assert image(node_desk) == "localhost/web:1"
    assert node_desk.there("configmap", "settings")["data"] == {"color": "blue"}


async def test_taken_up_after_it_was_cut_off_it_still_knows_the_way_back(node_desk: Desk) -> None:
    await first(node_desk)
    path = node_desk.write(settings(color="red"), web(path="/nowhere"))
    given: dict[str, Any] = {"manifest_path": path, "image_tag": "2", "timeout_seconds": 10}
    task = asyncio.create_task(node_desk.step(DEPLOY, "run-1/deploy", **given))
    await until(lambda: any("is not ready" in line for line in node_desk.said))
    task.cancel(LET_GO)
    await asyncio.wait([task])
    assert image(node_desk) == "localhost/web:2", "let go, it is left as it is"
    done = await node_desk.step(DEPLOY, "run-1/deploy", **given)
    assert done.outcome is Outcome.FAILED
    assert [one["change"] for one in done.value["objects"]] == ["changed", "changed"]
    assert image(node_desk) == "localhost/web:1"
    assert node_desk.there("configmap", "settings")["data"] == {"color": "blue"}


async def test_a_job_in_the_manifest_is_waited_for_and_its_failure_is_one(node_desk: Desk) -> None:
    def job(name: str, command: str) -> dict[str, object]:
        container = {"name": "job", "image": "localhost/web:1", "imagePullPolicy": "Never",
                     "command": ["/bin/sh", "-c", command]}  # fmt: skip
        pod = {"restartPolicy": "Never", "containers": [container]}
        spec = {"backoffLimit": 0, "template": {"spec": pod}}
        meta = {"name": name}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}

    done = await node_desk.call(DEPLOY, manifest_path=node_desk.write(job("good", "true")))
    assert done.succeeded, done
    done = await node_desk.call(DEPLOY, manifest_path=node_desk.write(job("bad", "exit 1")))
    assert "Job bad does not come up: BackoffLimitExceeded" in str(done.error)
    assert node_desk.get("job", "bad") is None


async def test_stateful_and_daemon_sets_are_waited_for(node_desk: Desk) -> None:
    stateful, daemon = web(), web()
    stateful |= {"kind": "StatefulSet", "metadata": {"name": "s"}}
    stateful["spec"] |= {"serviceName": "s"}
    daemon |= {"kind": "DaemonSet", "metadata": {"name": "d"}}
    del daemon["spec"]["replicas"]
    for each in (stateful, daemon):
        each["spec"]["template"]["metadata"] = {"labels": {"app": each["kind"]}}
        each["spec"]["selector"] = {"matchLabels": {"app": each["kind"]}}
    path = node_desk.write(stateful, daemon)
    for tag in ("1", "2"):
        done = await node_desk.call(DEPLOY, manifest_path=path, image_tag=tag)
        assert done.succeeded, done
    assert "StatefulSet s: 2 of 2 updated, 2 of 2 ready" in node_desk.said
    bad = await node_desk.call(DEPLOY, manifest_path=path, image_tag="none")
    assert "ErrImageNeverPull" in str(bad.error)
    assert bad.value["rolled_back"], bad


async def test_what_runs_no_pod_is_said_and_does_not_read_as_if_it_ran(node_desk: Desk) -> None:
    none, nowhere = web(replicas=0), web()
    nowhere |= {"kind": "DaemonSet", "metadata": {"name": "nowhere"}}
    del nowhere["spec"]["replicas"]
    nowhere["spec"]["template"]["spec"]["nodeSelector"] = {"there": "nowhere"}
    path = node_desk.write(none, nowhere)
    done = await node_desk.call(
        DEPLOY, manifest_path=path, image_tag="1", rollout_strategy="canary"
    )
    assert done.succeeded, done
    assert "Deployment web runs no pod: spec.replicas is 0" in done.value["message"]
    assert "DaemonSet nowhere runs no pod: no node is meant to run it" in done.value["message"]
    assert [line for line in node_desk.said if line.startswith("no canary: ")]


async def test_pods_that_keep_their_version_are_said(node_desk: Desk) -> None:
    labels = {"app": "s"}
    stateful = web(replicas=1)
    stateful |= {"kind": "StatefulSet", "metadata": {"name": "s"}}
    stateful["spec"] |= {"serviceName": "s", "selector": {"matchLabels": labels}}
    stateful["spec"]["template"]["metadata"] = {"labels": labels}
    ways = [
        ({"type": "OnDelete"}, "they change when somebody deletes them (OnDelete)"),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}, "partition is 1"),
    ]
    for number, (way, why) in enumerate(ways):
        stateful["spec"]["updateStrategy"] = way
        path = node_desk.write(stateful)
        if not number:
            first = await node_desk.call(DEPLOY, manifest_path=path, image_tag="1")
            assert first.succeeded, first
            await until(lambda: node_desk.there("pod", "s-0")["status"]["phase"] == "Running")
            assert "version before" not in first.value["message"], "there was none"
        done = await node_desk.call(DEPLOY, manifest_path=path, image_tag="2")
        assert done.succeeded, done
        told = f"StatefulSet s leaves 1 pod at the version before: {why}"
        assert told in done.value["message"]


PIPELINE = """
name: release
steps:
  - name: deploy-to-production
    tool: k8s_deployer
    params: {cluster: test, namespace: NAMESPACE, manifest_path: manifest.yaml, image_tag: none}
    on_failure: manual
  - name: announce
    tool: k8s_job
    params: {image: "localhost/web:1", namespace: NAMESPACE}
"""


async def test_a_step_that_was_taken_back_waits_for_a_person(node_desk: Desk) -> None:
    """`on_failure: manual` of the article's appendix D, at the terminal: exit 5."""
    await first(node_desk)
    text = PIPELINE.replace("NAMESPACE", node_desk.namespace)
    (node_desk.folder / "release.yaml").write_text(text)
    home = {"PILOTAGE_HOME": str(node_desk.app.settings.home)}
    run = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "pilotage"), "run", "release.yaml",
        env={**os.environ, **home}, cwd=node_desk.folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await run.communicate()
    assert run.returncode == 5, said.decode()
    assert b"rolled back: Deployment web does not come up" in said
    assert b"ErrImageNeverPull" in said
    assert image(node_desk) == "localhost/web:1"
    assert node_desk.kubectl("get", "jobs", "-o", "name") == "", "what depends on it did not run"
