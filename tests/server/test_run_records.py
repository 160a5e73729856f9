"""The log of a run in pages, and its files: those that it wrote, and no other."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pilotage.app import local_principal
from pilotage.domain.call import Outcome, Report, ToolCall, ToolResult
from pilotage.tool.tool import Tool
from server.conftest import House
from server.run_tools import run_house
from server.test_runs import RUNS, ask, at_rest, started


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with run_house(tmp_path) as house:
        yield house


def gives(name: str, *files: tuple[str, Path | str], tool: str = "gives") -> dict[str, Any]:
    """A step that says it has written these files."""
    listed = [{"name": name, "file_path": str(path)} for name, path in files]
    answer = {"artifacts": listed, "variables": {"A": 1}}
    return {"name": name, "tool": tool, "params": {"answer": answer}}


async def test_the_log_comes_in_pages_and_each_line_once(house: House) -> None:
    key = house.headers("ci")
    steps = [
        {"name": "a", "tool": "say", "params": {"lines": 3}},
        {"name": "b", "tool": "say", "params": {"lines": 2}},
    ]
    run = await started(house, key, {"name": "p", "steps": steps})
    await at_rest(house, run)
    _, whole = await ask(house, "GET", f"/{run}/logs", key)
    paged, after = [], -1
    while after is not None:
        _, page = await ask(house, "GET", f"/{run}/logs?limit=2&after={after}", key)
        paged += page["lines"]
        after = page["next"]
    assert paged == whole["lines"]
    assert [line["line"] for line in paged if line["step"] == "a"][1:4] == [
        "a: said 0", "a: said 1", "a: said 2",
    ]  # fmt: skip
    _, one = await ask(house, "GET", f"/{run}/logs?step=b", key)
    assert one["lines"] == [line for line in whole["lines"] if line["step"] == "b"]
    assert "after 0." in one["lines"][-1]["line"], "a page knows when its attempt began"
    _, last = await ask(house, "GET", f"/{run}/logs?tail=true&limit=2", key)
    assert last["lines"] == whole["lines"][-len(last["lines"]) :]
    assert last["lines"][-1]["line"] == "run succeeded"
    assert (await ask(house, "GET", f"/{run}/logs?limit=0", key))[0] == 400


async def test_the_files_of_a_run_are_listed_and_handed_out(house: House, tmp_path: Path) -> None:
    key, root = house.headers("ci"), tmp_path / "root"
    page = root / "report 1.html"
    page.write_text("<script>alert(1)</script>")
    os.utime(page, (1, 1))
    files = (("report 1.html", page), ("gone.txt", root / "gone.txt"))
    run = await started(house, key, {"name": "p", "steps": [gives("a", *files)]})
    await at_rest(house, run)
    _, listed = await ask(house, "GET", f"/{run}/artifacts", key)
    first, second = listed["artifacts"]
    assert (first["name"], first["size"], first["changed"]) == ("report 1.html", 25, False)
    assert second["size"] is None
    assert "not there any more" in second["why"]
    async with house.session.get(house.url + first["href"], headers=key) as answer:
        assert answer.status == 200
        assert await answer.read() == page.read_bytes()
        assert answer.content_type == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (await ask(house, "GET", f"/{run}/artifacts/a/gone.txt", key))[0] == 404
    page.write_text("another run's")
    _, listed = await ask(house, "GET", f"/{run}/artifacts", key)
    assert listed["artifacts"][0]["changed"] is True


async def test_no_file_but_those_of_the_run_and_none_outside_of_the_roots(
    house: House, tmp_path: Path
) -> None:
    key, root = house.headers("ci"), tmp_path / "root"
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    (root / "mine.txt").write_text("mine")
    (root / "other.txt").write_text("not of this run")
    (root / "link").symlink_to(secret)
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    files = (
        ("mine.txt", root / "mine.txt"), ("link", root / "link"), ("out", secret),
        ("up", root / ".." / "secret"), ("folder", root / "folder"), ("pipe", root / "pipe"),
    )  # fmt: skip
    run = await started(house, key, {"name": "p", "steps": [gives("a", *files)]})
    await at_rest(house, run)
    for name in ("link", "out", "up", "folder", "pipe"):
        status, body = await ask(house, "GET", f"/{run}/artifacts/a/{name}", key)
        assert status in (403, 404), name
        assert "s3cret" not in str(body)
    for name in ("other.txt", "../root/other.txt", quote("../../secret", safe=""), "%2fetc/passwd"):
        path = f"{RUNS}/{run}/artifacts/a/{name}"
        async with house.session.get(house.url + path, headers=key) as answer:
            assert answer.status == 404, name
    assert (await ask(house, "GET", f"/{run}/artifacts", key))[1]["artifacts"][0]["size"] == 4


async def test_what_a_tool_of_others_says_of_our_files_is_not_believed(
    house: House, tmp_path: Path
) -> None:
    mine = tmp_path / "root" / "mine.txt"
    mine.write_text("not theirs to give")

    async def run_it(call: ToolCall, _: Report) -> ToolResult:
        return ToolResult(Outcome.SUCCEEDED, dict(call.arguments["answer"]))

    ours = house.app.registry.find("gives").tool
    theirs = Tool("theirs", "", "", ours.effect, ours.input_schema, None, run_it, owner="somebody")
    pins = house.app.others.pins
    await house.app.database.write(
        pins.registration("somebody", "s", local_principal(), approves=True)
    )
    await pins.judge("somebody", "s", [theirs])
    house.app.registry.put(theirs)
    key = house.headers("ci")
    steps = [gives("a", ("mine.txt", mine), tool="theirs")]
    run = await started(house, key, {"name": "p", "steps": steps})
    await at_rest(house, run)
    assert (await ask(house, "GET", f"/{run}/artifacts/a/mine.txt", key))[0] == 403
