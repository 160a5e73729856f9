"""A server that is a program of this machine: how it is started, spoken to and ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pilotage.domain.call import Peer, Progress
from pilotage.domain.errors import PilotageError
from pilotage.tool.registry import State
from upstream.house import Parts, federated
from waiting import LONG, until

SERVER = str(Path(__file__).with_name("stdio_server.py"))


def up(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"argv": [sys.executable, SERVER, str(tmp_path / "heard")], **more}


async def text(parts: Parts, how: str, peer: Peer | None = None) -> str:
    result = await parts.call("do", peer, how=how)
    return str(result.value["content"][0]["text"])


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


async def test_one_program_serves_every_call_and_inherits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of ours")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    async with federated(tmp_path / "h", up=up(tmp_path, env={"MODE": "quiet"})) as parts:
        assert parts.state("do") is State.READY
        seen = json.loads(await text(parts, "environment"))
        assert seen["MODE"] == "quiet"
        assert not {"AWS_SECRET_ACCESS_KEY", "LD_LIBRARY_PATH", "USER"} & set(seen)
        assert seen["HOME"] != os.environ.get("HOME")
        first, second = [json.loads(await text(parts, "where")) for _ in range(2)]
        assert first["pid"] == second["pid"]
        assert first["group"] == first["pid"], "a process group of its own"
        assert first["cwd"] == seen["HOME"]


async def test_words_of_the_argv_reach_no_shell(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    evil = {"argv": [sys.executable, SERVER, f"; touch {mark}; $(touch {mark}) `touch {mark}`"]}
    async with federated(tmp_path / "h", up=evil) as parts:
        assert await text(parts, "hello") == "hello"
    assert not mark.exists()


async def test_its_whole_tree_is_killed_in_the_end(tmp_path: Path) -> None:
    async with federated(tmp_path / "h", up=up(tmp_path)) as parts:
        own = json.loads(await text(parts, "where"))["pid"]
        child = int(await text(parts, "child"))
        assert alive(own)
        assert alive(child)
    assert not alive(own)
    assert not alive(child)


async def test_a_program_that_dies_is_unavailable_and_started_again(tmp_path: Path) -> None:
    async with federated(tmp_path / "h", up=up(tmp_path)) as parts:
        first = json.loads(await text(parts, "where"))["pid"]
        with pytest.raises(PilotageError, match="out of cheese"):
            await text(parts, "die")
        now = first
        async with asyncio.timeout(LONG):
            while now == first:
                with contextlib.suppress(PilotageError):
                    now = json.loads(await text(parts, "where"))["pid"]
                await asyncio.sleep(0.02)
        await parts.until_state("do", State.READY)


async def test_a_program_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    async with federated(tmp_path / "h", up={"argv": ["/no/such/program"]}) as parts:
        assert parts.registry.all == {}
        why = parts.standing("up").why
        assert "/no/such/program" in why
        assert "No such file" in why


async def test_what_it_prints_beside_the_protocol_is_passed_over(tmp_path: Path) -> None:
    async with federated(tmp_path / "h", up=up(tmp_path)) as parts:
        assert await text(parts, "garbage") == "fine"


async def test_a_line_without_an_end_is_cut(tmp_path: Path) -> None:
    async with federated(tmp_path / "h", up=up(tmp_path, result_limit=200_000)) as parts:
        with pytest.raises(PilotageError, match="more than 200000 bytes"):
            await text(parts, "endless")


async def test_progress_and_cancelling_cross_the_pipe(tmp_path: Path) -> None:
    heard: list[Progress] = []
    async with federated(tmp_path / "h", up=up(tmp_path)) as parts:
        await parts.call("do", None, heard.append, how="progress")
        assert heard == [Progress("half", 1, 2)]
        call = asyncio.create_task(text(parts, "wait"))
        await asyncio.sleep(0)
        assert await text(parts, "after") == "after", "one that waits holds up no other"
        call.cancel()
        await until((tmp_path / "heard").exists)
        assert (tmp_path / "heard").read_text("utf-8") == "cancelled True\n"


async def test_a_question_goes_to_the_only_caller_and_to_nobody_where_there_are_two(
    tmp_path: Path,
) -> None:
    async def ask(_: str, params: Any) -> Any:
        return {"action": "accept", "content": {"said": params["message"]}}

    peer = Peer(modern=False, capabilities={"elicitation": {}}, ask=ask)
    async with federated(tmp_path / "h", up=up(tmp_path)) as parts:
        alone = json.loads(await text(parts, "ask", peer))
        assert alone["content"] == {"said": "The upstream up asks: who?"}
        other = asyncio.create_task(text(parts, "wait", peer))
        await asyncio.sleep(0)
        asked = asyncio.create_task(text(parts, "ask", peer))
        refused = json.loads(await asked)
        assert refused["code"] == -32601, "better nobody's than another client's"
        other.cancel()
