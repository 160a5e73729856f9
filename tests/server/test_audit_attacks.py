"""The audit of a running server, changed behind its back: its own API says what was done."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from pilotage.audit.log import GENESIS, chain
from server.conftest import House

CALL = "/api/v2/tools/call/"


async def verified(house: House, key: str) -> dict[str, Any]:
    """What the API says; asking leaves no row."""
    headers = {"Authorization": f"Bearer {key}"}
    async with house.session.get(house.url + "/api/v2/audit/verify", headers=headers) as answer:
        assert answer.status == 200
        said: dict[str, Any] = await answer.json()
        return said


async def filled(house: House) -> str:
    """Twelve calls and what was refused, all of it signed; a key that may read the audit."""
    key = house.key("admin")
    headers = {"Authorization": f"Bearer {key}"}
    for number in range(12):
        path, given = house.url + CALL + "note", {"text": str(number)}
        async with house.session.post(path, json=given, headers=headers) as answer:
            assert (await answer.json())["success"] is True
    async with house.session.post(house.url + CALL + "note", json={"text": "x"}) as answer:
        assert answer.status == 401
    await house.app.audit.settled()
    house.app.audit.seal()
    said = await verified(house, key)
    assert said["bad_seq"] is None
    assert said["protected_to"] == said["rows"] - 1 >= 13
    return key


def change(house: House, *statements: str) -> None:
    """As somebody who can write to the file."""
    path = house.app.settings.home / "pilotage.db"
    with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def rewrite(house: House, first: int) -> None:
    """Every hash from there on made again, as somebody would who knows the scheme."""
    path = house.app.settings.home / "pilotage.db"
    with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
        rows = connection.execute("SELECT * FROM audit ORDER BY seq").fetchall()
        before = rows[first - 1][7] if first else GENESIS
        for row in rows[first:]:
            before = chain(before, row[:7])
            connection.execute("UPDATE audit SET hash=? WHERE seq=?", (before, row[0]))


@pytest.mark.parametrize(
    ("statements", "bad", "why"),
    [
        (["UPDATE audit SET body='{}' WHERE seq=5"], 5, "edited"),
        (["UPDATE audit SET principal='key:other' WHERE seq=7"], 7, "edited"),
        (["DELETE FROM audit WHERE seq=4"], 4, "deleted"),
        (["DELETE FROM audit WHERE seq>=8"], 8, "cut off"),
        (["DELETE FROM audit"], 0, "cut off"),
        (
            [
                "UPDATE audit SET seq=1000 WHERE seq=3",
                "UPDATE audit SET seq=3 WHERE seq=9",
                "UPDATE audit SET seq=9 WHERE seq=1000",
            ],
            3,
            "reordered",
        ),
    ],
)
async def test_the_api_names_the_row_that_was_touched(
    house: House, statements: list[str], bad: int, why: str
) -> None:
    key = await filled(house)
    change(house, *statements)
    said = await verified(house, key)
    assert said["bad_seq"] == bad
    assert why in said["why"]


@pytest.mark.parametrize("first", [0, 5])
async def test_a_chain_that_was_made_anew_is_not_what_was_signed(house: House, first: int) -> None:
    key = await filled(house)
    change(house, f"UPDATE audit SET tool='innocent' WHERE seq={first + 1}")
    rewrite(house, first)
    said = await verified(house, key)
    assert said["bad_seq"] == said["protected_to"]
    assert "rewritten" in said["why"]


async def test_what_was_touched_stays_said_while_the_server_goes_on(house: House) -> None:
    """It is not signed over: calls go on, and the break stays where it is."""
    key = await filled(house)
    change(house, "DELETE FROM audit WHERE seq>=8")
    headers = {"Authorization": f"Bearer {key}"}
    for _ in range(20):
        path = house.url + CALL + "echo"
        async with house.session.post(path, json={"text": "x"}, headers=headers) as answer:
            assert answer.status in (200, 503)
    await house.app.audit.settled()
    said = await verified(house, key)
    assert said["bad_seq"] is not None
    house.app.audit.seal()
    assert (await verified(house, key))["bad_seq"] is not None


async def test_the_audit_is_read_by_who_may_and_written_by_nobody(house: House) -> None:
    viewer = house.headers("developer")
    async with house.session.get(house.url + "/api/v2/audit", headers=viewer) as answer:
        assert answer.status == 403
    headers = house.headers("admin")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/api/v2/audit", "/api/v2/audit/1", "/api/v2/audit/verify", "/api/v2/calls"):
            async with house.session.request(
                method, house.url + path, json={}, headers=headers
            ) as answer:
                assert answer.status in (404, 405), (method, path)
