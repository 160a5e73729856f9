"""A key is revoked, the policy changes, a tool is disabled or quarantined while a call waits or is
about to be tried again: what would have begun then does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pilotage.app import local_principal
from server.conftest import House
from server.fair_tools import house as fair_house
from server.test_pinned_headers import approved
from server.test_registration import TOOLS_AT, ask, call, open_house, put, ticket
from waiting import until

ROLES = """
developer: {effects: [%s], manage: ["runs:write"]}
admin: {effects: [read, write, destroy], manage: ["*"]}
registrar: {manage: ["tools:read", "tools:write"]}
"""
Change = Callable[[House, str], Awaitable[Any]]
"""Takes the key of a registrar."""


async def revoked(house: House, _: str = "") -> None:
    house.app.keys.revoke("asker", by=local_principal())


async def disabled(house: House, _: str) -> None:
    status, _, _ = await ask(house, "POST", f"{TOOLS_AT}/t/disable", house.key("admin"))
    assert status == 200


async def forbidden(house: House, _: str) -> None:
    before = house.app.policy.version
    (house.app.settings.home / "roles.yaml").write_text(ROLES % "", "utf-8")
    await until(lambda: house.app.policy.version != before)


async def quarantined(house: House, registrar: str) -> None:
    changed = ticket(house.url, summary="Something else", retries=5)
    _, said, _ = await put(house, "t", registrar, changed)
    assert said["state"] == "quarantined"


@dataclass
class HangsUp:
    """A server that answers nothing. When it is asked first, it does something."""

    first: Callable[[], Awaitable[Any]]
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if len(self.asked) == 1:
            await self.first()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


@asynccontextmanager
async def hanging_up(server: HangsUp) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("change", "outcome", "why"),
    [
        (revoked, "denied", "the API key asker is not valid any more"),
        (disabled, "denied", "t is disabled"),
        (forbidden, "denied", "not tried again: no rule lets key:asker"),
        (quarantined, "denied", "t is quarantined"),
    ],
)
async def test_what_failed_is_not_tried_again_without_the_right_to(
    tmp_path: Path, change: Change, outcome: str, why: str
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "roles.yaml").write_text(ROLES % "read", "utf-8")
    async with open_house(tmp_path / "home") as house:
        asker = house.key("developer", name="asker")
        registrar = house.key("registrar")
        server = HangsUp(lambda: change(house, registrar))
        async with hanging_up(server) as url:
            given = ticket(url, retries=5, timeout=60)
            assert (await put(house, "t", registrar, given))[0] == 201
            await approved(house, "t")
            _, said = await call(house, "t", asker, id=1)
        assert said["outcome"] == outcome, said
        assert why in said["error"]
        assert len(server.asked) == 1


async def test_what_failed_is_tried_again_with_the_right_to(tmp_path: Path) -> None:
    async with open_house(tmp_path / "home") as house:

        async def nothing() -> None: ...

        server = HangsUp(nothing)
        async with hanging_up(server) as url:
            assert (await put(house, "t", house.key("admin"), ticket(url, retries=2)))[0] == 201
            _, said = await call(house, "t", house.key("developer"), id=1)
        assert (said["outcome"], len(server.asked)) == ("unavailable", 3)


async def off(house: House, _: str) -> None:
    entry = house.app.registry.find("adds")
    house.app.registry.put(entry.tool, type(entry.state).DISABLED)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (revoked, "the API key asker is not valid any more"),
        (off, "adds is disabled"),
        (forbidden, "no rule lets key:asker"),
    ],
)
async def test_a_step_that_has_waited_for_its_turn_runs_by_the_rights_of_then(
    tmp_path: Path, change: Change, why: str
) -> None:
    end, mine = tmp_path / "end", tmp_path / "mine"
    settings = "limits: {tools: {adds: {concurrency: 1}}}"
    roles = ROLES % "read, write"
    async with fair_house(tmp_path / "home", settings, roles) as house:
        asker, other = house.key("developer", name="asker"), house.key("admin")
        body = {"file": str(tmp_path / "others"), "end": str(end)}
        holding = asyncio.create_task(call(house, "adds", other, **body))
        await until((tmp_path / "others").exists)
        step = {"name": "a", "tool": "adds", "params": {"file": str(mine)}}
        given = {"pipeline": {"name": "p", "steps": [step]}}
        status, made, _ = await ask(house, "POST", "/api/v2/runs", asker, given)
        assert status == 201
        await until(lambda: house.app.gateway.running == 2)
        await change(house, "")
        end.touch()
        await holding
        stands = await house.app.runs.wait(made["run"])
        assert stands.outcome is not None
        assert (stands.outcome.value, mine.exists()) == ("failed", False)
        assert why in stands.steps["a"].error


async def test_who_waited_for_another_ones_answer_does_not_run_in_its_place_without_the_right_to(
    tmp_path: Path,
) -> None:
    keyed: dict[str, str] = {"Idempotency_Key": "k"}
    for tool, headers in (("looks", dict[str, str]()), ("puts", keyed)):
        file, end = tmp_path / f"ran-{tool}", tmp_path / f"end-{tool}"
        body = {"file": str(file), "end": str(end)}
        async with fair_house(tmp_path / tool) as house:
            key = house.key("developer", name="asker")
            at = f"{TOOLS_AT}/call/{tool}"
            leader = asyncio.create_task(ask(house, "POST", at, key, body, **headers))
            await until(file.exists)
            waiting = asyncio.create_task(ask(house, "POST", at, key, body, **headers))
            await until(lambda: house.app.gateway.running == 2)
            await revoked(house)
            leader.cancel()
            _, said, _ = await waiting
            assert "the API key asker is not valid any more" in said["error"]
            assert file.read_text("utf-8").count("\n") == 1
