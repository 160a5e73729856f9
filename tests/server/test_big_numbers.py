"""A number that SQLite has no room for is the caller's mistake, on every route."""

from __future__ import annotations

import pytest

from server.conftest import House


@pytest.mark.parametrize("path", ["/api/v2/audit", "/api/v2/calls"])
@pytest.mark.parametrize("number", [str(2**63), "1" + "0" * 50, str(-(2**63) - 1)])
async def test_a_number_without_room_is_refused(house: House, path: str, number: str) -> None:
    url = f"{house.url}{path}?before={number}"
    async with house.session.get(url, headers=house.headers("admin")) as answer:
        assert answer.status == 400
        assert (await answer.json())["success"] is False
