"""What a tool's function gets of a call's JSON, and what a caller gets of its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Effect, Outcome, Principal, ToolResult
from pilotage.tool.answer import answer
from pilotage.tool.roots import roots
from pilotage.tool.tool import tool

BY = Principal("key:dev", frozenset({"developer"}))
seen: list[Any] = []


@dataclass(frozen=True, slots=True)
class Found:
    """An answer with something in it that JSON does not know."""

    where: tuple[Path, ...]
    many: int


@tool(Effect.READ)
async def look(paths: tuple[Path, ...], kind: Effect = Effect.WRITE) -> Found:
    """Takes paths."""
    seen.append((paths, kind))
    return Found(paths, len(paths))


@tool(Effect.READ)
async def count(pair: tuple[int, int], kind: Effect = Effect.WRITE) -> int:
    """Takes only what msgspec knows by itself."""
    seen.append((pair, kind))
    return sum(pair)


@tool(Effect.READ)
async def untyped(name: str) -> dict[str, Any]:
    """Answers with a path where nothing announced one."""
    return {"deep": [{"path": Path(name)}]}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    seen.clear()
    settings = config.read(environment={"PILOTAGE_HOME": str(tmp_path), "HOME": str(tmp_path)})
    made = App(settings, roots(tmp_path), (look, count, untyped))
    yield made
    made.close()


async def test_a_path_in_a_list_is_resolved_inside_the_roots_and_answered_as_text(
    app: App, tmp_path: Path
) -> None:
    result = await app.call("look", {"paths": ["a"]}, BY, "cli")
    assert seen == [((tmp_path / "a",), Effect.WRITE)]
    assert result.value == {"where": (str(tmp_path / "a"),), "many": 1}
    outside = await app.call("look", {"paths": ["a", "/etc"]}, BY, "cli")
    assert (outside.outcome, len(seen)) == (Outcome.DENIED, 1)


async def test_arguments_come_in_the_types_that_the_function_names(app: App) -> None:
    result = await app.call("count", {"pair": [1, 2], "kind": "read"}, BY, "cli")
    assert seen == [((1, 2), Effect.READ)]
    assert type(seen[0][1]) is Effect
    assert result.value == {"result": 3}


async def test_a_path_that_nobody_announced_is_answered_as_text(app: App) -> None:
    result = await app.call("untyped", {"name": "x"}, BY, "cli")
    assert result.value == {"deep": [{"path": "x"}]}


@pytest.mark.parametrize("claims", [{"success": True}, {"outcome": "succeeded"}, {}])
def test_a_tool_does_not_say_how_it_ended(claims: dict[str, Any]) -> None:
    said = answer(ToolResult(Outcome.FAILED, {**claims, "more": 1}, error="no"))
    assert said == {"success": False, "outcome": "failed", "more": 1, "error": "no"}


def test_results_do_not_share_what_they_were_not_given() -> None:
    assert ToolResult(Outcome.SUCCEEDED).value is not ToolResult(Outcome.SUCCEEDED).value
