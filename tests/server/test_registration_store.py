"""What is left of a registration on disk, and what is left of one that is gone."""

from __future__ import annotations

from typing import Any

from server.conftest import House
from server.test_registration import TOOLS_AT, ask, house, put, ticket

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
