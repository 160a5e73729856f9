"""What is there for all is not one key's: tasks, streams of news, sessions, and runs by rate."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pilotage.server import offered, sessions, tasks
from server.conftest import House
from server.fair_tools import house as fair_house
from server.run_tools import run_house
from server.test_tasks import client

HANDSHAKE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


async def test_calls_that_come_at_once_become_no_more_tasks_than_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "EACH", 5)
    async with run_house(tmp_path) as house:
        mine, other = client(house, "developer"), client(house, "developer")
        calls = [mine.call("long_work", end="end") for _ in range(20)]
        made = Counter(one["resultType"] for one in await asyncio.gather(*calls))
        assert made == {"task": 5, "complete": 15}
        assert (await other.call("long_work", end="end"))["resultType"] == "task"
        (tmp_path / "root" / "end").touch()


async def listening(house: House, key: str) -> aiohttp.ClientResponse:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    head = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
    }
    params: dict[str, Any] = {"_meta": meta, "notifications": {"toolsListChanged": True}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}
    return await house.session.post(house.url + "/mcp", headers=head, json=body)


async def test_one_key_has_some_streams_of_news_and_not_all(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offered, "LISTENS", 3)
    greedy, other = house.key("viewer"), house.key("viewer")
    held = [await listening(house, greedy) for _ in range(3)]
    assert [one.content_type for one in held] == ["text/event-stream"] * 3
    refused = await listening(house, greedy)
    assert "has 3 subscriptions open already" in await refused.text()
    held.append(await listening(house, other))
    assert held[-1].content_type == "text/event-stream"
    for one in held:
        one.close()


async def test_one_key_has_some_sessions_and_not_all(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "EACH", 3)

    async def opened(key: str) -> int:
        head = {
            "Authorization": f"Bearer {key}",
            "Accept": "application/json, text/event-stream",
        }
        async with house.session.post(house.url + "/mcp", headers=head, json=HANDSHAKE) as answer:
            await answer.read()
            return answer.status

    greedy, other = house.key("viewer"), house.key("viewer")
    assert [await opened(greedy) for _ in range(4)] == [200, 200, 200, 429]
    assert await opened(other) == 200


async def test_runs_over_rest_and_their_steps_count_for_the_rate_of_a_key(tmp_path: Path) -> None:
    async with fair_house(tmp_path, "limits: {key: {rate: 4/hour}}") as house:
        key = house.headers("developer")
        body = {"pipeline": {"name": "p", "steps": [{"name": "a", "tool": "hi"}]}}
        said = []
        for _ in range(3):
            url = house.url + "/api/v2/runs"
            async with house.session.post(url, headers=key, json=body) as answer:
                said.append(answer.status)
                if answer.status == 201:
                    await house.app.runs.wait((await answer.json())["run"])
        assert said == [201, 201, 429]
        assert int(answer.headers["Retry-After"]) > 800
        await house.app.audit.settled()
        (refused,) = house.app.audit.list(event="refused")
        assert (refused.tool, refused.principal) == ("run_start", "key:k0")


async def keyed(house: House, ann: dict[str, str], name: str, **body: Any) -> tuple[int, Any, Any]:
    """A call of `adds` under that idempotency key: status, body and headers."""
    url, headers = house.url + "/api/v2/tools/call/adds", {**ann, "Idempotency-Key": name}
    async with house.session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_a_key_that_fills_its_share_of_idempotency_keys_leaves_room_for_others(
    tmp_path: Path,
) -> None:
    body = {"file": str(tmp_path / "ran")}
    async with fair_house(tmp_path, "idempotency: {keys: 2, keep: 3600}") as house:
        greedy, other = house.headers("developer"), house.headers("developer")
        for name in ("a", "b"):
            assert (await keyed(house, greedy, name, **body))[0] == 200
        status, said, headers = await keyed(house, greedy, "c", **body)
        assert (status, "key:k0 has 2 idempotency keys, its share" in said["error"]) == (429, True)
        assert 3_500 < int(headers["Retry-After"]) <= 3_600, "when its oldest leaves"
        again = await keyed(house, greedy, "a", **body)
        assert (again[0], again[2]["Idempotent-Replayed"]) == (200, "true")
        assert (await keyed(house, other, "c", **body))[0] == 200
    async with fair_house(tmp_path) as house:  # counted again by a server that starts
        assert house.app.settings.number("idempotency.keys") == 2
        assert (await keyed(house, {**greedy}, "c", **body))[0] == 429
        assert (await keyed(house, {**other}, "d", **body))[0] == 200


async def test_the_answers_of_one_key_push_out_its_own_and_not_anothers(tmp_path: Path) -> None:
    file = str(tmp_path / "ran")
    async with fair_house(tmp_path, "idempotency: {bytes: 2000}") as house:
        greedy, other = house.headers("developer"), house.headers("developer")
        kept = await keyed(house, other, "first", file=file)
        for number in range(100):
            assert (await keyed(house, greedy, f"k{number}", file=file))[0] == 200
        assert (await keyed(house, other, "first", file=file))[1] == kept[1]
        status, said, _ = await keyed(house, greedy, "k0", file=file)
        assert (status, "not kept" in said["error"]) == (409, True)
