"""k8s_job on real pods: how it ends, what it says, and that one piece of work is one Job."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster_desk import Desk
from pilotage.domain.call import LET_GO, Outcome
from pilotage.domain.errors import Conflict
from pilotage.kubernetes.removal import SECONDS
from waiting import until

JOB = "k8s_job"


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {
        "image": "localhost/web:1",
        "image_pull_policy": "Never",
        "command": ["/bin/sh", "-c", script],
        **more,
    }


def jobs(desk: Desk) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(desk.kubectl("get", "jobs", "-o", "json"))["items"]
    return found


async def test_a_container_that_exits_with_0_is_a_success_and_is_heard_while_it_runs(
    node_desk: Desk,
) -> None:
    script = "echo one; sleep 3; echo $COLOR; id -u; touch /tmp/x && echo fits"
    env = [{"name": "COLOR", "value": "blue"}]
    task = asyncio.create_task(node_desk.call(JOB, **shell(script, env=env)))
    await until(lambda: "one" in node_desk.said or task.done())
    assert not task.done(), "its lines come while it runs"
    done = await task
    assert done.succeeded, done
    assert done.value["exit_code"] == 0
    assert done.value["log"] == "one\nblue\n65532\nfits\n"


async def test_it_fits_the_restricted_standard(node_desk: Desk) -> None:
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    node_desk.access.kubectl("label", "namespace", node_desk.namespace, restricted)
    done = await node_desk.call(JOB, **shell("touch /x || echo read-only"))
    assert done.succeeded, done
    assert "read-only" in done.value["log"]


async def test_an_exit_code_is_the_failure_and_its_last_line_is_told(node_desk: Desk) -> None:
    done = await node_desk.call(JOB, **shell("echo works; echo no such table; exit 7"))
    assert done.outcome is Outcome.FAILED
    assert done.value["exit_code"] == 7
    assert "exit code 7" in str(done.error)
    assert "its last line: no such table" in str(done.error)


async def test_a_secret_is_given_by_reference_and_written_nowhere(node_desk: Desk) -> None:
    node_desk.kubectl("create", "secret", "generic", "key", "--from-literal=token=canary-5d1e")
    env = [{"name": "TOKEN", "secretKeyRef": {"name": "key", "key": "token"}}]
    done = await node_desk.call(JOB, **shell('test "${#TOKEN}" = 11', env=env))
    assert done.succeeded, done
    assert "canary-5d1e" not in json.dumps(jobs(node_desk))


async def test_one_that_takes_too_long_is_ended(node_desk: Desk) -> None:
    done = await node_desk.call(JOB, **shell("echo begins; sleep 600", seconds=5))
    assert done.outcome is Outcome.TIMED_OUT, done
    assert "DeadlineExceeded" in str(done.error)


async def test_an_image_that_is_not_there_is_told_at_once(node_desk: Desk) -> None:
    done = await node_desk.call(JOB, **shell("true") | {"image": "localhost/web:none"})
    assert done.outcome is Outcome.FAILED
    assert "the Job cannot run" in str(done.error)
    assert "ErrImageNeverPull" in str(done.error)
    assert "localhost/web:none" in str(done.error)
    await until(lambda: jobs(node_desk) == [])


async def test_who_cancels_it_ends_the_job(node_desk: Desk) -> None:
    task = asyncio.create_task(node_desk.call(JOB, **shell("echo begins; sleep 600")))
    await until(lambda: "begins" in node_desk.said)
    assert len(jobs(node_desk)) == 1
    task.cancel()
    await asyncio.wait([task])
    await until(lambda: jobs(node_desk) == [])


async def test_when_its_call_is_over_no_pod_of_it_runs_any_more(node_desk: Desk) -> None:
    """Else the next attempt would run beside it: this one does not end when it is asked to."""
    given = shell("trap '' TERM; echo begins; while true; do sleep 1; done")
    task = asyncio.create_task(node_desk.call(JOB, **given))
    await until(lambda: "begins" in node_desk.said)
    task.cancel()
    _, late = await asyncio.wait([task], timeout=SECONDS)
    assert not late
    assert node_desk.kubectl("get", "pods", "-o", "name") == ""


async def test_a_pod_that_the_cluster_ends_gets_no_second_in_the_same_attempt(
    node_desk: Desk,
) -> None:
    task = asyncio.create_task(node_desk.call(JOB, **shell("echo begins; sleep 20")))
    await until(lambda: "begins" in node_desk.said)
    (pod,) = node_desk.kubectl("get", "pods", "-o", "name").split()
    name = pod.removeprefix("pod/")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{node_desk.namespace}/pods/{name}/eviction"
    node_desk.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))
    done = await task
    assert done.outcome is Outcome.FAILED, done
    assert "the cluster has ended its pod, which was evicted, drained or preempted" in str(
        done.error
    )
    assert "retry_count of the step runs it again" in str(done.error)
    made = "involvedObject.kind=Job,reason=SuccessfulCreate"
    events = node_desk.kubectl("get", "events", f"--field-selector={made}", "-o", "name").split()
    assert len(events) == 1


async def test_let_go_and_taken_up_under_its_key_it_is_the_same_job(node_desk: Desk) -> None:
    given = shell("echo begins; sleep 5; echo ends")
    task = asyncio.create_task(node_desk.step(JOB, "run-1/job", **given))
    await until(lambda: "begins" in node_desk.said)
    task.cancel(LET_GO)
    await asyncio.wait([task])
    (there,) = jobs(node_desk)
    done = await node_desk.step(JOB, "run-1/job", **given)
    assert done.succeeded, done
    assert done.value["log"] == "begins\nends\n"
    assert [one["metadata"]["uid"] for one in jobs(node_desk)] == [there["metadata"]["uid"]]
    again = await node_desk.step(JOB, "run-1/job", attempt=2, **given)
    assert again.succeeded, "another attempt is another Job"
    assert len(jobs(node_desk)) == 2


async def test_a_job_of_the_same_name_that_is_not_of_this_work_is_not_adopted(
    node_desk: Desk,
) -> None:
    await node_desk.step(JOB, "run-1/job", **shell("true"))
    name = jobs(node_desk)[0]["metadata"]["name"]
    node_desk.kubectl("annotate", "job", name, "pilotage/work=other", "--overwrite")
    with pytest.raises(Conflict, match=f"there is a Job {name} in .* not of this call"):
        await node_desk.step(JOB, "run-1/job", **shell("true"))


PIPELINE = """
name: migrates
steps:
  - name: migrate
    tool: k8s_job
    params: {image: "localhost/web:1", image_pull_policy: Never, namespace: NAMESPACE,
             command: [/bin/sh, -c, "echo begins; sleep 6; echo ends"]}
"""


async def test_after_kill_9_the_run_goes_on_with_the_job_that_is_there(node_desk: Desk) -> None:
    """A run in a process of its own, which is killed; the same command again takes it up."""
    file = node_desk.folder / "pipeline.yaml"
    file.write_text(PIPELINE.replace("NAMESPACE", node_desk.namespace))
    home = node_desk.folder.parent / "other"
    home.mkdir(mode=0o700)
    shutil.copy(node_desk.app.settings.home / "config.yaml", home)
    argv = [str(Path(sys.executable).parent / "pilotage"), "run", str(file), "--key", "release-1"]
    environment = {**os.environ, "PILOTAGE_HOME": str(home)}
    given: dict[str, Any] = {
        "env": environment,
        "cwd": node_desk.folder,
        "stdout": asyncio.subprocess.PIPE,
        "stderr": asyncio.subprocess.STDOUT,
    }
    first = await asyncio.create_subprocess_exec(*argv, **given)
    await until(lambda: len(jobs(node_desk)) == 1 or first.returncode is not None)
    with contextlib.suppress(ProcessLookupError):
        first.kill()
    said, _ = await first.communicate()
    (there,) = jobs(node_desk) or pytest.fail(said.decode())
    second = await asyncio.create_subprocess_exec(*argv, **given)
    said, _ = await second.communicate()
    assert second.returncode == 0, said.decode()
    assert [one["metadata"]["uid"] for one in jobs(node_desk)] == [there["metadata"]["uid"]]
    assert b"succeeded" in said
