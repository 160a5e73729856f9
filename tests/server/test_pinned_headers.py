"""A registrar changes what goes along with the calls of an approved tool: that waits as well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.conftest import House
from server.test_registration import TOOLS_AT, ask, call, open_house, put, ticket
from upstream.echo import echoing
from upstream.mcp_server import serving, tool
from waiting import until


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "home") as opened:
        opened.app.others.secrets.set("ADMIN_TOKEN", "only-for-admins", ["127.0.0.1:*"])
        yield opened


async def approved(house: House, name: str) -> str:
    """An administrator looks at the tool and says yes: what was shown."""
    admin = house.key("admin")
    _, diff, _ = await ask(house, "GET", f"{TOOLS_AT}/{name}/diff", admin)
    body = {"digest": diff["seen"]}
    status, said, _ = await ask(house, "POST", f"{TOOLS_AT}/{name}/approve", admin, body)
    assert (status, said["state"]) == (200, "ready")
    return str(diff["diff"])


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({"headers": {"X-Token": {"secret": "ADMIN_TOKEN"}}}, "X-Token: {ADMIN_TOKEN}"),
        ({"headers": {"X-HTTP-Method-Override": "DELETE"}}, "X-HTTP-Method-Override: DELETE"),
        ({"idempotent": True, "retries": 3}, "may be repeated; tried again 3 times"),
    ],
    ids=["secret", "override", "retries"],
)
async def test_an_approved_tool_gets_no_header_and_no_secret_that_nobody_saw(
    house: House, more: dict[str, Any], shown: str
) -> None:
    registrar, caller = house.key("registrar"), house.key("developer")
    async with echoing() as echo:
        plain = ticket(echo.url, method="POST", effect="write")
        assert (await put(house, "t", registrar, plain))[0] == 201
        await approved(house, "t")
        assert (await call(house, "t", caller, id=1))[0] == 200
        changed = ticket(echo.url, method="POST", effect="write", **more)
        assert (await put(house, "t", registrar, changed))[1]["state"] == "quarantined"
        assert (await call(house, "t", caller, id=1))[0] == 403
        assert len(echo.seen) == 1, "what was not approved has called nobody"
        assert shown in await approved(house, "t")
        assert (await call(house, "t", caller, id=1))[0] == 200
    assert "only-for-admins" not in str(house.app.audit.list(limit=1000))


async def test_a_secret_goes_to_no_other_port_of_its_host(house: House) -> None:
    admin = house.key("admin")
    secrets = house.app.others.secrets
    async with echoing() as mine, echoing() as others:
        secrets.set("MINE", "only-for-my-service", [f"127.0.0.1:{mine.port}"])
        secrets.set("PORTLESS", "for-the-usual-port", ["127.0.0.1"])

        async def why(name: str, url: str, secret: str) -> str:
            given = ticket(url, headers={"X-Token": {"secret": secret}})
            assert (await put(house, name, admin, given))[0] == 201
            _, body = await call(house, name, admin, id=1)
            return "" if body["success"] else str(body["error"])

        assert await why("mine", mine.url, "MINE") == ""
        assert ["X-Token", "only-for-my-service"] in mine.seen[0]["headers"]
        where = f"may not go to {others.url}, but to 127.0.0.1"
        assert f"{where}:{mine.port}" in await why("others", others.url, "MINE")
        assert where in await why("portless", others.url, "PORTLESS")
        assert not others.seen


async def test_an_approved_server_gets_no_secret_that_nobody_saw(house: House) -> None:
    registrar, caller = house.key("registrar"), house.key("developer")

    def state(name: str) -> str:
        entry = house.app.registry.all.get(name)
        return "" if entry is None else str(entry.state)

    async with serving(tools=[tool("speak")]) as server:
        given: dict[str, Any] = {"kind": "mcp", "definition": {"url": server.url}}
        assert (await put(house, "s", registrar, given))[0] == 201
        await until(lambda: state("speak") == "quarantined")
        await approved(house, "speak")
        assert (await call(house, "speak", caller, text="hi"))[0] == 200
        given["definition"]["headers"] = {"X-Token": {"secret": "ADMIN_TOKEN"}}
        assert (await put(house, "s", registrar, given))[0] == 200
        await until(lambda: state("speak") == "quarantined")
        assert (await call(house, "speak", caller, text="hi"))[0] == 403
        assert "X-Token: {ADMIN_TOKEN}" in await approved(house, "speak")
