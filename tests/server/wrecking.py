"""A house with a tool that destroys, which each test can see run, and people who may approve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from pilotage.domain.call import Effect
from pilotage.tool.tool import Call, tool
from server.conftest import House

CALL = "/api/v2/tools/call/"
APPROVALS = "/api/v2/approvals"


@dataclass
class Site:
    """`ran` holds the arguments of each call that ran. Asker and colleague are administrators."""

    house: House
    ran: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.asker = self.house.key("admin", name="asker")
        self.colleague = self.house.key("operator", name="colleague")

    async def call(
        self, target: str = "all", *, key: str = "", approval: str = "", **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """POST the call of `demolish`."""
        if approval:
            headers["Pilotage-Approval"] = approval
        return await self.post(CALL + "demolish", {"target": target}, key or self.asker, **headers)

    async def asked(self, target: str = "all") -> str:
        """The id of a new approval."""
        status, answer = await self.call(target)
        assert status == 403, answer
        found: str = answer["approval"]["id"]
        return found

    async def judge(
        self, id: str, verb: str = "approve", *, key: str = "", **body: str
    ) -> tuple[int, dict[str, Any]]:
        """What the colleague, or whose key it is, says."""
        return await self.post(f"{APPROVALS}/{id}/{verb}", body, key or self.colleague)

    async def approved(self, target: str = "all") -> str:
        id = await self.asked(target)
        status, answer = await self.judge(id)
        assert (status, answer["state"]) == (200, "approved")
        return id

    async def post(
        self, path: str, body: Any, key: str, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        given = {"Authorization": f"Bearer {key}", **headers}
        session, url = self.house.session, self.house.url
        async with session.post(url + path, json=body, headers=given) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str, key: str, **query: Any) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {key}"}
        session, url = self.house.session, self.house.url
        async with session.get(url + path, params=query, headers=headers) as answer:
            return answer.status, await answer.json()

    async def events(self, about: str) -> list[str]:
        """What the audit says of an approval, in order."""
        await self.house.app.audit.settled()
        found = self.house.app.audit.list(limit=1000)
        return [entry.event for entry in reversed(found) if entry.call == about]


@pytest.fixture
async def site(house: House) -> Site:
    return site_of(house)


def site_of(house: House) -> Site:
    made = Site(house)

    @tool(Effect.DESTROY)
    async def demolish(target: str, token: str = "", *, here: Call) -> dict[str, Any]:
        """Destroys something, as far as this test knows."""
        made.ran.append(dict(here.call.arguments))
        return {"gone": target}

    house.app.registry.add(demolish.bind(house.app.services))
    return made
