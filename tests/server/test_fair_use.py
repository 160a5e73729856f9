"""Limits and the cache, over the wire."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pilotage.domain.call import Principal
from pilotage.domain.errors import BadInput
from server.conftest import House
from server.fair_tools import house, make
from server.test_mcp import connected
from waiting import until

CALL = "/api/v2/tools/call/"


async def call(
    one: House, tool: str, body: dict[str, Any], headers: dict[str, str]
) -> tuple[int, dict[str, Any], Any]:
    """Status, body and headers."""
    async with one.session.post(one.url + CALL + tool, json=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers


def mcp(one: House, headers: dict[str, str], mode: str) -> Any:
    return connected(one, headers["Authorization"].removeprefix("Bearer "), mode)


async def metrics(one: House) -> str:
    async with one.session.get(one.url + "/metrics") as answer:
        return await answer.text()


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_key_over_its_rate_is_told_when_to_come_back(tmp_path: Path, mode: str) -> None:
    async with house(tmp_path, "limits: {key: {rate: 2/hour}}") as one:
        ann, bob = one.headers("developer"), one.headers("developer")
        for _ in range(2):
            assert (await call(one, "hi", {}, ann))[0] == 200
        status, body, headers = await call(one, "hi", {}, ann)
        assert (status, body["success"]) == (429, False)
        seconds = int(headers["Retry-After"])
        assert 1700 < seconds <= 1800
        assert body["retry_after"] == seconds
        assert "over its rate of 2 in 3600 s" in body["error"]
        assert (await call(one, "hi", {}, bob))[0] == 200
        async with mcp(one, ann, mode) as client:
            answer = await client.call_tool("hi", {})
        assert answer.is_error
        assert "try again in " in answer.content[0].text  # type: ignore[union-attr]
        assert math.isclose(answer.meta["io.pilotage/retry-after"], seconds, abs_tol=5)  # type: ignore[index]
        await one.app.audit.settled()
        last = one.app.audit.calls(limit=4)
        assert [record.outcome for record in last] == ["denied", "succeeded", "denied", "succeeded"]
        assert "over its rate" in (last[0].error or "")
        assert 'pilotage_calls_limited_total{limit="key.rate"} 2.0' in await metrics(one)


async def test_only_so_many_calls_of_a_key_wait_at_once(tmp_path: Path) -> None:
    end = tmp_path / "end"
    async with house(tmp_path, "limits: {key: {concurrency: 2}}") as one:
        ann, bob = one.headers("developer"), one.headers("developer")
        waiting = [
            asyncio.create_task(call(one, "stays", {"file": str(end)}, ann)) for _ in range(2)
        ]
        await until(lambda: one.app.gateway.running == 2)
        status, body, headers = await call(one, "hi", {}, ann)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "2 calls running" in body["error"]
        assert (await call(one, "hi", {}, bob))[0] == 200
        end.touch()
        assert [status for status, *_ in await asyncio.gather(*waiting)] == [200, 200]
        assert (await call(one, "hi", {}, ann))[0] == 200
        assert not one.app.fair.limits._held, "no place is left taken"


async def test_a_call_that_is_cut_off_or_refused_gives_its_place_back(tmp_path: Path) -> None:
    settings = "limits: {tools: {stays: {concurrency: 1}, adds: {concurrency: 1}}}"
    async with house(tmp_path, settings) as one:
        ann = one.headers("developer")
        gone = asyncio.create_task(call(one, "stays", {"file": str(tmp_path / "never")}, ann))
        await until(lambda: one.app.gateway.running == 1)
        assert (await call(one, "stays", {"file": "x"}, ann))[0] == 429
        gone.cancel()
        await until(lambda: one.app.gateway.running == 0)
        assert (await call(one, "stays", {"file": str(tmp_path)}, ann))[0] == 200
        for _ in range(3):
            assert (await call(one, "adds", {"wrong": 1}, ann))[0] == 400
            assert (await call(one, "adds", {"file": str(tmp_path / "f")}, ann))[0] == 200


async def test_limits_of_a_role_are_those_of_the_file_and_follow_it(tmp_path: Path) -> None:
    roles = "developer: {effects: [read, write], limits: {tools: {'h*': {rate: 1/day}}}}\n"
    async with house(tmp_path, roles=roles) as one:
        ann = one.headers("developer")
        assert [(await call(one, "hi", {}, ann))[0] for _ in range(2)] == [200, 429]
        (tmp_path / "roles.yaml").write_text("developer: {effects: [read, write]}\n", "utf-8")
        await until(lambda: one.app.fair.limits.free > 0)
        assert (await call(one, "hi", {}, ann))[0] == 200


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("limits: {key: {rate: fast}}", r"limits\.key"),
        ("limits: {tools: {hi: {rate: fast}}}", r"limits\.tools\.hi"),
        ("limits: {tools: {hi: {size: 3}}}", r"limits\.tools\.hi\.size|hi\.size"),
        ("limits: {key: {concurrency: -1}}", "concurrency"),
    ],
)
def test_a_limit_that_cannot_be_read_stops_the_start(
    tmp_path: Path, settings: str, why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        make(tmp_path, settings)


async def test_an_answer_that_is_too_large_fails_in_every_door_and_in_the_audit(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, "limits: {result_bytes: 2000}") as one:
        ann = one.headers("developer")
        assert (await call(one, "large", {"size": 1000}, ann))[1]["success"] is True
        for parts in (1, 3, 100):
            status, body, _ = await call(one, "large", {"size": 3000, "parts": parts}, ann)
            assert (status, body["outcome"]) == (200, "failed")
            assert body["error"] == "the answer of large is larger than 2000 bytes"
            assert "x" * 20 not in str(body)
        async with mcp(one, ann, "2026-07-28") as client:
            answer = await client.call_tool("large", {"size": 3000})
        assert answer.is_error
        await one.app.audit.settled()
        assert one.app.audit.calls(limit=1)[0].outcome == "failed"


async def test_two_who_ask_the_same_get_each_its_own_answer(tmp_path: Path) -> None:
    """Attack table, "Cache leak"."""
    file = str(tmp_path / "ran")
    async with house(tmp_path) as one:
        ann, bob = one.headers("developer"), one.headers("developer")
        first = await call(one, "looks", {"file": file}, ann)
        other = await call(one, "looks", {"file": file}, bob)
        assert first[1]["for"] != other[1]["for"]
        assert (first[1]["ran"], other[1]["ran"]) == (1, 2)
        again = await call(one, "looks", {"file": file}, ann)
        assert again[1] == first[1]
        assert again[2]["Cache-Status"] == "pilotage; hit"
        assert int(again[2]["Age"]) < 60
        assert "Age" not in first[2]
        assert (await call(one, "looks", {"file": file}, one.headers("viewer")))[0] == 403
        # the same name with other rights is somebody else
        wide = Principal("key:x", frozenset({"developer"}))
        answers = [
            (await one.app.call("looks", {"file": file}, by, "cli")).value["ran"]
            for by in (wide, replace(wide, tools=("l*",)), replace(wide, roles=wide.roles | {"ci"}))
            for _ in range(2)
        ]
        assert answers == [3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_cached_answer_says_so_and_is_audited_like_any_other(
    tmp_path: Path, mode: str
) -> None:
    file = str(tmp_path / "ran")
    async with house(tmp_path) as one:
        ann = one.headers("developer")
        async with mcp(one, ann, mode) as client:
            fresh = await client.call_tool("looks", {"file": file})
            kept = await client.call_tool("looks", {"file": file})
        assert "io.pilotage/cached" not in (fresh.meta or {})
        assert kept.structured_content == fresh.structured_content
        assert kept.meta["io.pilotage/cached"] is True  # type: ignore[index]
        assert 0 <= kept.meta["io.pilotage/age"] < 60  # type: ignore[index]
        await one.app.audit.settled()
        entries = [e for e in one.app.audit.list() if e.event != "open" and e.tool == "looks"]
        said = [(entry.body["outcome"], entry.body.get("kept")) for entry in entries]
        assert said == [("succeeded", "cached"), ("succeeded", None)]


async def test_what_an_answer_depends_on_makes_another_one(tmp_path: Path) -> None:
    file = str(tmp_path / "ran")
    roles = "developer: {effects: [read, write]}\n"
    async with house(tmp_path, roles=roles) as one:
        ann = one.headers("developer")

        async def ran(body: dict[str, Any]) -> int:
            return int((await call(one, "looks", {"file": file, **body}, ann))[1]["ran"])

        assert await ran({"end": "", "how": ""}) == 1
        assert await ran({"how": "", "end": ""}) == 1, "the order of keys is nothing"
        assert await ran({}) == 2, "what is left out is not what is said"
        version = one.app.policy.version
        (tmp_path / "roles.yaml").write_text(roles + "other: {effects: [read]}\n", "utf-8")
        await until(lambda: one.app.policy.version != version)
        assert await ran({}) == 3
        tool = one.app.registry.find("looks").tool
        one.app.registry.remove("looks")
        one.app.registry.add(
            type(tool)(**{name: getattr(tool, name) for name in tool.__dataclass_fields__})
        )
        assert await ran({}) == 4


async def test_calls_that_are_the_same_at_once_run_once_and_one_who_leaves_takes_nobody_along(
    tmp_path: Path,
) -> None:
    file, end = tmp_path / "ran", tmp_path / "end"
    body = {"file": str(file), "end": str(end)}
    async with house(tmp_path) as one:
        ann = one.headers("developer")
        leader = asyncio.create_task(call(one, "looks", body, ann))
        await until(file.exists)
        others = [asyncio.create_task(call(one, "looks", body, ann)) for _ in range(5)]
        await until(lambda: one.app.gateway.running == 6)
        leader.cancel()
        await until(lambda: file.read_text("utf-8").count("\n") == 2)
        end.touch()
        answers = await asyncio.gather(*others)
        assert [status for status, *_ in answers] == [200] * 5
        assert {answer["ran"] for _, answer, _ in answers} == {2}
        assert not one.app.fair.cache._flights


async def test_what_failed_is_not_kept(tmp_path: Path) -> None:
    body = {"file": str(tmp_path / "ran"), "how": "fails"}
    async with house(tmp_path) as one:
        ann = one.headers("developer")
        for _ in range(2):
            assert (await call(one, "looks", body, ann))[1]["outcome"] == "unavailable"
        assert (tmp_path / "ran").read_text("utf-8").count("\n") == 2
