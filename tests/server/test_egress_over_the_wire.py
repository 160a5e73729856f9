"""The egress guard, met over the wire: what can be registered, and what a tool's call reaches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.conftest import House, running
from server.test_registration import app_at, ask, call, put, ticket
from upstream.echo import echoing
from upstream.test_egress import INSIDE, ODD, host


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Nothing inside is open but one name."""
    app = app_at(tmp_path / "home", PILOTAGE_EGRESS_ALLOW="door.example")
    try:
        async with running(app) as opened:
            yield opened
    finally:
        app.close()


async def test_over_the_wire_no_tool_is_registered_that_calls_the_inside(house: House) -> None:
    admin = house.key("admin")
    for url in (*(f"https://{host(address)}" for address in INSIDE), *ODD):
        status, said, _ = await put(house, "t", admin, ticket(url.rstrip("/")))
        assert (status, said["success"]) in ((400, False), (403, False)), url
        assert said["error"]
    assert house.app.others.registrations.list() == []


async def test_over_the_wire_a_tool_whose_name_flips_or_redirects_gets_nowhere(
    house: House,
) -> None:
    """The name is good when the tool is registered; what it resolves to later is judged anew."""
    admin = house.key("admin")
    now = ["127.0.0.1"]

    async def resolve(name: str, port: int) -> list[str]:
        return list(now)

    house.app.others.outgoing._resolve = resolve
    async with echoing() as echo, echoing() as other:
        door = f"http://door.example:{echo.port}"
        assert (await put(house, "t", admin, ticket(door)))[0] == 201
        assert (await put(house, "u", admin, ticket("https://flip.example")))[0] == 201
        status, said = await call(house, "t", admin, id=1)
        assert (status, said["success"], len(echo.seen)) == (200, True, 1)
        await house.app.others.outgoing.close()
        now[:] = ["169.254.169.254"]
        status, said = await call(house, "t", admin, id=1)
        assert (status, said["outcome"]) == (200, "denied")
        assert "link-local" in said["error"]
        for addresses in (["127.0.0.1"], ["::1"], ["93.184.215.14", "10.0.0.1"], ["::ffff:7f00:1"]):
            now[:] = addresses
            status, said = await call(house, "u", admin, id=1)
            assert (status, said["outcome"]) == (200, "denied"), addresses
        now[:] = ["127.0.0.1"]
        for where in (f"http://127.0.0.1:{other.port}/", f"http://localhost:{other.port}/"):
            moved = ticket(door)
            moved["definition"]["url"] = f"{door}/how/to?where={where}&id={{id}}&s={{state}}"
            assert (await put(house, "t", admin, moved))[0] == 200
            status, said = await call(house, "t", admin, id=1)
            assert (status, said["outcome"]) == (200, "denied")
            assert "redirects" in said["error"]
        assert other.seen == []
    assert (await ask(house, "GET", "/api/v2/audit/verify", admin))[1]["bad_seq"] is None
