"""What is left of a registration on disk, and what is left of one that is gone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pilotage import config
from pilotage.app import App
from pilotage.tool.roots import roots
from server.conftest import House, running
from server.test_registration import TOOLS_AT, ask, call, house, open_house, put, ticket
from server.tools import TOOLS
from upstream.echo import echoing

__all__ = ["house"]


async def test_the_change_and_its_audit_row_are_on_disk_together(house: House) -> None:
    """A change whose audit row cannot be written is not made."""
    admin = house.key("admin")

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the audit is full")

    house.app.others.registrations._record = broken
    assert (await put(house, "ticket", admin, ticket("https://a.example")))[0] == 500
    assert (await ask(house, "GET", f"{TOOLS_AT}/ticket", admin))[0] == 404
    assert house.app.database.read("SELECT * FROM registration") == []


async def test_a_name_that_was_given_up_is_free_for_another_owner(house: House) -> None:
    """Of the server before, nothing is left that the new one would be compared with."""
    admin = house.key("admin")
    for owner in ("cluster/a/1", "cluster/b/1"):
        body = {**ticket("https://a.example"), "owner": owner}
        status, said, _ = await put(house, "ticket", admin, body)
        assert (status, said["state"], said["why"]) == (201, "ready", "")
        assert (await ask(house, "DELETE", f"{TOOLS_AT}/ticket?owner={owner}", admin))[0] == 204


async def test_what_is_registered_survives_a_restart_with_its_id(tmp_path: Path) -> None:
    async with echoing() as echo:
        async with open_house(tmp_path / "home") as house:
            admin = house.key("admin")
            _, first, etag = await put(house, "ticket", admin, ticket(echo.url))
            await put(house, "off", admin, ticket(echo.url))
            await ask(house, "POST", f"{TOOLS_AT}/off/disable", admin)
            await put(house, "gone", admin, ticket(echo.url))
            await ask(house, "DELETE", f"{TOOLS_AT}/gone", admin)
        async with open_house(tmp_path / "home") as house:
            assert (await call(house, "ticket", admin, id=1))[0] == 200
            assert (await ask(house, "GET", f"{TOOLS_AT}/ticket", admin)) == (200, first, etag)
            assert (await call(house, "off", admin, id=1))[0] == 403
            assert (await call(house, "gone", admin, id=1))[0] == 404


async def test_a_house_that_grows_into_a_name_starts_and_says_so(tmp_path: Path) -> None:
    """A new version may have a tool of its own under a name that somebody has registered."""
    home = tmp_path / "home"
    async with open_house(home) as house:
        admin = house.key("admin")
        body = {**ticket("https://a.example"), "owner": "team"}
        assert (await put(house, "later", admin, body))[0] == 201
    environment = {"PILOTAGE_HOME": str(home), "HOME": str(home)}
    later = replace(TOOLS[0], name="later")
    app = App(config.read(environment=environment), roots(home), (*TOOLS, later))
    try:
        async with running(app) as house:
            status, said = await call(house, "later", admin, text="hi")
            assert (status, said["said"]) == (200, "hi")
            _, said, _ = await ask(house, "GET", f"{TOOLS_AT}?owner=team", admin)
            (view,) = said["tools"]
            assert (view["state"], view["kind"]) == ("unavailable", "http")
            assert "'later' is another's" in view["why"]
            assert (await ask(house, "DELETE", f"{TOOLS_AT}/later", admin))[0] == 204
            assert (await call(house, "later", admin, text="hi"))[0] == 200
    finally:
        app.close()
