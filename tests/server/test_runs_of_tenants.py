"""Runs that a program starts for others: each of these has its own, and sees no key but its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest

from server.conftest import House
from server.run_tools import run_house
from server.test_runs import SAY, WAITS, ask, at_rest
from waiting import until

TALK = SAY + "inputs: {word: {default: hello}}\n"
ROLES = """
relay:
  effects: [read, write]
  manage: [runs:read, runs:write, runs:approve, "act:for:kubernetes:prod/*"]
"""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    (tmp_path / "home").mkdir(mode=0o700)
    shipped = files("pilotage.policy").joinpath("roles.yaml").read_text("utf-8")
    (tmp_path / "home" / "roles.yaml").write_text(shipped + ROLES)
    async with run_house(tmp_path) as house:
        yield house


def tenant(key: dict[str, str], name: str) -> dict[str, str]:
    return {**key, "Pilotage-Acting-For": f"kubernetes:prod/{name}"}


async def test_each_tenant_has_its_own_runs_under_its_own_keys(house: House) -> None:
    relay = house.headers("relay")
    key, body = {"Idempotency-Key": "seven"}, {"pipeline": TALK}
    _, shop = await ask(house, "POST", "", {**tenant(relay, "shop"), **key}, body)
    _, other = await ask(house, "POST", "", {**tenant(relay, "other"), **key}, body)
    assert shop["principal"].startswith("kubernetes:prod/shop via key:")
    assert shop["run"] != other["run"]
    for name, run in (("shop", shop["run"]), ("other", other["run"])):
        _, listed = await ask(house, "GET", "?key=seven", tenant(relay, name))
        assert [one["id"] for one in listed["runs"]] == [run]
        _, listed = await ask(house, "GET", "", tenant(relay, name))
        assert [one["id"] for one in listed["runs"]] == [run], "none of the others"
    _, listed = await ask(house, "GET", "?key=seven", relay)
    assert listed["runs"] == []
    status, _ = await ask(house, "GET", f"/{shop['run']}/logs", tenant(relay, "other"))
    assert status == 404


async def test_a_tenant_cancels_its_own_run_and_knows_no_other(house: House) -> None:
    relay = house.headers("relay")
    _, body = await ask(house, "POST", "", tenant(relay, "shop"), {"pipeline": WAITS})
    run = body["run"]
    await at_rest(house, run)
    assert (await ask(house, "GET", f"/{run}", relay))[0] == 200, "the key is for all of them"
    for verb in ("cancel", "approve", "reject", "resume"):
        said = await ask(house, "POST", f"/{run}/{verb}", tenant(relay, "other"), {})
        assert said[0] == 404, said
    for path in ("", "/logs", "/events", "/artifacts"):
        assert (await ask(house, "GET", f"/{run}{path}", tenant(relay, "other")))[0] == 404
    assert (await ask(house, "POST", f"/{run}/cancel", tenant(relay, "shop"), {}))[0] == 200
    await until(lambda: house.app.runs.summary(run).outcome == "cancelled")
    assert (await ask(house, "GET", f"/{run}", tenant(relay, "shop")))[1]["state"] == "ended"


async def test_the_same_start_again_counts_once(house: House) -> None:
    """Who was cut off before it heard the answer must hear it, however full the hour is."""
    roles = (house.app.settings.home / "roles.yaml").read_text()
    limits = "  limits: {tools: {run_start: {rate: 1/hour}}}\n"
    (house.app.settings.home / "roles.yaml").write_text(roles + limits)
    await until(lambda: bool(house.app.audit.list(event="policy.changed")))
    shop, body = {**tenant(house.headers("relay"), "shop")}, {"pipeline": TALK}
    answers = [
        await ask(house, "POST", "", {**shop, "Idempotency-Key": key}, body)
        for key in ("one", "one", "two")
    ]
    assert [status for status, _ in answers] == [201, 201, 429]
    assert answers[0][1]["run"] == answers[1][1]["run"]


async def test_lint_and_the_same_start_again_have_a_rate(house: House) -> None:
    """Each is linted, which takes time: no key keeps a core busy with that."""
    roles = (house.app.settings.home / "roles.yaml").read_text()
    limits = "  limits: {tools: {pipeline_lint: {rate: 1/hour}}}\n"
    (house.app.settings.home / "roles.yaml").write_text(roles + limits)
    await until(lambda: bool(house.app.audit.list(event="policy.changed")))
    shop, body = tenant(house.headers("relay"), "shop"), {"pipeline": TALK}
    keyed = {**shop, "Idempotency-Key": "one"}
    first, again = [await ask(house, "POST", "", keyed, body) for _ in range(2)]
    assert (first[0], again[0], first[1]["run"]) == (201, 201, again[1]["run"])
    refused = await ask(house, "POST", "", keyed, body)
    assert (refused[0], "pipeline_lint" in refused[1]["error"]) == (429, True), refused
    assert (await ask(house, "POST", "", {**shop, "Idempotency-Key": "two"}, body))[0] == 201
    other = tenant(house.headers("relay"), "other")
    for headers, status in ((shop, 429), (other, 200), (other, 429)):
        said = await ask(house, "POST", "/../pipelines/lint", headers, body)
        assert said[0] == status, said
    denied = [row.principal for row in house.app.audit.list(tool="pipeline_lint")]
    assert denied[-1:] == [first[1]["principal"]], "a flood is counted, not written row by row"


async def test_nobody_acts_for_a_namespace_without_that_right(house: House) -> None:
    relay, body = house.headers("relay"), {"pipeline": TALK}
    for key in (house.headers("admin"), house.headers("developer")):
        assert (await ask(house, "POST", "", tenant(key, "shop"), body))[0] == 403
    elsewhere = {**relay, "Pilotage-Acting-For": "kubernetes:test/shop"}
    assert (await ask(house, "POST", "", elsewhere, body))[0] == 403
