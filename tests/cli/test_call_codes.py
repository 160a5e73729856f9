"""`pilotage call`: what its exit code means, and what it says of an answer of before."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from pilotage.cli.main import main
from server.fair_tools import house
from server.test_attempts import ran

BUSY = """
limits:
  tools:
    hi: {rate: 1/hour}
"""


async def call(*words: str) -> int:
    return await asyncio.to_thread(main, ["call", *words])


async def test_who_is_over_a_limit_is_told_to_try_again_and_not_that_they_said_it_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house(tmp_path / "home", settings=BUSY) as one:
        monkeypatch.setenv("MCP_SERVER_URL", one.url)
        monkeypatch.setenv("MCP_API_KEY", one.key("developer"))
        assert await call("hi") == 0
        assert await call("hi") == 3
        assert "over its rate" in capsys.readouterr().err
        assert await call("nothing") == 2
        await one.app.audit.settled()
    monkeypatch.setenv("MCP_SERVER_URL", "http://127.0.0.1:1")
    assert await call("hi") == 3


async def test_an_answer_that_is_given_again_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ran"
    async with house(tmp_path / "home") as one:
        monkeypatch.setenv("MCP_SERVER_URL", one.url)
        monkeypatch.setenv("MCP_API_KEY", one.key("developer"))
        words = ("adds", "--arg", f"file={file}", "--idempotency-key", "k")
        assert await call(*words) == 0
        first = capsys.readouterr()
        assert "nothing ran again" not in first.err
        assert await call(*words) == 0
        again = capsys.readouterr()
        assert "kept under this idempotency key: nothing ran again" in again.err
        assert json.loads(again.out) == json.loads(first.out)
        assert await call("looks", "--arg", f"file={file}") == 0
        capsys.readouterr()
        assert await call("looks", "--arg", f"file={file}") == 0
        assert "from the cache: nothing ran" in capsys.readouterr().err
    assert ran(file) == 2


@pytest.mark.parametrize("verb", ["keys", "audit"])
def test_a_verb_that_works_on_the_state_folder_says_so_where_a_server_is_named(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path))
    monkeypatch.setenv("MCP_SERVER_URL", "https://gw.example")
    assert main([verb, "list"]) == 0
    said = capsys.readouterr().err
    assert f"note: the {verb} of {tmp_path}, and not of https://gw.example" in said
    monkeypatch.setenv("MCP_SERVER_URL", "")
    assert main([verb, "list"]) == 0
    assert capsys.readouterr().err == ""
