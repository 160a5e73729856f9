"""The policy's files under a running server: a change counts, and a broken file changes nothing."""

from __future__ import annotations

import asyncio

from server.conftest import House
from server.test_mcp import connected
from server.wrecking import CALL
from waiting import LONG, until

FORBID = """@id("no-notes") @why("notes are closed")
forbid (principal, action, resource == Tool::"note");
"""


async def status(house: House, key: str, tool: str = "note") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {key}"}
    url = house.url + CALL + tool
    async with house.session.post(url, json={"text": "x"}, headers=headers) as answer:
        return answer.status, (await answer.json()).get("error", "")


async def test_a_rule_that_is_written_counts_and_clients_hear_of_it(house: House) -> None:
    key, file = house.key("developer"), house.app.settings.home / "policy.cedar"
    before = house.app.policy.version
    assert (await status(house, key))[0] == 200
    async with connected(house, key, "auto") as client:
        assert "note" in {tool.name for tool in (await client.list_tools()).tools}
        async with client.listen(tools_list_changed=True) as changes:
            file.write_text(FORBID, "utf-8")
            async with asyncio.timeout(LONG):
                async for _ in changes:
                    break
        assert "note" not in {tool.name for tool in (await client.list_tools()).tools}
    assert await status(house, key) == (403, "notes are closed")
    file.write_text(FORBID + "forbid (", "utf-8")
    await until(lambda: bool(house.app.audit.list(event="policy.broken")))
    broken = house.app.audit.list(event="policy.broken")[0]
    assert "policy.cedar, line 3: " in broken.body["error"]
    assert await status(house, key) == (403, "notes are closed")
    file.unlink()
    await until(lambda: house.app.policy.version == before)
    assert (await status(house, key))[0] == 200
    changed = house.app.audit.list(event="policy.changed")
    assert [entry.principal for entry in changed] == ["pilotage"] * 2


async def test_a_new_name_for_a_tool_leads_past_no_rule(house: House) -> None:
    key, file = house.key("developer"), house.app.settings.home / "policy.cedar"
    registrar = {"Authorization": f"Bearer {house.key('admin')}"}
    body = {"kind": "builtin", "definition": {"tool": "note"}}
    url = f"{house.url}/api/v2/tools/jotting"
    async with house.session.put(url, json=body, headers=registrar) as answer:
        assert answer.status == 201, await answer.text()
    assert (await status(house, key, "jotting"))[0] == 200
    file.write_text(FORBID, "utf-8")
    await until(lambda: bool(house.app.audit.list(event="policy.changed")))
    assert await status(house, key, "jotting") == (403, "notes are closed")
    async with connected(house, key, "auto") as client:
        assert "jotting" not in {tool.name for tool in (await client.list_tools()).tools}
