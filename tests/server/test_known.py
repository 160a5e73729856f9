"""A connection that knows the heads of requests: the answers are those of one that parses."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotage.app import local_principal
from pilotage.server import known
from pilotage.server.calls import PREFIX
from pilotage.server.connection import Patience, Watchman
from pilotage.server.known import Knowing
from server import odd_requests
from server.conftest import House
from server.odd_requests import Odd
from server.test_fast import Line, _ask, recorded, through
from waiting import LONG, until


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    Knowing.heads.clear()
    yield
    Knowing.heads.clear()


def port(house: House) -> int:
    return int(house.url.rsplit(":", 1)[1])


def rest(key: str, *headers: str, body: str = '{"text": "hi"}', tool: str = "echo") -> bytes:
    lines = [
        f"POST {PREFIX}{tool} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body.encode()


async def test_odd_requests_are_answered_the_same_with_known_heads_and_without(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd: list[Odd] = [*odd_requests.texts(), *odd_requests.heads(), *odd_requests.mixed(5, 200)]
    twice = [one for one in odd for _ in range(2)]
    key = house.key("developer")
    ours = await through(house, twice, key)
    assert len(Knowing.heads) > 20
    Knowing.heads.clear()
    monkeypatch.setattr(known, "HEAD_LIMIT", 0)
    theirs = await through(house, twice, key)
    assert Knowing.heads == {}
    wrong = [r.what for r, a, b in zip(twice, ours, theirs, strict=True) if a != b]
    assert wrong == []


@pytest.mark.parametrize(
    "headers",
    [
        ("X-Request-Id: mine",),
        ("Connection: close",),
        ("Upgrade: h2c", "Connection: upgrade"),
        ("X-Twice: 1", "X-Twice: 2"),
        (f"X-Long: {'a' * 5_000}",),
    ],
)
async def test_what_is_special_is_never_kept(house: House, headers: tuple[str, ...]) -> None:
    key = house.key("developer")
    line = Line(port(house))
    for _ in range(2):
        raw = rest(key, *headers)
        await line.ask(raw)
        line.close()
    assert Knowing.heads == {}


async def test_a_known_head_still_needs_a_good_key_and_one_that_is_revoked_is_refused(
    house: House,
) -> None:
    key = house.key("developer", name="mine")
    line = Line(port(house))
    assert (await line.ask(rest("plt_wrong"))).status == 401
    assert (await line.ask(rest("plt_wrong"))).status == 401
    assert (await line.ask(rest(key))).status == 200
    house.app.keys.revoke(house.app.keys.list()[0].id, by=local_principal())
    house.front._access._known.clear()  # it is remembered for a second
    assert (await line.ask(rest(key))).status == 401
    house.front.stopping = True
    assert (await line.ask(rest(key))).status == 503
    line.close()


async def test_requests_in_pieces_and_several_at_once_are_answered_in_order(house: House) -> None:
    key = house.key("developer")
    bodies = [json.dumps({"text": f"number {n}"}) for n in range(10, 30)]
    raw = b"".join(rest(key, body=body) for body in bodies)
    for step in (len(raw), 1, 7, 190, len(rest(key, body=bodies[0]))):
        line = Line(port(house))
        first = await line.ask(rest(key, body=bodies[0]))
        assert first.body["said"] == "number 10"
        assert Knowing.heads
        assert line._streams is not None
        reader, writer = line._streams
        for at in range(0, len(raw), step):
            writer.write(raw[at : at + step])
            if step > 1 or at % 50 == 0:
                await asyncio.sleep(0)
        for body in bodies:
            assert (await line.more(reader)).body["said"] == json.loads(body)["text"]
        line.close()


async def test_who_goes_away_from_a_known_request_ends_its_call(
    house: House, tmp_path: Path
) -> None:
    key, mark = house.key("developer"), tmp_path / "mark"
    slow = _ask("slow", seconds=60, mark=str(mark)).raw(key)
    quick = slow.replace(b'"seconds": 60', b'"seconds":  0')
    line = Line(port(house))
    assert (await line.ask(quick)).body["result"]["isError"] is False
    assert slow[: slow.index(b"\r\n\r\n") + 4] in Knowing.heads
    mark.unlink()
    asking = asyncio.create_task(line.ask(slow))
    await until(mark.exists)
    line.close()
    await until(lambda: mark.read_text("utf-8") == "cleaned up")
    await asking
    await until(lambda: house.app.gateway.running == 0)
    outcomes = [call[3] for call in await recorded(house, 2)]
    assert sorted(outcomes) == ["cancelled", "succeeded"]


async def test_the_watchman_leaves_a_long_known_call_and_a_connection_at_rest_alone(
    house: House, tmp_path: Path
) -> None:
    key, file = house.key("developer"), tmp_path / "now"
    line = Line(port(house))
    raw = rest(key, body=json.dumps({"file": str(file)}), tool="waits")
    file.touch()
    assert (await line.ask(raw)).status == 200
    file.unlink()
    assert line._streams is not None
    connections = [_connection(line._streams[1].get_extra_info("sockname"))]
    watchman = Watchman(Patience(0, 0, 0))
    watchman.look(connections)
    watchman.look(connections)
    asking = asyncio.create_task(line.ask(raw))
    await until(lambda: house.app.gateway.running == 1)
    watchman.look(connections)
    watchman.look(connections)
    file.touch()
    assert (await asking).body["said"] == "done"
    line.close()


async def test_a_connection_at_rest_is_closed_after_a_while_and_not_before(house: House) -> None:
    line, raw = Line(port(house)), rest(house.key("developer"))
    assert (await line.ask(raw)).status == 200
    assert line._streams is not None
    connection = _connection(line._streams[1].get_extra_info("sockname"))
    connection.timeout_keep_alive = 3600
    assert (await line.ask(raw)).status == 200
    connection._at_rest()
    assert not connection.transport.is_closing(), "it was used a moment ago"
    connection.timeout_keep_alive = 0
    connection._at_rest()
    async with asyncio.timeout(LONG):
        assert await line._streams[0].read() == b""
    line.close()


def _connection(client: tuple[str, int]) -> Knowing:
    """Ours, of those that there are: tests before this one leave some behind."""
    known = [one for one in gc.get_objects() if isinstance(one, Knowing)]
    (found,) = [one for one in known if one.transport and one.client == client]
    return found
