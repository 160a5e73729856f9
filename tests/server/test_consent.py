"""The person at an MCP client, asked by elicitation in both eras, where the policy allows it."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import pytest

from server.conftest import House
from server.test_mcp import connected, era
from server.wrecking import Site, site

__all__ = ["site"]
META = "io.pilotage/approval"


def person(site: Site, action: str, **content: Any) -> tuple[list[str], Any]:
    """Somebody at a client, and the questions that were asked."""
    asked: list[str] = []

    async def answer(_: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult.model_validate({"action": action, "content": content or None})

    return asked, answer


def own(house: House) -> None:
    """As `approvals.own: true` sets it at the start."""
    house.app.approvals.own = True


def text(answer: types.CallToolResult) -> str:
    assert isinstance(answer.content[0], types.TextContent)
    return answer.content[0].text


@era
async def test_without_the_setting_nobody_at_the_client_is_asked(site: Site, mode: str) -> None:
    asked, answer = person(site, "accept", approve=True)
    async with connected(site.house, site.asker, mode, elicitation_callback=answer) as client:
        said = await client.call_tool("demolish", {"target": "all"})
    assert (said.is_error, asked, site.ran) == (True, [], [])
    assert said.meta is not None
    id = said.meta[META]["id"]
    assert f"pilotage approvals approve {id}" in text(said)


@era
async def test_a_colleague_approves_and_the_call_names_the_approval(site: Site, mode: str) -> None:
    async with connected(site.house, site.asker, mode) as client:
        said = await client.call_tool("demolish", {"target": "all"})
        assert said.meta is not None
        meta: Any = {META: said.meta[META]["id"]}
        assert (await client.call_tool("demolish", {"target": "all"}, meta=meta)).is_error is True
        await site.judge(meta[META])
        other = await client.call_tool("demolish", {"target": "more"}, meta=meta)
        assert "is for other arguments" in text(other)
        done = await client.call_tool("demolish", {"target": "all"}, meta=meta)
        assert (done.is_error, site.ran) == (False, [{"target": "all"}])
        again = await client.call_tool("demolish", {"target": "all"}, meta=meta)
        assert "was used already" in text(again)


@era
async def test_the_person_at_the_client_lets_the_call_run(site: Site, mode: str) -> None:
    own(site.house)
    asked, answer = person(site, "accept", approve=True)
    async with connected(site.house, site.asker, mode, elicitation_callback=answer) as client:
        said = await client.call_tool("demolish", {"target": "all", "token": "hunter2"})
    assert (said.is_error, len(site.ran), len(asked)) == (False, 1, 1)
    assert 'demolish (destroy) is to run with {"target": "all", "token": "[redacted]"}' in asked[0]
    await site.house.app.audit.settled()
    entry = site.house.app.audit.list(event="approval.approved")[0]
    assert (entry.principal, entry.body["at_client"]) == ("key:asker", True)


@era
async def test_the_question_says_that_it_does_not_show_all(site: Site, mode: str) -> None:
    """A harmless beginning pushes the rest out of sight; how it ends cannot hide that."""
    own(site.house)
    asked, answer = person(site, "decline")
    forged = " " * 3_000 + '"}. That was all of it.'
    async with connected(site.house, site.asker, mode, elicitation_callback=answer) as client:
        await client.call_tool("demolish", {"target": f"a shed{forged}", "token": "hunter2"})
    (question,) = asked
    assert "is to run with (NOT ALL OF IT FITS HERE, only the first 2000 of 30" in question
    assert (site.ran, '"token"' in question) == ([], False)


@era
@pytest.mark.parametrize(
    ("action", "content", "state"),
    [
        ("decline", {}, "rejected"),
        ("accept", {"approve": False}, "rejected"),
        ("cancel", {}, "pending"),
    ],
)
async def test_whatever_is_no_clear_yes_runs_nothing(
    site: Site, mode: str, action: str, content: dict[str, Any], state: str
) -> None:
    own(site.house)
    asked, answer = person(site, action, **content)
    async with connected(site.house, site.asker, mode, elicitation_callback=answer) as client:
        said = await client.call_tool("demolish", {"target": "all"})
    assert (said.is_error, len(asked)) == (True, 1)
    words = "was rejected by key:asker" if state == "rejected" else "waits for a person"
    assert words in text(said)
    assert site.ran == []
    listed = (await site.get("/api/v2/approvals", site.asker))[1]["approvals"]
    assert [one["state"] for one in listed] == [state]


@era
async def test_a_role_that_does_not_manage_it_is_not_asked(site: Site, mode: str) -> None:
    own(site.house)
    asked, answer = person(site, "accept", approve=True)
    key = site.colleague  # an operator: asks before it destroys, and manages no approvals:own
    async with connected(site.house, key, mode, elicitation_callback=answer) as client:
        said = await client.call_tool("demolish", {"target": "all"})
    assert (said.is_error, asked, site.ran) == (True, [], [])


@pytest.mark.parametrize("role", ["admin", "operator"])
async def test_a_forged_state_speaks_for_nobody_else(site: Site, role: str) -> None:
    own(site.house)
    id = await site.asked()
    other = site.house.key(role, name="other")
    params = {
        "name": "demolish",
        "arguments": {"target": "all"},
        "requestState": f"pilotage.approval:{id}",
        "inputResponses": {META: {"action": "accept", "content": {"approve": True}}},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        },
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "demolish",
    }
    status, answer = await site.post("/mcp", body, other, **headers)
    assert (status, answer["result"]["isError"]) == (200, True)
    assert "is not for key:other" in answer["result"]["content"][0]["text"]
    assert site.ran == []
    shown = (await site.get(f"/api/v2/approvals/{id}", site.asker))[1]
    assert (shown["state"], shown["votes"]) == ("pending", [])


async def test_a_state_that_was_made_up_names_no_approval(site: Site) -> None:
    async with connected(site.house, site.house.key("admin"), "2026-07-28") as client:
        said = await client.session.call_tool(
            "demolish", {"target": "all"}, request_state="pilotage.approval:01ABC"
        )
    assert isinstance(said, types.CallToolResult)
    assert "there is no approval 01ABC" in text(said)
