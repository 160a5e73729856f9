"""Whatever comes between a run and its object: the one is never told to be over while the other
goes on."""

from __future__ import annotations

from typing import Any, cast

import pytest

from operator_pipelines import ended, good, pipeline, run, say, scan, waits
from operator_rig import CLUSTER, ROLES, Rig, until
from pilotage.kubernetes.client import Client
from pilotage.operator.conditions import Condition
from pilotage.operator.mcppipelinerun import Parts, PipelineRuns
from pilotage.operator.resources import Resources
from pilotage.operator.runtime.store import Store
from pilotage.operator.status import StatusWriter, moment
from pilotage.operator.tool_server import Full, ToolServer

WAITS: dict[str, Any] = {"on_failure": "manual"}
NO_RIGHT = ROLES.replace(', "act:for:kubernetes:*"', "")


def begun_unseen(rig: Rig, name: str) -> str:
    """The run of this object, which the server has and no operator has heard of."""
    uid = until(lambda: rig.get("mcppipelinerun", name))["metadata"]["uid"]
    step = {"name": "look", "tool": "security_scanner", "on_failure": "manual"}
    step |= {"params": {"source_path": str(rig.folder / "nowhere")}}
    more = {
        "Pilotage-Acting-For": f"kubernetes:{CLUSTER}/{rig.namespace}",
        "Idempotency-Key": uid,
    }
    body = {"pipeline": {"name": "begun", "steps": [step]}}
    status, said = rig.house.ask("POST", "/api/v2/runs", body, "cluster", more)
    assert status == 201, said
    return str(said["run"])


class Slow:
    """A server that takes a start, answers too late, and has the run only after a while."""

    def __init__(self) -> None:
        self.runs: list[dict[str, str]] = []
        self.cancelled: list[str] = []

    async def ask(self, method: str, path: str, *_: Any, **__: Any) -> dict[str, Any]:
        if path.endswith("/cancel"):
            self.cancelled.append(path)
        elif method == "POST":
            raise Full("no answer within 15 s", 5.0)
        return {"runs": self.runs}


class Status:
    """What was said, and whether the object was let go."""

    def __init__(self) -> None:
        self.said: list[Condition] = []
        self.gone = False

    async def hold(self, *_: Any) -> None: ...

    async def write(self, _: Any, said: list[Condition], __: Any) -> None:
        self.said += said

    async def let_go(self, *_: Any) -> None:
        self.gone = True


async def test_one_that_is_deleted_before_its_start_was_answered_is_cancelled_when_it_begins() -> (
    None
):
    server, status, runs, pipelines = Slow(), Status(), Store(), Store()
    kinds = Resources()
    meta = {"namespace": "shop", "uid": "u1", "generation": 1, "resourceVersion": "1"}
    steps = {"steps": [good("only")]}
    pipelines.put({"kind": "MCPPipeline", "metadata": {**meta, "name": "p"}, "spec": steps})
    asked: dict[str, Any] = {
        "apiVersion": "mcp.example.com/v1alpha1",
        "metadata": {**meta, "name": "p-1", "finalizers": [kinds.finalizer]},
        "spec": {"pipelineRef": {"name": "p"}},
    }
    runs.put(asked)
    parts = Parts(
        kinds.run, runs, pipelines, cast(Client, None), cast(StatusWriter, status),
        cast(ToolServer, server), kinds.finalizer, "c", "",
    )  # fmt: skip
    controller = PipelineRuns(parts)
    await controller.reconcile("shop/p-1")
    assert [one.reason for one in status.said] == ["ServerBusy"]
    ending = {**asked["metadata"], "deletionTimestamp": moment(), "resourceVersion": "2"}
    runs.put({**asked, "metadata": ending})
    assert await controller.reconcile("shop/p-1") is not None
    assert "whether it has begun is not known yet" in status.said[-1].message
    assert not status.gone
    server.runs = [{"id": "R1"}]
    await controller.reconcile("shop/p-1")
    assert (server.cancelled, status.gone) == (["/api/v2/runs/R1/cancel"], True)


def at_server(rig: Rig, id: str) -> dict[str, Any]:
    return rig.house.ask("GET", f"/api/v2/runs/{id}")[1]


def test_one_that_began_unseen_is_cancelled_and_not_only_said_to_be(rig: Rig) -> None:
    pipeline(rig, "asks", scan("look", rig, **WAITS))
    rig.operators[0].stop()
    run(rig, "asks-1", "asks", cancelled=True)
    id = begun_unseen(rig, "asks-1")
    until(lambda: at_server(rig, id)["state"] == "waiting", "its question")
    rig.operate()
    status = ended(rig, "asks-1")
    assert (status["outcome"], status["runId"]) == ("cancelled", id)
    assert at_server(rig, id)["outcome"] == "cancelled"


def test_one_whose_pipeline_could_not_start_any_more_is_found(rig: Rig) -> None:
    pipeline(rig, "asks", {"name": "look", "tool": "no_such_tool"})
    rig.operators[0].stop()
    run(rig, "asks-1", "asks")
    id = begun_unseen(rig, "asks-1")
    rig.operate()
    waits(rig, "asks-1")
    status = (rig.get("mcppipelinerun", "asks-1") or {})["status"]
    assert (status["runId"], status["state"]) == (id, "waiting")
    assert status["pipeline"] == {"digest": at_server(rig, id)["plan"]["digest"]}


def test_another_key_of_the_operator_knows_the_runs_of_the_first(rig: Rig) -> None:
    pipeline(rig, "asks", scan("look", rig, **WAITS))
    run(rig, "asks-1", "asks")
    waits(rig, "asks-1")
    rig.operators[0].stop()
    rig.operate(environment={"MCP_API_KEY": rig.house.key("cluster", "another")})
    patch = '-p={"spec":{"cancelled":true}}'
    rig.kubectl("patch", "mcppipelinerun", "asks-1", "--type=merge", patch)
    status = ended(rig, "asks-1")
    assert status["outcome"] == "cancelled"
    assert at_server(rig, status["runId"])["outcome"] == "cancelled"


def test_one_that_may_not_be_cancelled_holds_its_object_and_says_so_until_it_is_forced(
    rig: Rig,
) -> None:
    pipeline(rig, "asks", scan("look", rig, **WAITS))
    run(rig, "asks-1", "asks")
    waits(rig, "asks-1")
    (rig.house.home / "roles.yaml").write_text(NO_RIGHT)
    until(lambda: rig.house.ask("GET", "/api/v2/runs", key="cluster", more=speaks(rig))[0] == 403)
    rig.kubectl("delete", "mcppipelinerun", "asks-1", "--wait=false")
    said = rig.wait("mcppipelinerun", "asks-1", "Terminating", "Succeeded")
    assert "its run is not cancelled" in said["message"]
    assert "act:for:kubernetes" in said["message"]
    rig.kubectl("annotate", "mcppipelinerun", "asks-1", "mcp.example.com/force-delete=true")
    assert until(lambda: rig.get("mcppipelinerun", "asks-1") is None)


def speaks(rig: Rig) -> dict[str, str]:
    return {"Pilotage-Acting-For": f"kubernetes:{CLUSTER}/{rig.namespace}"}


@pytest.mark.parametrize("user", ["jürgen@example.com", "100%@example.com"])
def test_any_user_of_the_cluster_can_approve(rig: Rig, user: str) -> None:
    pipeline(rig, "asks", scan("look", rig, **WAITS), good("after"))
    run(rig, "asks-1", "asks")
    (question,) = waits(rig, "asks-1")
    entry = {"id": question["id"], "user": user, "decision": "approve"}
    assert "patched" in say(rig, "asks-1", entry, user=user)
    assert ended(rig, "asks-1")["outcome"] == "succeeded"


def test_a_word_that_the_server_refuses_is_said_to_be_refused(rig: Rig) -> None:
    pipeline(rig, "asks", scan("look", rig, **WAITS), good("after"))
    run(rig, "asks-1", "asks")
    (question,) = waits(rig, "asks-1")
    user = "ü" * 200
    entry = {"id": question["id"], "user": user, "decision": "approve"}
    assert "patched" in say(rig, "asks-1", entry, user=user)
    why = f"what {user} says is refused: Pilotage-Acting-For is no name"

    def told() -> bool:
        return why in rig.wait("mcppipelinerun", "asks-1", "Waiting", "Succeeded")["message"]

    until(told, "a word of it")
