"""The OpenAPI document says of runs what the routes answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from server.conftest import House
from server.run_tools import run_house
from server.test_runs import RUNS, TALK, WAITS, ask, at_rest, started


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with run_house(tmp_path) as house:
        yield house


class Description:
    """The document, and whether an answer fits it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.seen: set[tuple[str, str, int]] = set()

    def check(self, method: str, path: str, status: int, body: Any) -> None:
        answers = self.document["paths"][path][method.lower()]["responses"]
        assert str(status) in answers, (method, path, status, sorted(answers))
        schema = answers[str(status)]["content"]["application/json"]["schema"]
        whole = {**schema, "components": self.document["components"]}
        errors = [error.message for error in jsonschema_rs.iter_errors(whole, body)]
        assert errors == [], (method, path, status)
        self.seen.add((method, path, status))


async def test_each_answer_is_as_it_is_described(house: House) -> None:
    async with house.session.get(house.url + "/api/v2/openapi.json") as answer:
        says = Description(json.loads(await answer.read()))
    boss, ci, other = house.headers("operator"), house.headers("ci"), house.headers("ci")
    ended, waits = await started(house, ci, TALK), await started(house, ci, WAITS)
    for run in (ended, waits):
        await at_rest(house, run)
    one, bad = RUNS + "/{run}", {"pipeline": "name: p\nsteps: [{name: a, tool: nowhere}]"}
    cases: list[tuple[str, str, str, dict[str, str], Any, int]] = [
        ("POST", "", RUNS, ci, {"pipeline": TALK}, 201),
        ("POST", "", RUNS, ci, {}, 400),
        ("POST", "", RUNS, ci, bad, 422),
        ("POST", "", RUNS, house.headers("viewer"), {"pipeline": TALK}, 403),
        ("GET", "", RUNS, ci, None, 200),
        ("GET", "?state=odd", RUNS, ci, None, 400),
        ("GET", f"/{ended}?results=true", one, ci, None, 200),
        ("GET", f"/{waits}", one, ci, None, 200),
        ("GET", f"/{waits}", one, other, None, 404),
        ("GET", f"/{ended}/logs", one + "/logs", ci, None, 200),
        ("GET", f"/{ended}/logs?limit=0", one + "/logs", ci, None, 400),
        ("GET", f"/{ended}/artifacts", one + "/artifacts", ci, None, 200),
        ("GET", f"/{ended}/events?after=9999", one + "/events", ci, None, 400),
        ("GET", f"/{ended}/artifacts/a/b", one + "/artifacts/{step}/{name}", ci, None, 404),
        ("POST", f"/{waits}/approve", one + "/approve", ci, None, 403),
        ("POST", f"/{waits}/approve", one + "/approve", boss, {"more": 1}, 400),
        ("POST", f"/{waits}/approve", one + "/approve", boss, {"step": "x"}, 409),
        ("POST", f"/{waits}/reject", one + "/reject", boss, None, 200),
        ("POST", f"/{ended}/cancel", one + "/cancel", ci, None, 409),
        ("POST", f"/{ended}/resume", one + "/resume", other, None, 404),
    ]
    for method, path, route, headers, body, expected in cases:
        status, answer = await ask(house, method, path, headers, body)
        assert status == expected, (method, path, answer)
        says.check(method, route, status, answer)
    assert len(says.seen) == len(cases) - 1, "two are of one kind"


async def test_no_route_promises_an_answer_that_it_never_gives(house: House) -> None:
    async with house.session.get(house.url + "/api/v2/openapi.json") as answer:
        document = json.loads(await answer.read())
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if path.startswith(RUNS):
                assert operation["operationId"].replace("_", "").isalpha(), (method, path)
                assert operation["security"] == [{"key": []}]
                assert {"401", "403"} <= set(operation["responses"]), (method, path)
            assert "HTTPValidationError" not in json.dumps(operation)
