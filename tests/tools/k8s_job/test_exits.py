"""Whatever ends a call of k8s_job, no Job of it is left that a retry would run beside: a real API
server, whose answers are lost, late or a no."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cluster_desk import Desk, refused
from pilotage.domain.call import LET_GO
from pilotage.kubernetes import removal
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.errors import Forbidden, Unreachable
from pilotage.kubernetes.kind import JOB, Kind
from pilotage.tools import k8s_job
from waiting import until

TOOL = "k8s_job"


@pytest.fixture
def client(desk: Desk) -> Client:
    """The one that the tool uses."""
    return desk.app._clusters.get("", desk.by).client


def jobs(desk: Desk) -> list[str]:
    return desk.kubectl("get", "jobs", "-o", "name").split()


def answers_late(client: Client, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """What it creates is there at once; that it is, is said so much later."""
    create = client.create

    async def slow(*given: Any) -> Any:
        made = await create(*given)
        await asyncio.sleep(seconds)
        return made

    monkeypatch.setattr(client, "create", slow)


async def test_who_cancels_it_in_mid_create_ends_the_job(
    desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers_late(client, monkeypatch, 2)
    task = asyncio.create_task(desk.call(TOOL, image="x"))
    await until(lambda: jobs(desk) != [])
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert jobs(desk) == []


@pytest.mark.parametrize("late", [0.0, 1.0])
async def test_a_create_that_breaks_off_leaves_no_job(
    desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    create, made = client.create, []

    async def lost(*given: Any) -> Any:
        async def does() -> None:
            await asyncio.sleep(late)
            await create(*given)

        made.append(asyncio.create_task(does()))
        await asyncio.sleep(0.5)
        raise Unreachable("POST jobs: Server disconnected", status=503)

    monkeypatch.setattr(client, "create", lost)
    assert "Server disconnected" in await refused(desk, TOOL, image="x")
    assert made[0].done()
    assert jobs(desk) == []


async def test_what_is_refused_is_said_at_once(
    desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def denied(*_: Any) -> Any:
        raise Forbidden("jobs.batch is forbidden", status=403)

    for verb in ("create", "get", "delete"):
        monkeypatch.setattr(client, verb, denied)
    async with asyncio.timeout(removal.SECONDS / 2):
        said = await refused(desk, TOOL, image="x")
    assert "jobs.batch is forbidden" in said
    assert "may still run" not in said, "there is none"


@pytest.mark.parametrize("patience", [0.0, 60.0])
async def test_a_no_to_a_look_is_not_its_end_and_where_it_is_the_job_goes(
    desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(k8s_job, "DENIED_SECONDS", patience)
    get, noes = client.get, [Forbidden("rights are changed", status=403)] * 2

    async def denied(kind: Kind, *given: Any) -> Any:
        if kind == JOB and noes:
            raise noes.pop()
        return await get(kind, *given)

    monkeypatch.setattr(client, "get", denied)
    task = asyncio.create_task(desk.call(TOOL, image="x"))
    if patience:
        await until(lambda: not noes)
        await asyncio.sleep(2 * k8s_job.LOOK_SECONDS)
        assert not task.done()
        task.cancel()
    (done,), _ = await asyncio.wait([task])
    assert any("cannot be seen now: rights are changed" in line for line in desk.said)
    assert patience or "rights are changed" in str(done.result().error)
    assert jobs(desk) == []


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_job_that_cannot_be_removed_is_named(
    desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    async def denied(*_: Any, **__: Any) -> Any:
        raise Forbidden("no right to delete", status=403)

    monkeypatch.setattr(client, "delete", denied)
    monkeypatch.setattr(removal, "SECONDS", 1.5)
    task = asyncio.create_task(desk.call(TOOL, image="x"))
    await until(lambda: jobs(desk) != [])
    name = json.loads(desk.kubectl("get", "jobs", "-o", "json"))["items"][0]["metadata"]["name"]
    if cancelled:
        task.cancel()
    else:
        monkeypatch.setattr(k8s_job, "trouble", lambda *_: k8s_job.Trouble("no way", 0.0))
    (done,), _ = await asyncio.wait([task])
    left = f"the Job {name} in {desk.namespace} could not be removed, and may still run: no right"
    assert any(left in line for line in desk.said)
    assert cancelled or left in str(done.result().error)


async def test_the_job_of_before_a_crash_is_adopted_where_the_cluster_takes_no_other(
    desk: Desk,
) -> None:
    first = asyncio.create_task(desk.step(TOOL, "run-1/job", image="x"))
    await until(lambda: jobs(desk) != [])
    first.cancel(LET_GO)
    await asyncio.wait([first])
    desk.kubectl("create", "quota", "one", "--hard=count/jobs.batch=1")

    def counted() -> bool:
        status = desk.there("quota", "one").get("status") or {}
        return bool((status.get("used") or {}).get("count/jobs.batch") == "1")

    await until(counted)
    desk.said.clear()
    second = asyncio.create_task(desk.step(TOOL, "run-1/job", image="x"))
    await until(lambda: any(line.startswith("Job ") for line in desk.said))
    second.cancel()
    await asyncio.wait([second])
    assert second.cancelled()
    assert jobs(desk) == []


async def test_let_go_in_mid_create_it_is_left_to_the_next(
    desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers_late(client, monkeypatch, 60)
    task = asyncio.create_task(desk.step(TOOL, "run-1/job", image="x"))
    await until(lambda: jobs(desk) != [])
    task.cancel(LET_GO)
    await asyncio.wait([task])
    assert len(jobs(desk)) == 1
