"""Steps of runs are calls of who started the run: they count, and wait for their turn in sight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pilotage.domain.run import Kind
from server.conftest import House
from server.run_tools import run_house
from server.test_registration import TOOLS_AT, ask, call
from waiting import until

RUNS = "/api/v2/runs"


@asynccontextmanager
async def limited(folder: Path, limits: str) -> AsyncIterator[House]:
    (folder / "home").mkdir(parents=True)
    (folder / "home" / "config.yaml").write_text(f"limits: {limits}\n", "utf-8")
    async with run_house(folder) as house:
        yield house


def works(root: Path, *names: str) -> list[dict[str, Any]]:
    """Steps that leave a line in root/mark and wait for root/end."""
    params = {"mark": str(root / "mark"), "end": str(root / "end")}
    return [{"name": name, "tool": "work", "depends_on": [], "params": params} for name in names]


async def started(house: House, key: str, steps: list[dict[str, Any]]) -> str:
    body = {"pipeline": {"name": "p", "steps": steps}}
    status, said, _ = await ask(house, "POST", RUNS, key, body)
    assert status == 201, said
    return str(said["run"])


def said(house: House, run: str) -> list[str]:
    return [
        line
        for event in house.app.runs.page(run, -1, 1_000)
        if event.kind is Kind.SAID
        for line in event.body["lines"]
    ]


def lines(root: Path, word: str) -> int:
    mark = root / "mark"
    return mark.read_text("utf-8").count(word) if mark.exists() else 0


async def test_steps_take_the_places_of_their_key_and_others_wait_in_sight(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with limited(tmp_path, "{key: {concurrency: 2}}") as house:
        ann, bob = house.key("developer", name="ann"), house.key("developer", name="bob")
        run = await started(house, ann, works(root, "a", "b", "c", "d"))
        why = "waits for its turn: key:ann has 2 calls running already"
        await until(lambda: said(house, run).count(why) == 2)
        assert lines(root, "begin") == 2
        status, refused = await call(house, "work", ann, mark=str(root / "x"))
        assert (status, "key:ann has 2 calls running" in refused["error"]) == (429, True)
        assert (await call(house, "work", bob, mark=str(root / "x")))[0] == 200
        (root / "end").touch()
        stands = await house.app.runs.wait(run)
        assert stands.outcome is not None
        assert (stands.outcome.value, lines(root, "end")) == ("succeeded", 4)


async def test_a_step_that_waits_is_cancelled_with_its_run(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with limited(tmp_path, "{key: {rate: 1/hour}}") as house:
        ann = house.key("developer", name="ann")
        run = await started(house, ann, works(root, "a"))  # which is the call of this hour
        await until(lambda: "is over its rate of 1 in 3600 s" in str(said(house, run)))
        status, _, _ = await ask(house, "POST", f"{RUNS}/{run}/cancel", ann, {})
        assert status == 200
        stands = await house.app.runs.wait(run)
        assert stands.outcome is not None
        assert (stands.outcome.value, lines(root, "begin")) == ("cancelled", 0)
        await house.app.audit.settled()
        assert house.app.audit.calls(tool="work")[0].outcome == "cancelled"


async def test_a_call_that_runs_a_pipeline_leaves_its_place_to_the_steps(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with limited(tmp_path, "{key: {concurrency: 1}, key_tool: {concurrency: 1}}") as house:
        ann = house.key("developer", name="ann")
        inner = {"name": "inner", "steps": works(root, "x", "y")}
        steps = [
            *works(root, "a", "b"),
            {"name": "c", "tool": "pipeline_orchestrator", "depends_on": [], "params": inner},
        ]
        orchestrator = f"{TOOLS_AT}/call/pipeline_orchestrator"
        whole = {"name": "outer", "steps": steps}
        running = asyncio.create_task(ask(house, "POST", orchestrator, ann, whole))
        await until(lambda: lines(root, "begin") == 1)
        status, refused, _ = await ask(house, "POST", orchestrator, ann, whole)
        assert (status, "at pipeline_orchestrator has 1" in refused["error"]) == (429, True)
        (root / "end").touch()
        _, answer, _ = await running
        assert (answer["success"], lines(root, "end")) == (True, 4)
        assert not house.app.fair.limits._held, "no place is left taken"


async def test_calls_that_wait_for_the_answer_of_their_like_count(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with limited(tmp_path, "{key: {concurrency: 3}}") as house:
        ann = house.key("developer", name="ann")
        body = {"mark": str(root / "mark"), "end": str(root / "end")}
        at = f"{TOOLS_AT}/call/work"
        same = [
            asyncio.create_task(ask(house, "POST", at, ann, body, Idempotency_Key="k"))
            for _ in range(3)
        ]
        await until(lambda: house.app.gateway.running == 3)
        assert (await ask(house, "POST", at, ann, body, Idempotency_Key="k"))[0] == 429
        (root / "end").touch()
        assert {status for status, *_ in await asyncio.gather(*same)} == {200}
        assert lines(root, "begin") == 1
