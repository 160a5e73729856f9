"""Runs over REST: started, looked at, spoken to, by whom and by whom not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pilotage.audit.verify import verify
from pilotage.pipeline import access
from process.test_run import alive, pids
from server.conftest import House
from server.run_tools import run_house
from waiting import until

RUNS = "/api/v2/runs"
SAY = "name: talk\nsteps:\n- {name: a, tool: say, params: {text: '${{ inputs.word }}'}}\n"
TALK = SAY + "inputs: {word: {default: hello}}\n"
WAITS = """
name: gate
steps:
- {name: a, tool: gives, params: {answer: {}, outcome: failed}, on_failure: manual}
- {name: b, tool: say}
"""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with run_house(tmp_path) as house:
        yield house


async def ask(
    house: House, method: str, path: str, headers: dict[str, str], body: Any = None, **more: Any
) -> tuple[int, dict[str, Any]]:
    url = house.url + RUNS + path
    async with house.session.request(method, url, headers=headers, json=body, **more) as answer:
        assert answer.content_type == "application/json", await answer.text()
        return answer.status, json.loads(await answer.read())


async def started(house: House, headers: dict[str, str], pipeline: Any, **more: Any) -> str:
    status, body = await ask(house, "POST", "", headers, {"pipeline": pipeline, **more})
    assert status == 201, body
    return str(body["run"])


async def at_rest(house: House, run: str) -> None:
    await house.app.runs.wait(run)


async def test_a_run_is_started_and_shown(house: House) -> None:
    key = house.headers("developer")
    body = {"pipeline": TALK, "inputs": {"word": "hi"}, "context": {"sha": "abc"}}
    async with house.session.post(house.url + RUNS, headers=key, json=body) as answer:
        assert answer.status == 201
        run = (await answer.json())["run"]
        assert answer.headers["Location"] == f"{RUNS}/{run}"
    await at_rest(house, run)
    status, shown = await ask(house, "GET", f"/{run}?results=true", key)
    assert (status, shown["success"], shown["state"]) == (200, True, "ended")
    assert shown["inputs"] == {"word": "hi"}
    assert shown["github"] == {"sha": "abc"}
    assert shown["plan"]["steps"][0]["tool"] == "say"
    assert shown["results"] == {"a": {"lines": 1}}
    assert shown["process"] is None
    assert "results" not in (await ask(house, "GET", f"/{run}", key))[1]


async def test_a_pipeline_may_be_an_object(house: House) -> None:
    key = house.headers("developer")
    pipeline = {"name": "p", "steps": [{"name": "a", "tool": "say"}]}
    run = await started(house, key, pipeline)
    await at_rest(house, run)
    assert (await ask(house, "GET", f"/{run}", key))[1]["success"] is True


async def test_the_same_key_is_the_same_run_and_another_body_is_refused(house: House) -> None:
    key = house.headers("developer")
    mine = {**key, "Idempotency-Key": "build 7"}
    first = await started(house, mine, TALK)
    assert await started(house, mine, TALK, context={"run_attempt": "2"}) == first
    status, body = await ask(house, "POST", "", mine, {"pipeline": WAITS})
    assert (status, "of another pipeline" in body["error"]) == (409, True)
    other = {"pipeline": TALK, "inputs": {"word": "other"}}
    status, body = await ask(house, "POST", "", mine, other)
    assert (status, "with other inputs" in body["error"]) == (409, True)
    theirs = {**house.headers("developer"), "Idempotency-Key": "build 7"}
    assert await started(house, theirs, TALK) != first
    status, _ = await ask(house, "POST", "", {**key, "Idempotency-Key": "x" * 256}, other)
    assert status == 400


async def test_all_that_lint_finds_is_in_the_answer(house: House) -> None:
    key = house.headers("developer")
    bad = "name: p\nsteps:\n- {name: a, tol: x}\n- {name: a, tool: say, params: {lines: many}}\n"
    status, body = await ask(house, "POST", "", key, {"pipeline": bad})
    assert status == 422
    assert len(body["problems"]) > 1
    assert {p["level"] for p in body["problems"]} == {"error"}
    assert body["problems"][0]["line"] == 3
    missing = {"name": "p", "steps": [{"name": "a", "tool": "nowhere"}]}
    status, body = await ask(house, "POST", "", key, {"pipeline": missing})
    assert (status, "nowhere" in body["error"]) == (422, True)
    assert (await ask(house, "GET", "", key))[1]["runs"] == []


@pytest.mark.parametrize(
    "body",
    [{}, {"pipeline": 5}, {"pipeline": TALK, "more": 1}, {"pipeline": TALK, "inputs": {"no": 1}},
     {"pipeline": TALK, "timeout": 0}],
)  # fmt: skip
async def test_a_body_that_does_not_fit_starts_nothing(house: House, body: Any) -> None:
    key = house.headers("developer")
    status, answer = await ask(house, "POST", "", key, body)
    assert (status, answer["success"]) == (400, False)
    assert (await ask(house, "GET", "", key))[1]["runs"] == []


async def test_runs_are_listed_in_pages_and_by_state_and_pipeline(house: House) -> None:
    key = house.headers("developer")
    made = [await started(house, key, TALK) for _ in range(3)]
    made.append(await started(house, key, WAITS))
    for run in made:
        await at_rest(house, run)
    _, first = await ask(house, "GET", "?limit=3", key)
    _, second = await ask(house, "GET", f"?limit=3&before={first['next']}", key)
    found = [run["id"] for run in (*first["runs"], *second["runs"])]
    assert found == sorted(made, reverse=True)
    assert second["next"] is None
    _, waiting = await ask(house, "GET", "?state=waiting", key)
    assert [run["id"] for run in waiting["runs"]] == [made[3]]
    _, talks = await ask(house, "GET", "?pipeline=talk", key)
    assert {run["id"] for run in talks["runs"]} == set(made[:3])
    _, one = await ask(house, "GET", f"?begins={made[1].lower()}", key)
    assert [run["id"] for run in one["runs"]] == [made[1]]
    assert (await ask(house, "GET", "?state=odd", key))[0] == 400


async def test_what_a_person_says_needs_the_right_and_is_in_the_audit(house: House) -> None:
    ci, boss = house.headers("ci"), house.headers("operator")
    run = await started(house, ci, WAITS)
    await at_rest(house, run)
    _, shown = await ask(house, "GET", f"/{run}", ci)
    assert (shown["state"], shown["waiting"]) == ("waiting", ["a"])
    status, body = await ask(house, "POST", f"/{run}/approve", ci)
    assert (status, "runs:approve" in body["error"]) == (403, True)
    said = {"reason": "known", "step": "a"}
    status, body = await ask(house, "POST", f"/{run}/approve", boss, said)
    assert status == 200
    await at_rest(house, run)
    assert (await ask(house, "GET", f"/{run}", ci))[1]["steps"][1]["outcome"] == "succeeded"
    status, body = await ask(house, "POST", f"/{run}/approve", boss)
    assert (status, "does not wait" in body["error"]) == (409, True)
    await house.app.audit.settled()
    rows = [row for row in house.app.audit.list() if row.call == run]
    assert [row.event for row in rows] == ["approved", "run.created"]
    assert rows[0].body["reason"] == "known"
    assert verify(house.app.database, house.app.checkpoints).bad_seq is None


async def test_a_step_is_rejected_and_tried_again(house: House) -> None:
    boss = house.headers("operator")
    run = await started(house, boss, WAITS)
    await at_rest(house, run)
    assert (await ask(house, "POST", f"/{run}/reject", boss, {"reason": "no"}))[0] == 200
    await at_rest(house, run)
    _, shown = await ask(house, "GET", f"/{run}", boss)
    assert (shown["state"], shown["outcome"]) == ("ended", "failed")
    assert (await ask(house, "POST", f"/{run}/resume", boss))[0] == 200
    await at_rest(house, run)
    assert (await ask(house, "GET", f"/{run}", boss))[1]["state"] == "waiting"


async def test_a_run_that_has_not_ended_has_neither_failed_nor_succeeded(
    house: House, tmp_path: Path
) -> None:
    boss, folder = house.headers("operator"), tmp_path / "root" / "pids"
    folder.mkdir()
    steps = [{"name": "t", "tool": "tree", "params": {"folder": str(folder)}}]
    run = await started(house, boss, {"name": "p", "steps": steps})
    await until(lambda: len(pids(folder)) == 2)
    _, shown = await ask(house, "GET", f"/{run}", boss)
    assert (shown["state"], shown["success"], shown["outcome"]) == ("running", None, None)
    assert not {"error", "hint"} & shown.keys()
    assert (await ask(house, "POST", f"/{run}/cancel", boss))[0] == 200
    await at_rest(house, run)
    run = await started(house, boss, WAITS)
    await at_rest(house, run)
    _, shown = await ask(house, "GET", f"/{run}", boss)
    assert (shown["state"], shown["success"], shown["outcome"]) == ("waiting", None, None)
    assert "waits for a person" in shown["error"]


async def test_cancel_ends_the_whole_tree_of_processes(house: House, tmp_path: Path) -> None:
    mine, folder = house.headers("ci"), tmp_path / "root" / "pids"
    folder.mkdir()
    steps = [{"name": "t", "tool": "tree", "params": {"folder": str(folder)}}]
    run = await started(house, mine, {"name": "p", "steps": steps})
    await until(lambda: len(pids(folder)) == 2)
    status, _ = await ask(house, "POST", f"/{run}/cancel", mine, {"reason": "enough"})
    assert status == 200
    await at_rest(house, run)
    assert not any(map(alive, pids(folder)))
    _, shown = await ask(house, "GET", f"/{run}", mine)
    assert (shown["state"], shown["outcome"]) == ("ended", "cancelled")
    assert "enough" in shown["why"]
    assert (await ask(house, "POST", f"/{run}/cancel", mine))[0] == 409


async def test_a_step_acts_with_the_rights_of_who_started_the_run(house: House) -> None:
    secret = house.key("developer", tools=("say", "pipeline_*"))
    mine = {"Authorization": f"Bearer {secret}"}
    steps = [{"name": "a", "tool": "gives", "params": {"answer": {}}}]
    run = await started(house, mine, {"name": "p", "steps": steps})
    await at_rest(house, run)
    _, shown = await ask(house, "GET", f"/{run}", mine)
    assert shown["steps"][0]["outcome"] == "denied"


async def test_so_many_open_runs_of_one_principal_and_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "OPEN_EACH", 2)
    a, b = house.headers("ci"), house.headers("ci")
    known = {**a, "Idempotency-Key": "k"}
    run = await started(house, known, WAITS)
    await started(house, a, WAITS)
    status, body = await ask(house, "POST", "", a, {"pipeline": WAITS})
    assert (status, "have not ended" in body["error"]) == (429, True)
    assert await started(house, known, WAITS) == run, "that one is there"
    await started(house, b, WAITS)
    assert (await ask(house, "POST", f"/{run}/cancel", a))[0] == 200
    await until(lambda: house.app.runs.summary(run).state == "ended")
    await started(house, a, WAITS)


async def test_a_viewer_starts_nothing(house: House) -> None:
    viewer = house.headers("viewer")
    assert (await ask(house, "POST", "", viewer, {"pipeline": TALK}))[0] == 403
    assert (await ask(house, "GET", "", viewer))[0] == 200


async def test_with_a_runs_id_another_gets_nowhere(house: House, tmp_path: Path) -> None:
    """Attack table: session and state-handle hijack. B knows A's ids and has A's role."""
    a, b, reader = house.headers("ci"), house.headers("ci"), house.headers("developer")
    run = await started(house, {**a, "Idempotency-Key": "k"}, WAITS)
    await at_rest(house, run)
    gets = ("", "/events", "/logs", "/artifacts", "/artifacts/a/x", "/events?after=0")
    posts = ("/cancel", "/approve", "/reject", "/resume")
    for path in gets:
        assert (await ask(house, "GET", f"/{run}{path}", b))[0] == 404, path
    for path in posts:
        assert (await ask(house, "POST", f"/{run}{path}", b))[0] == 404, path
    for query in ("", f"?begins={run}", "?principal=key:k0"):
        assert (await ask(house, "GET", query, b))[1]["runs"] == [], query
    _, never = await ask(house, "GET", "/01ARZ3NDEKTSV4RRFFQ69G5FAV", b)
    _, theirs = await ask(house, "GET", f"/{run}", b)
    assert never["error"].split()[:4] == theirs["error"].split()[:4], "one sounds like the other"
    assert (await ask(house, "GET", f"/{run}", reader))[0] == 200
    for path in posts:
        assert (await ask(house, "POST", f"/{run}{path}", reader))[0] == 403, path
    assert (await ask(house, "GET", f"/{run}", a))[1]["state"] == "waiting"
    await house.app.audit.settled()
    refused = [row for row in house.app.audit.list() if row.event == "refused"]
    assert len(refused) >= len(gets) + len(posts)


@pytest.mark.parametrize(
    ("pipeline", "valid", "said"),
    [
        (TALK, True, []),
        ({"name": "a", "steps": [{"name": "a", "tool": "nowhere"}]}, False, ["nowhere"]),
        (TALK.replace("text:", "txt:"), False, ["txt"]),
        ("name: a\nsteps: 3\n", False, ["steps"]),
    ],
)
async def test_a_pipeline_is_linted_and_nothing_runs(
    house: House, pipeline: Any, valid: bool, said: list[str]
) -> None:
    url, key = f"{house.url}/api/v2/pipelines/lint", house.headers("developer")
    async with house.session.post(url, headers=key, json={"pipeline": pipeline}) as answer:
        body = await answer.json()
    assert (answer.status, body["valid"]) == (200, valid)
    assert len(body["problems"]) >= len(said)
    for word in said:
        assert any(word in one["what"] + one["path"] for one in body["problems"]), body
    assert (await ask(house, "GET", "", key))[1]["runs"] == []
    async with house.session.post(
        url, headers=house.headers("viewer"), json={"pipeline": TALK}
    ) as answer:
        assert answer.status == 403
