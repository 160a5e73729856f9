"""A key is revoked while its call waits for a person: what is approved then does not run."""

from __future__ import annotations

import asyncio
from typing import Any

import mcp_types as types

from pilotage.app import local_principal
from server.test_consent import own
from server.test_mcp import connected
from server.wrecking import Site, site
from waiting import until

__all__ = ["site"]


async def test_over_rest_an_approval_that_comes_after_the_key_is_gone_runs_nothing(
    site: Site,
) -> None:
    waiting = asyncio.create_task(site.call(Prefer="wait=60"))
    app = site.house.app
    await until(lambda: app.approvals.waiting() == 1)
    (one,) = app.approvals.newest(local_principal())
    app.keys.revoke("asker", by=local_principal())
    assert (await site.judge(one.id))[0] == 200
    status, answer = await waiting
    assert (status, site.ran) == (403, [])
    assert answer["error"] == "the API key asker is not valid any more"
    assert (await site.events(one.id))[-1] == "approval.refused"


async def test_over_mcp_who_says_yes_at_a_client_whose_key_is_gone_runs_nothing(
    site: Site,
) -> None:
    """In the handshake eras the question is put in mid-call, so that no key is shown again."""
    own(site.house)

    async def answer(_: Any, __: types.ElicitRequestParams) -> types.ElicitResult:
        site.house.app.keys.revoke("asker", by=local_principal())
        return types.ElicitResult.model_validate({"action": "accept", "content": {"approve": True}})

    async with connected(site.house, site.asker, "legacy", elicitation_callback=answer) as client:
        said = await client.call_tool("demolish", {"target": "all"})
        assert (said.is_error, site.ran) == (True, [])
        assert isinstance(said.content[0], types.TextContent)
        assert "is not valid any more" in said.content[0].text
    assert site.house.app.audit.list(event="approval.approved") == []
