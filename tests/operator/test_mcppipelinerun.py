"""MCPPipelineRuns: executed once, by the tool server; mirrored, approved, cancelled by kubectl."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from operator_pipelines import ended, good, pipeline, run, say, scan, waits
from operator_rig import CLUSTER, ROLES, Rig, until


def runs_of(rig: Rig, name: str) -> list[dict[str, Any]]:
    listed = rig.house.ask("GET", f"/api/v2/runs?pipeline={rig.namespace}/{name}")[1]
    return list(listed["runs"])


def test_a_run_succeeds_and_its_steps_are_told(rig: Rig) -> None:
    pipeline(rig, "two", good("first"), good("second"))
    run(rig, "two-1", "two")
    status = ended(rig, "two-1")
    assert (status["state"], status["outcome"]) == ("ended", "succeeded")
    assert [(one["name"], one["outcome"]) for one in status["steps"]] == [
        ("first", "succeeded"),
        ("second", "succeeded"),
    ]
    assert rig.wait("mcppipelinerun", "two-1", "Succeeded", "Succeeded")["status"] == "True"
    (one,) = runs_of(rig, "two")
    assert one["id"] == status["runId"]
    rig.kubectl("wait", "--for=condition=Succeeded", "mcppipelinerun/two-1", "--timeout=10s")


def test_a_run_that_fails_says_why(rig: Rig) -> None:
    pipeline(rig, "bad", scan("look", rig), good("after"))
    run(rig, "bad-1", "bad")
    status = ended(rig, "bad-1")
    assert status["outcome"] == "failed"
    said = rig.wait("mcppipelinerun", "bad-1", "Failed", "Succeeded")
    assert "look:" in said["message"]


def test_a_run_of_no_pipeline_waits_for_it_and_a_wrong_one_ends(rig: Rig) -> None:
    run(rig, "early", "later")
    said = rig.wait("mcppipelinerun", "early", "PipelineNotFound", "Succeeded")
    assert "no MCPPipeline later" in said["message"]
    pipeline(rig, "later", good("only"))
    assert ended(rig, "early")["outcome"] == "succeeded"
    pipeline(rig, "wrong", {"name": "one", "tool": "no_such_tool"})
    run(rig, "wrong-1", "wrong")
    assert ended(rig, "wrong-1")["outcome"] == "failed"
    said = rig.wait("mcppipelinerun", "wrong-1", "InvalidPipeline", "Succeeded")
    assert "no_such_tool" in said["message"]


def test_a_step_that_waits_is_approved_by_the_user_who_writes_it_and_by_nobody_else(
    rig: Rig,
) -> None:
    pipeline(rig, "asks", scan("look", rig, on_failure="manual"), good("after"))
    run(rig, "asks-1", "asks")
    (question,) = waits(rig, "asks-1")
    assert question["step"] == "look"
    said = rig.wait("mcppipelinerun", "asks-1", "Waiting", "Succeeded")
    assert "answer in spec.approvals, under the id in status.waiting" in said["message"]
    entry = {"id": question["id"], "user": "alice", "decision": "approve", "reason": "seen"}
    denied = say(rig, "asks-1", entry, user="mallory")
    assert "user must be mallory" in denied
    account = f"system:serviceaccount:{rig.namespace}:default"
    denied = say(rig, "asks-1", {**entry, "user": account}, user=account)
    assert "people approve here; a program approves at the tool server" in denied
    assert "patched" in say(rig, "asks-1", entry, user="alice")
    assert ended(rig, "asks-1")["outcome"] == "succeeded"
    audit = rig.house.ask("GET", "/api/v2/audit?limit=200")[1]
    whom = [one["principal"] for one in audit["entries"] if one["event"] == "approved"]
    assert whom == ["kubernetes:test:alice via key:the-cluster"]
    remove = json.dumps([{"op": "remove", "path": "/spec/approvals/0"}])
    done = rig.access.run_kubectl(
        "patch", "mcppipelinerun", "asks-1", "--type=json", f"-p={remove}", "--as=mallory",
        "--as-group=system:masters", f"--namespace={rig.namespace}",
    )  # fmt: skip
    assert "nobody takes away" in done.stderr


def test_what_is_rejected_fails_and_an_answer_to_another_question_counts_for_nothing(
    rig: Rig,
) -> None:
    pipeline(rig, "asks", scan("look", rig, on_failure="manual"), good("after"))
    run(rig, "asks-1", "asks")
    (question,) = waits(rig, "asks-1")
    other = {"id": "look.99", "user": "alice", "decision": "approve"}
    assert "patched" in say(rig, "asks-1", other, user="alice")
    slip = "nothing ever waited under 'look.99'"
    until(
        lambda: slip in rig.wait("mcppipelinerun", "asks-1", "Waiting", "Succeeded")["message"],
        "a word of it",
    )
    entry = {"id": question["id"], "user": "bob", "decision": "reject", "reason": "no"}
    assert "patched" in say(rig, "asks-1", entry, user="bob")
    assert ended(rig, "asks-1")["outcome"] == "failed"


def test_a_run_that_is_cancelled_ends_and_stays_so(rig: Rig) -> None:
    pipeline(rig, "asks", scan("look", rig, on_failure="manual"))
    run(rig, "asks-1", "asks")
    waits(rig, "asks-1")
    patch = '-p={"spec":{"cancelled":true}}'
    rig.kubectl("patch", "mcppipelinerun", "asks-1", "--type=merge", patch)
    assert ended(rig, "asks-1")["outcome"] == "cancelled"
    back = rig.access.run_kubectl(
        "patch", "mcppipelinerun", "asks-1", "--type=merge", '-p={"spec":{"cancelled":false}}',
        f"--namespace={rig.namespace}",
    )  # fmt: skip
    assert "what is cancelled stays cancelled" in back.stderr


def test_what_runs_is_fixed_and_no_restart_runs_it_twice(rig: Rig) -> None:
    """The operator and the server are killed while it waits, and the pipeline is changed."""
    pipeline(rig, "asks", good("before"), scan("look", rig, on_failure="manual"), good("after"))
    run(rig, "asks-1", "asks")
    (question,) = waits(rig, "asks-1")
    rig.operators.pop().stop(kill=True)
    rig.house.stop(kill=True)
    pipeline(rig, "asks", good("another"))
    rig.house.start()
    rig.operate()
    entry = {"id": question["id"], "user": "alice", "decision": "approve"}
    say(rig, "asks-1", entry, user="alice")
    status = ended(rig, "asks-1")
    assert [(one["name"], one["attempt"]) for one in status["steps"]] == [
        ("before", 1),
        ("look", 1),
        ("after", 1),
    ]
    assert len(runs_of(rig, "asks")) == 1


def test_a_run_whose_start_was_not_written_down_is_found_again(rig: Rig) -> None:
    """As after a crash between the server's answer and our status, with the pipeline changed."""
    rig.operators.pop().stop(kill=True)
    pipeline(rig, "old", good("only"))
    run(rig, "old-1", "old")
    made = rig.get("mcppipelinerun", "old-1")
    assert made is not None
    body = json.dumps(
        {"pipeline": {"name": f"{rig.namespace}/old", "steps": [good("only")]}, "inputs": {}}
    )
    request = urllib.request.Request(
        f"{rig.house.url}/api/v2/runs",
        body.encode(),
        {
            "Authorization": f"Bearer {rig.house.keys['cluster']}",
            "Content-Type": "application/json",
            "Idempotency-Key": made["metadata"]["uid"],
            "Pilotage-Acting-For": f"kubernetes:{CLUSTER}/{rig.namespace}",
        },
    )
    with urllib.request.urlopen(request) as answer:
        began = json.loads(answer.read())["run"]
    pipeline(rig, "old", good("another"))
    rig.operate()
    assert ended(rig, "old-1")["runId"] == began


def test_a_run_goes_when_its_time_is_over_and_ends_when_it_is_deleted(rig: Rig) -> None:
    pipeline(rig, "two", good("first"))
    run(rig, "short", "two", ttlSecondsAfterFinished=1)
    until(lambda: rig.get("mcppipelinerun", "short") is None, "its end")
    pipeline(rig, "asks", scan("look", rig, on_failure="manual"))
    run(rig, "gone", "asks")
    waits(rig, "gone")
    rig.kubectl("delete", "mcppipelinerun", "gone", "--timeout=60s")
    until(lambda: [one["state"] for one in runs_of(rig, "asks")] == ["ended"], "its end")


def test_a_status_that_names_the_run_of_another_moves_nothing_of_it(rig: Rig) -> None:
    """Whoever may write the status of an object must not get at runs by that."""
    steps = [scan("look", rig, on_failure="manual")]
    _, theirs = rig.house.ask("POST", "/api/v2/runs", {"pipeline": {"name": "x", "steps": steps}})
    pipeline(rig, "asks", *steps)
    run(rig, "forged", "asks")
    waits(rig, "forged")
    own = rig.get("mcppipelinerun", "forged")["status"]["runId"]  # type: ignore[index]
    forged = json.dumps({"status": {"runId": theirs["run"]}})
    argv = ("patch", "mcppipelinerun", "forged", "--subresource=status", "--type=merge")
    rig.kubectl(*argv, "-p", forged)
    until(lambda: rig.get("mcppipelinerun", "forged")["status"]["runId"] == own, "its own")  # type: ignore[index]
    rig.operators.pop().stop(kill=True)
    rig.kubectl(*argv, "-p", forged)
    rig.operate()  # what it had remembered is gone
    rig.kubectl("delete", "mcppipelinerun", "forged", "--timeout=60s")
    for id, state in ((own, "ended"), (theirs["run"], "waiting")):
        assert rig.house.ask("GET", f"/api/v2/runs/{id}")[1]["state"] == state


def test_a_run_for_which_there_is_no_room_says_so_and_asks_seldom(rig: Rig) -> None:
    pipeline(rig, "two", good("first"))
    limits = "  limits: {tools: {run_start: {rate: 1/hour}}}\n"
    (rig.house.home / "roles.yaml").write_text(ROLES + limits)
    until(lambda: rig.house.ask("GET", "/api/v2/audit?event=policy.changed")[1]["entries"])
    for name in ("first", "second"):
        run(rig, name, "two")
    until(lambda: any(ended_now(rig, name) for name in ("first", "second")), "one of them")
    late = next(name for name in ("first", "second") if not ended_now(rig, name))
    rig.wait("mcppipelinerun", late, "ServerBusy", "Succeeded")
    assert rig.get("mcppipelinerun", late)["status"]["state"] == "pending"  # type: ignore[index]
    until(lambda: len(refusals(rig)) == 1, "it in the audit, which is written behind")
    run(rig, "third", "two")
    rig.wait("mcppipelinerun", "third", "ServerBusy", "Succeeded")
    until(lambda: len(refusals(rig)) > 1, "the third in the audit")
    assert len(refusals(rig)) == 2, "the others wait half a minute at least"


def refusals(rig: Rig) -> list[dict[str, Any]]:
    entries = rig.house.ask("GET", "/api/v2/audit?event=refused&limit=500")[1]["entries"]
    return [one for one in entries if one["tool"] == "run_start"]


def ended_now(rig: Rig, name: str) -> bool:
    found = rig.get("mcppipelinerun", name) or {}
    return "completionTime" in (found.get("status") or {})


def test_a_run_acts_for_its_namespace(rig: Rig) -> None:
    pipeline(rig, "two", good("first"))
    run(rig, "two-1", "two")
    _, view = rig.house.ask("GET", f"/api/v2/runs/{ended(rig, 'two-1')['runId']}")
    assert view["principal"] == f"kubernetes:{CLUSTER}/{rig.namespace} via key:the-cluster"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"steps": [{"name": "a"}]}, "exactly one of tool and job"),
        ({"steps": [{"name": "a", "job": {"image": "x"}, "params": {}}]}, "params are those"),
        ({"steps": [good("a"), good("a")]}, "Duplicate value"),
        ({"steps": []}, "should have at least 1 items"),
        ({"steps": [good("a")], "schedul": {}}, "unknown field"),
    ],
)
def test_a_pipeline_that_cannot_be_meant_is_refused_at_once(
    rig: Rig, spec: dict[str, Any], why: str
) -> None:
    body = {
        "apiVersion": "mcp.example.com/v1alpha1",
        "kind": "MCPPipeline",
        "metadata": {"name": "wrong", "namespace": rig.namespace},
        "spec": spec,
    }
    done = rig.access.run_kubectl("create", "-f", "-", input=json.dumps(body))
    assert (done.returncode, why in done.stderr) == (1, True), done.stderr
