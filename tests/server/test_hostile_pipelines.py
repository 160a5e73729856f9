"""A key that may run pipelines tries to hold the server up, or fill its memory, by a small one.

Without their bounds, each of these took minutes or gigabytes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.conftest import House
from server.run_tools import run_house
from server.test_runs import RUNS, ask, at_rest

STEP = {"name": "a", "tool": "say"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with run_house(tmp_path) as house:
        yield house


def with_text(text: str) -> dict[str, Any]:
    return {"name": "p", "steps": [{**STEP, "params": {"text": text}}]}


@pytest.mark.parametrize(
    ("pipeline", "why"),
    [
        (with_text("${{ " * 100_000), "an expression is not closed"),
        (with_text("${{ '" * 100_000), "an expression is not closed"),
        (
            f"name: p\nsteps: [{{name: a, tool: say, params: {{lines: 1{':1' * 300_000}}}}}]",
            "longer",
        ),
        ({"name": "p", "steps": [{**STEP, f"k{n}": 1} for n in range(9_000)]}, "unknown key 'k0'"),
        (
            {
                "name": "p",
                "steps": [
                    {"name": f"s{n}", "tool": "say", "depends_on": [f"no{n}"]} for n in range(9_000)
                ],
            },
            "depends on 'no0'",
        ),
        (
            {
                "name": "p",
                "steps": [
                    {
                        "name": f"s{n}",
                        "tool": "say",
                        "params": {"text": f"${{{{ steps.no{n}.error }}}}"},
                    }
                    for n in range(9_000)
                ],
            },
            "there is no step 'no0'",
        ),
        ("name: p\nsteps: [{name: a, tool: say}]\nenv: {" + "1: 2, " * 60_000 + "}", "wrong with"),
    ],
    ids=["open", "open quotes", "base 60", "keys", "needs", "reads", "yaml"],
)
async def test_what_is_wrong_with_a_pipeline_is_found_soon(
    house: House, pipeline: Any, why: str
) -> None:
    status, said = await ask(house, "POST", "", house.headers("developer"), {"pipeline": pipeline})
    assert status == 422
    assert why in json.dumps(said["problems"][:1])
    assert len(said["problems"]) <= 1_000


@pytest.mark.parametrize(
    "text",
    [
        "${{ format('" + "{0}" * 1_000 + "', inputs.x) }}",
        "${{ inputs.x }}" * 1_000,
        "${{ " + "toJSON(" * 45 + "inputs.x" + ")" * 45 + " }}",
        "${{ join(fromJSON('[" + "1," * 5_000 + "1]'), inputs.x) }}",
    ],
    ids=["format", "text", "toJSON", "join"],
)
async def test_no_step_gets_more_than_a_call_may_bring(house: House, text: str) -> None:
    key = house.headers("developer")
    given = {**with_text(text), "inputs": {"x": {"required": True}}}
    body = {"pipeline": given, "inputs": {"x": '"' * 100_000}}
    status, said = await ask(house, "POST", "", key, body)
    assert status == 201, said
    await at_rest(house, said["run"])
    status, said = await ask(house, "GET", f"/{said['run']}", key)
    assert (status, said["outcome"]) == (200, "failed")
    assert "more than 4194304 characters" in said["error"] or "more than 16 Mi" in said["error"]


async def test_no_step_holds_up_what_waits_beside_it(house: House) -> None:
    """It was evaluated within the event loop, for a minute, and again at each start of ours."""
    key = house.headers("developer")
    one = "contains(format('{0}{0}{0}{0}', inputs.b), '~%d')"
    params = {f"p{n}": "${{ " + " && ".join([one % n] * 400) + " }}" for n in range(10)}
    given = {
        "name": "p",
        "inputs": {"b": {"required": True}},
        "steps": [{"name": "a", "tool": "gives", "params": {"answer": params}}],
    }
    body = {"pipeline": given, "inputs": {"b": "x" * 600_000}}
    _, said = await ask(house, "POST", "", key, body)
    await at_rest(house, said["run"])
    _, said = await ask(house, "GET", f"/{said['run']}", key)
    assert said["outcome"] == "failed"
    assert "more than 16 Mi characters" in said["error"]


async def test_many_params_that_name_one_input_count_each(house: House) -> None:
    key = house.headers("developer")
    params = {"answer": {f"p{n}": "${{ inputs.x }}" for n in range(1_000)}}
    given = {
        "name": "p",
        "inputs": {"x": {"required": True}},
        "steps": [{"name": "a", "tool": "gives", "params": params}],
    }
    _, said = await ask(house, "POST", "", key, {"pipeline": given, "inputs": {"x": "x" * 100_000}})
    await at_rest(house, said["run"])
    _, said = await ask(house, "GET", f"/{said['run']}", key)
    assert "the params grow to more than" in said["error"]


async def test_a_long_chain_of_steps_is_linted_without_the_square_of_its_length(
    house: House,
) -> None:
    steps = [{"name": f"s{n}", "tool": "nowhere"} for n in range(10_000)]
    last = {"name": "last", "tool": "say", "params": {"text": "${{ steps.s0.outcome }}"}}
    body = {"pipeline": {"name": "p", "steps": [*steps[:-1], last]}}
    async with house.session.post(
        house.url + RUNS, headers=house.headers("developer"), json=body
    ) as answer:
        assert answer.status == 422
        assert "there is no tool 'nowhere' here" in (await answer.json())["error"]


@pytest.mark.parametrize("where", ["pipeline", "inputs", "context", "environment"])
async def test_half_a_character_starts_no_run(house: House, where: str) -> None:
    body: dict[str, Any] = {
        "pipeline": {
            "name": "p",
            "inputs": {"x": {"default": ""}},
            "steps": [{**STEP, "params": {"text": "${{ env.E }}"}}],
        },
        "inputs": {"x": "y"},
        "context": {"sha": "y"},
        "environment": {"E": "y"},
    }
    if where == "pipeline":
        body[where]["description"] = "\ud800"
    else:
        body[where] = dict.fromkeys(body[where], "\ud800")
    status, said = await ask(house, "POST", "", house.headers("developer"), body)
    assert (status, said["success"]) == (400, False)
    assert house.app.runs.newest() == []
