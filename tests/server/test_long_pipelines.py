"""A pipeline that takes long to lint holds up nobody else, whatever door it comes by."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from pilotage.pipeline import lint
from server.run_tools import run_house
from server.test_registration import TOOLS_AT, ask, call
from waiting import LONG, until

STEPS = [{"name": "a", "tool": "say"}]


@pytest.mark.parametrize(
    ("at", "body"),
    [
        ("/api/v2/runs", {"pipeline": {"name": "p", "steps": STEPS}}),
        (f"{TOOLS_AT}/call/run_start", {"pipeline": {"name": "p", "steps": STEPS}}),
        (f"{TOOLS_AT}/call/pipeline_orchestrator", {"name": "p", "steps": STEPS}),
    ],
)
async def test_while_a_pipeline_is_linted_others_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, body: dict[str, Any]
) -> None:
    answered, linting, real = threading.Event(), threading.Event(), lint.lint

    def patiently(*given: Any) -> Any:
        linting.set()
        assert answered.wait(LONG), "the event loop stands still"
        return real(*given)

    monkeypatch.setattr(lint, "lint", patiently)
    async with run_house(tmp_path) as house:
        key = house.key("developer")
        starting = asyncio.create_task(ask(house, "POST", at, key, body))
        await until(linting.is_set)
        assert (await call(house, "say", key))[0] == 200
        answered.set()
        status, said, _ = await starting
        assert status in (200, 201), said
