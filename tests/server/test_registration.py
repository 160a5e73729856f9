"""Tools that are registered while the server runs, over REST: whose they are, that they stay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from pilotage import config
from pilotage.app import App
from pilotage.tool.roots import roots
from server.conftest import House, running
from server.tools import TOOLS
from upstream.echo import echoing
from waiting import until

TOOLS_AT = "/api/v2/tools"
TICKET: dict[str, Any] = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "state": {"type": "string"}},
    "required": ["id"],
}
MAKERS = """
maker: {effects: [read, write], manage: ["tools:read", "tools:write"]}
helper: {effects: [read], manage: ["tools:read", "tools:write", "tools:own:key:owner"]}
"""
Answer = tuple[int, dict[str, Any], str]


def app_at(home: Path, **settings: str) -> App:
    environment = {
        "PILOTAGE_HOME": str(home),
        "HOME": str(home),
        "PILOTAGE_EGRESS_ALLOW": "127.0.0.1",
        **settings,
    }
    home.mkdir(exist_ok=True)
    return App(config.read(environment=environment), roots(home), TOOLS)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "home") as opened:
        yield opened


@asynccontextmanager
async def open_house(home: Path) -> AsyncIterator[House]:
    app = app_at(home)
    try:
        async with running(app) as opened:
            yield opened
    finally:
        app.close()


def ticket(url: str, **more: Any) -> dict[str, Any]:
    definition = {
        "method": "GET",
        "url": url + "/tickets/{id}?state={state}",
        "summary": "One ticket",
        "input_schema": TICKET,
        **more,
    }
    return {"kind": "http", "definition": definition}


async def ask(
    house: House, method: str, path: str, key: str, body: Any = None, **headers: str
) -> Answer:
    """Status, body, ETag."""
    given = {
        "Authorization": f"Bearer {key}",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    async with house.session.request(method, house.url + path, json=body, headers=given) as answer:
        text = await answer.read()
        said = await answer.json() if text else {}
        return answer.status, said, answer.headers.get("ETag", "")


async def put(house: House, name: str, key: str, body: Any, **headers: str) -> Answer:
    return await ask(house, "PUT", f"{TOOLS_AT}/{name}", key, body, **headers)


async def call(house: House, name: str, key: str, **arguments: Any) -> tuple[int, dict[str, Any]]:
    status, said, _ = await ask(house, "POST", f"{TOOLS_AT}/call/{name}", key, arguments)
    return status, said


async def events(house: House, name: str) -> list[str]:
    await house.app.audit.settled()
    return [one.event for one in house.app.audit.list(tool=name) if one.event.startswith("tool.")]


async def test_a_registered_tool_is_called_at_once_and_told_to_all(house: House) -> None:
    admin, caller = house.key("admin"), house.key("developer")
    async with echoing() as echo:
        assert (await call(house, "ticket", caller, id=7))[0] == 404
        status, said, etag = await put(house, "ticket", admin, ticket(echo.url))
        assert (status, said["state"], said["kind"]) == (201, "ready", "http")
        assert etag == f'"{said["etag"]}"'
        assert len(said["tool_id"]) == 26
        status, said = await call(house, "ticket", caller, id=7, state="a b&c")
        assert (status, said["success"], said["status"]) == (200, True, 200)
        assert said["result"]["target"] == "/tickets/7?state=a%20b%26c"
        status, said, _ = await ask(house, "GET", f"{TOOLS_AT}/ticket", caller)
        assert (status, said["effect"], said["may"], said["summary"]) == (
            200,
            "read",
            "allow",
            "One ticket",
        )
        assert said["definition"] is None


async def test_the_same_again_changes_nothing_and_makes_no_noise(house: House) -> None:
    admin = house.key("admin")
    status, first, etag = await put(house, "ticket", admin, ticket("https://a.example"))
    assert status == 201
    told = await events(house, "ticket")
    assert sorted(told) == ["tool.approved", "tool.registered"]
    for _ in range(3):
        status, again, same = await put(house, "ticket", admin, ticket("https://a.example"))
        assert (status, again, same) == (200, first, etag)
    assert await events(house, "ticket") == told
    status, changed, other = await put(house, "ticket", admin, ticket("https://b.example"))
    assert (status, changed["tool_id"]) == (200, first["tool_id"])
    assert other != etag
    assert sorted(await events(house, "ticket")) == sorted([*told, "tool.approved", "tool.changed"])
    assert changed["state"] == "ready"


async def test_one_owner_cannot_touch_anothers_tool(house: House) -> None:
    one, other = house.key("registrar", name="one"), house.key("registrar", name="other")
    assert (await put(house, "ticket", one, ticket("https://a.example")))[0] == 201
    theirs = ticket("https://evil.example")
    assert (await put(house, "ticket", other, theirs))[0] == 409
    assert (await put(house, "ticket", other, {**theirs, "owner": "key:one"}))[0] == 403
    assert (await put(house, "new", other, {**theirs, "owner": "key:one"}))[0] == 403
    for method, path in (
        ("DELETE", "ticket"),
        ("POST", "ticket/disable"),
        ("POST", "ticket/enable"),
        ("DELETE", "ticket?owner=key:one"),
    ):
        assert (await ask(house, method, f"{TOOLS_AT}/{path}", other))[0] == 403, path
    assert (await ask(house, "DELETE", f"{TOOLS_AT}/ticket?owner=key:other", other))[0] == 409
    status, said, _ = await ask(house, "GET", f"{TOOLS_AT}/ticket", one)
    assert (status, said["definition"]["url"]) == (
        200,
        ticket("https://a.example")["definition"]["url"],
    )
    admin = house.key("admin")
    assert (await put(house, "ticket", admin, theirs))[0] == 409
    assert (await put(house, "ticket", admin, {**theirs, "owner": "key:one"}))[0] == 200
    assert (await ask(house, "DELETE", f"{TOOLS_AT}/ticket", admin))[0] == 204


@pytest.mark.parametrize("owner", ["KEY:admin", " key:admin", "key:admin ", "k\u0435y:admin", " "])
async def test_nobody_looks_like_another_principal(house: House, owner: str) -> None:
    registrar = house.key("registrar")
    wish = ticket("https://api.example")
    status, said, _ = await put(house, "t", registrar, {**wish, "owner": owner})
    assert (status, "owner" in said["error"]) == (400, True)
    for good in ("team:payments", "cluster/uid/7", "Payments"):
        status, _, _ = await put(house, f"t-{good[:4]}", registrar, {**wish, "owner": good})
        assert status == 201


async def test_nobody_takes_a_name_of_the_house(house: House) -> None:
    admin = house.key("admin")
    for owner in ("", "me"):
        status, said, _ = await put(
            house, "echo", admin, {**ticket("https://a.example"), "owner": owner}
        )
        assert (status, said["success"]) == (409, False)
    assert (await ask(house, "DELETE", f"{TOOLS_AT}/echo", admin))[0] == 404
    assert (await ask(house, "POST", f"{TOOLS_AT}/echo/disable", admin))[0] == 404
    assert (await call(house, "echo", admin, text="x"))[0] == 200


async def test_an_operators_generations_only_grow(house: House) -> None:
    key = house.key("registrar", name="operator")
    body = ticket("https://a.example")

    async def at(owner: str) -> int:
        return (await put(house, "ticket", key, {**body, "owner": owner}))[0]

    assert [await at(f"east/uid-1/{n}") for n in (2, 2, 3)] == [201, 200, 200]
    assert await at("east/uid-1/2") == 409
    assert await at("east/uid-2/9") == 409
    assert await at("west/uid-1/9") == 409
    for owner, found in (("east", 1), ("east/uid-1", 1), ("eas", 0), ("west", 0)):
        _, said, _ = await ask(house, "GET", f"{TOOLS_AT}?owner={owner}", key)
        assert len(said["tools"]) == found, owner
    assert (await ask(house, "DELETE", f"{TOOLS_AT}/ticket?owner=east/uid-1/2", key))[0] == 409
    assert (await ask(house, "DELETE", f"{TOOLS_AT}/ticket?owner=east/uid-1/3", key))[0] == 204
    assert (await ask(house, "DELETE", f"{TOOLS_AT}/ticket?owner=east/uid-1/3", key))[0] == 404


async def test_conditions_are_kept(house: House) -> None:
    key = house.key("admin")
    body, other = ticket("https://a.example"), ticket("https://b.example")
    assert (await put(house, "ticket", key, body, If_Match='"x"'))[0] == 412
    assert (await put(house, "ticket", key, body, If_None_Match="*"))[0] == 201
    assert (await put(house, "ticket", key, other, If_None_Match="*"))[0] == 412
    _, _, etag = await ask(house, "GET", f"{TOOLS_AT}/ticket", key)
    assert (await put(house, "ticket", key, other, If_Match=etag))[0] == 200
    assert (await put(house, "ticket", key, body, If_Match=etag))[0] == 412
    assert (await put(house, "ticket", key, body, If_Match="*"))[0] == 200
    assert (await put(house, "ticket", key, body, If_Match="bare"))[0] == 400
    assert (await put(house, "ticket", key, body, If_None_Match='"x"'))[0] == 400
    for method, path in (("DELETE", "ticket"), ("POST", "ticket/disable")):
        stale = await ask(house, method, f"{TOOLS_AT}/{path}", key, If_Match='"stale"')
        assert stale[0] == 412
    _, _, etag = await ask(house, "GET", f"{TOOLS_AT}/ticket", key)
    assert (await ask(house, "DELETE", f"{TOOLS_AT}/ticket", key, If_Match=etag))[0] == 204


async def test_a_disabled_tool_is_neither_called_nor_shown(house: House) -> None:
    admin, caller = house.key("admin"), house.key("developer")
    async with echoing() as echo:
        await put(house, "ticket", admin, ticket(echo.url))
        status, said, disabled = await ask(house, "POST", f"{TOOLS_AT}/ticket/disable", admin)
        assert (status, said["state"], said["enabled"]) == (200, "disabled", False)
        assert said["held"] is False, "by its own"
        assert said["why"] == f"it was disabled by {said['disabled_by']}"
        assert (await call(house, "ticket", caller, id=1))[0] == 403
        assert (await ask(house, "GET", f"{TOOLS_AT}/ticket", caller))[0] == 403
        _, listed, _ = await ask(house, "GET", TOOLS_AT, caller)
        assert "ticket" not in [one["name"] for one in listed["tools"]]
        _, listed, _ = await ask(house, "GET", TOOLS_AT, admin)
        assert [one["state"] for one in listed["tools"] if one["name"] == "ticket"] == ["disabled"]
        status, said, _ = await put(house, "ticket", admin, ticket(echo.url, summary="Other"))
        assert (status, said["state"]) == (200, "disabled")
        status, said, etag = await ask(house, "POST", f"{TOOLS_AT}/ticket/enable", admin)
        assert (status, said["state"]) == (200, "ready")
        assert etag != disabled
        again = await ask(house, "POST", f"{TOOLS_AT}/ticket/enable", admin)
        assert again == (200, said, etag)
        assert (await call(house, "ticket", caller, id=1))[0] == 200
    assert [one for one in await events(house, "ticket") if "abled" in one] == [
        "tool.enabled",
        "tool.disabled",
    ]


async def test_what_an_administrator_has_disabled_its_owner_does_not_enable_again(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shipped = files("pilotage.policy").joinpath("roles.yaml").read_text("utf-8")
    (home / "roles.yaml").write_text(f"{shipped}{MAKERS}", "utf-8")
    on, off = f"{TOOLS_AT}/ticket/enable", f"{TOOLS_AT}/ticket/disable"
    async with open_house(home) as house, echoing() as echo:
        owner, helper = house.key("maker", name="owner"), house.key("helper", name="helper")
        admin, other = house.key("admin", name="boss"), house.key("admin")
        assert (await put(house, "ticket", owner, ticket(echo.url)))[0] == 201

        async def at(path: str, key: str) -> int:
            return (await ask(house, "POST", path, key))[0]

        assert (await at(off, owner), await at(on, helper)) == (200, 200), "its own undo their own"
        assert (await at(off, helper), await at(on, owner)) == (200, 403)
        assert (await at(off, admin), await at(on, helper)) == (200, 403), "an approver counts more"
        assert (await at(on, admin), await at(off, owner), await at(off, admin)) == (200, 200, 200)
        _, told, _ = await ask(house, "GET", f"{TOOLS_AT}/ticket", owner)
        assert (told["disabled_by"], told["held"]) == ("key:boss", True)
        status, said, _ = await ask(house, "POST", on, owner)
        assert (status, said["hint"]) == (403, "ask them, or who has tools:approve")
        assert "was disabled by key:boss" in said["error"]
        assert (await at(off, owner), await at(on, owner)) == (200, 403), "off once more is no way"
        assert (await put(house, "ticket", owner, ticket(echo.url, summary="New")))[0] == 200
        assert await at(on, owner) == 403
    async with open_house(home) as house:
        _, told, _ = await ask(house, "GET", f"{TOOLS_AT}/ticket", owner)
        assert (told["enabled"], told["disabled_by"]) == (False, "key:boss")
        assert (await ask(house, "POST", on, owner))[0] == 403
        status, told, _ = await ask(house, "POST", on, other)
        assert (status, told["enabled"], told["disabled_by"]) == (200, True, None)


async def test_another_process_on_the_same_state_is_heard(tmp_path: Path) -> None:
    async with echoing() as echo, open_house(tmp_path / "home") as house:
        admin = house.key("admin")
        other = app_at(tmp_path / "home")
        try:
            async with running(other) as second:
                await put(second, "ticket", admin, ticket(echo.url))
                await until(lambda: "ticket" in house.app.registry.entries)
                assert (await call(house, "ticket", admin, id=1))[0] == 200
                await ask(second, "POST", f"{TOOLS_AT}/ticket/disable", admin)
                await until(lambda: "ticket" not in house.app.registry.entries)
                await ask(second, "DELETE", f"{TOOLS_AT}/ticket", admin)
                await until(lambda: "ticket" not in house.app.registry.all)
        finally:
            other.close()


async def test_who_may_not_register_is_refused_on_record(house: House) -> None:
    for role in ("viewer", "developer", "ci", "operator"):
        key = house.key(role)
        assert (await put(house, "ticket", key, ticket("https://a.example")))[0] == 403
        await house.app.audit.settled()
        assert house.app.audit.list(limit=1)[0].event == "refused"


async def test_a_registrar_who_may_not_approve_waits_for_one_who_may(house: House) -> None:
    registrar, admin = house.key("registrar"), house.key("admin")
    async with echoing() as echo:
        status, said, _ = await put(house, "ticket", registrar, ticket(echo.url))
        assert (status, said["state"]) == (201, "quarantined")
        assert (await call(house, "ticket", admin, id=1))[0] == 403
        _, pin, _ = await ask(house, "GET", f"{TOOLS_AT}/ticket/diff", admin)
        digest = {"digest": pin["seen"], "reason": "looked at it"}
        assert (await ask(house, "POST", f"{TOOLS_AT}/ticket/approve", admin, digest))[0] == 200
        assert (await call(house, "ticket", admin, id=1))[0] == 200
        _, said, _ = await put(house, "ticket", registrar, ticket(echo.url, summary="Other"))
        assert said["state"] == "quarantined"
        assert (await call(house, "ticket", admin, id=1))[0] == 403


async def test_a_tool_of_the_house_under_another_name(house: House) -> None:
    admin = house.key("admin")
    body = {"kind": "builtin", "definition": {"tool": "echo", "summary": "Say it"}}
    assert (await put(house, "say", admin, body))[0] == 201
    status, said = await call(house, "say", admin, text="hi")
    assert (status, said["said"]) == (200, "hi")
    for tool in ("nowhere", "say"):
        wrong = {"kind": "builtin", "definition": {"tool": tool}}
        assert (await put(house, "other", admin, wrong))[0] == 400


@pytest.mark.parametrize(
    ("name", "change", "status"),
    [
        ("a" * 46, {}, 400),
        ("call", {}, 400),
        ("a%20b", {}, 400),
        (".hidden", {}, 400),
        ("t", {"kind": "carrier pigeon"}, 400),
        ("t", {"owner": "a\nb"}, 400),
        ("t", {"definition": {}}, 400),
        ("t", {"definition": []}, 400),
        ("t", {"kind": None}, 400),
    ],
)
async def test_what_cannot_be_registered_says_why(
    house: House, name: str, change: dict[str, Any], status: int
) -> None:
    got, said, _ = await put(
        house, name, house.key("admin"), {**ticket("https://a.example"), **change}
    )
    assert (got, said["success"]) == (status, False)
    assert said["error"]
    assert house.app.others.registrations.list() == []
