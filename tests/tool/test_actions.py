"""A tool that does several things: each call is decided as what it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Answer, Effect, Outcome, Principal
from pilotage.domain.errors import Denied, NeedsApproval, NotFound
from pilotage.tool.roots import roots
from pilotage.tool.surface import surface
from pilotage.tool.tool import Actions, tool
from pilotage.upstream.wanted import Wanted

READER = Principal("key:view", frozenset({"reader"}))
WORKER = Principal("key:dev", frozenset({"worker"}))
ROLES = """
reader: {effects: [read]}
worker: {effects: [read, write], ask: [destroy]}
"""
BOX = Actions("action", {"look": Effect.READ, "fill": Effect.WRITE})


@tool(Effect.DESTROY, actions=BOX)
async def box(action: str, content: str = "") -> dict[str, Any]:
    """Looks into a box, fills it or burns it."""
    return {"did": action}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    (tmp_path / "roles.yaml").write_text(ROLES)
    settings = config.read(environment={"PILOTAGE_HOME": str(tmp_path), "HOME": str(tmp_path)})
    made = App(settings, roots(tmp_path), (box,))
    yield made
    made.close()


async def test_who_may_read_may_look_and_no_more(app: App) -> None:
    looked = await app.call("box", {"action": "look"}, READER, "rest")
    assert looked.outcome is Outcome.SUCCEEDED
    with pytest.raises(Denied):
        await app.call("box", {"action": "fill"}, READER, "rest")
    assert (await app.call("box", {"action": "fill"}, WORKER, "rest")).value == {"did": "fill"}


@pytest.mark.parametrize("action", ["burn", "Look", "look "])
async def test_what_is_not_known_is_the_worst(app: App, action: str) -> None:
    with pytest.raises(NeedsApproval) as waits:
        await app.call("box", {"action": action}, WORKER, "rest")
    assert app.approvals.show(waits.value.approval["id"], WORKER).effect == "destroy"


def test_who_may_look_may_see_it_and_its_effects_are_pinned(app: App) -> None:
    made = app.registry.find("box").tool
    assert made.mildest is Effect.READ
    assert app.policy.decide(READER, "box", made.mildest).answer is Answer.ALLOW
    assert surface(made)["effects"] == {"look": "read", "fill": "write"}


@tool(Effect.READ, offered=False)
async def drawer() -> dict[str, Any]:
    """Is there for who registers it."""
    return {"did": "open"}


async def test_a_tool_that_is_not_offered_is_called_once_it_is_registered(tmp_path: Path) -> None:
    settings = config.read(environment={"PILOTAGE_HOME": str(tmp_path), "HOME": str(tmp_path)})
    app = App(settings, roots(tmp_path), (drawer,))
    admin = Principal("key:admin", frozenset({"admin"}))
    try:
        with pytest.raises(NotFound):
            await app.call("drawer", {}, admin, "rest")
        for _ in range(2):  # the second finds it under its own name, and changes nothing
            await app.others.registrations.put(
                "drawer", Wanted("builtin", {"tool": "drawer"}), admin
            )
        assert (await app.call("drawer", {}, admin, "rest")).value == {"did": "open"}
        await app.others.registrations.remove("drawer", admin)
        with pytest.raises(NotFound):
            await app.call("drawer", {}, admin, "rest")
    finally:
        await app.others.close()
        app.close()
