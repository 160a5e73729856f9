"""Idempotency keys of calls, over the wire: the same key runs once, whatever happens in between."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pilotage.app import local_principal
from pilotage.audit.verify import verify
from pilotage.domain.approval import Verdict
from pilotage.domain.call import Principal
from server.conftest import House
from server.fair_tools import house, make
from server.test_mcp import connected
from waiting import LONG, until

CALL = "/api/v2/tools/call/"
KEY = "io.pilotage/idempotency-key"
Answer = tuple[int, dict[str, Any], Any]


async def call(
    one: House, tool: str, body: dict[str, Any], headers: dict[str, str], key: str, **more: str
) -> Answer:
    return await ask(
        one.session, one.url + CALL + tool, body, {**headers, "Idempotency-Key": key, **more}
    )


async def ask(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str]
) -> Answer:
    async with session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers


def ran(file: Path) -> int:
    return file.read_text("utf-8").count("\n") if file.exists() else 0


async def test_the_same_key_with_the_same_arguments_gets_the_answer_again(tmp_path: Path) -> None:
    file = tmp_path / "ran"
    body = {"file": str(file), "how": ""}
    async with house(tmp_path) as one:
        ann, bob = one.headers("developer"), one.headers("developer")
        first = await call(one, "adds", body, ann, "k")
        again = await call(one, "adds", {"how": "", "file": str(file)}, ann, "k")
        assert again[1] == first[1]
        assert again[2]["Idempotent-Replayed"] == "true"
        assert "Idempotent-Replayed" not in first[2]
        assert ran(file) == 1
        status, refused, _ = await call(one, "adds", {**body, "how": "x"}, ann, "k")
        assert (status, refused["success"]) == (409, False)
        assert "other arguments" in refused["error"]
        assert (await call(one, "adds", body, bob, "k"))[1]["ran"] == 2, "a key is its owner's"
        assert (await call(one, "puts", body, ann, "k"))[1]["ran"] == 3, "and its tool's"
        assert (await call(one, "adds", body, ann, "k2"))[1]["ran"] == 4
        await one.app.audit.settled()
        kept = [e for e in one.app.audit.list() if e.body.get("kept") == "replayed"]
        assert [(e.tool, e.body["outcome"]) for e in kept] == [("adds", "succeeded")]


async def test_answers_survive_a_restart_without_known_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "canary-9f8e7d6c5b4a")
    file = tmp_path / "ran"
    async with house(tmp_path) as one:
        one.app.redactor.mask("canary-9f8e7d6c5b4a")
        key = one.key("developer")
        ann = {"Authorization": f"Bearer {key}"}
        first = await call(one, "adds", {"file": str(file)}, ann, "k")
        assert first[1]["secret"] == "[redacted]"
    assert b"canary-9f8e" not in b"".join(
        path.read_bytes() for path in tmp_path.glob("pilotage.db*")
    )
    async with house(tmp_path) as one:
        again = await call(one, "adds", {"file": str(file)}, ann, "k")
        assert again[1] == first[1]
        assert ran(file) == 1


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_key_over_mcp_and_over_rest_is_the_same_key(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "ran"
    async with house(tmp_path) as one:
        key = one.key("developer")
        ann = {"Authorization": f"Bearer {key}"}
        async with connected(one, key, mode) as client:

            async def same(name: str) -> Any:
                meta: Any = {KEY: name}
                return await client.call_tool("adds", {"file": str(file)}, meta=meta)

            first, again = await same("k"), await same("k")
            assert first.structured_content == again.structured_content
            assert again.meta["io.pilotage/replayed"] is True
            assert "io.pilotage/replayed" not in (first.meta or {})
            assert (await same("x" * 300)).is_error
        assert (await call(one, "adds", {"file": str(file)}, ann, "k"))[1]["ran"] == 1
        assert ran(file) == 1


async def test_while_one_runs_another_is_refused_or_joins_it(tmp_path: Path) -> None:
    file, end = tmp_path / "ran", tmp_path / "end"
    body = {"file": str(file), "end": str(end)}
    async with house(tmp_path) as one:
        ann = one.headers("developer")
        adding = asyncio.create_task(call(one, "adds", body, ann, "k"))
        await until(lambda: ran(file) == 1)
        status, refused, _ = await call(one, "adds", body, ann, "k")
        assert (status, "running" in refused["error"]) == (409, True)
        putting = [asyncio.create_task(call(one, "puts", body, ann, "k")) for _ in range(4)]
        await until(lambda: one.app.gateway.running == 5)
        status, refused, _ = await call(one, "puts", {**body, "how": "x"}, ann, "k")
        assert (status, "other arguments" in refused["error"]) == (409, True)
        end.touch()
        assert (await adding)[1]["ran"] == 1
        answers = await asyncio.gather(*putting)
        assert {answer["ran"] for _, answer, _ in answers} == {2}
        replayed = ["Idempotent-Replayed" in headers for *_, headers in answers]
        assert sorted(replayed) == [False, True, True, True]


async def test_who_joins_hears_the_progress_and_goes_on_where_the_first_leaves(
    tmp_path: Path,
) -> None:
    file, end = tmp_path / "ran", tmp_path / "end"
    body = {"file": str(file), "end": str(end)}
    async with house(tmp_path) as one:
        ann = one.headers("developer")
        first = asyncio.create_task(call(one, "puts", body, ann, "k"))
        await until(lambda: ran(file) == 1)
        url, stream = one.url + CALL + "puts", {"Accept": "text/event-stream"}
        headers = {**ann, "Idempotency-Key": "k", **stream}
        async with one.session.post(url, json=body, headers=headers) as second:
            await until(lambda: one.app.gateway.running == 2)
            first.cancel()
            await until(lambda: ran(file) == 2)
            end.touch()
            text = await second.text()
        assert "event: progress" in text
        assert '"ran":2' in text


async def test_a_failure_is_kept_unless_trying_again_does_no_harm(tmp_path: Path) -> None:
    adds, puts = tmp_path / "adds", tmp_path / "puts"
    async with house(tmp_path) as one:
        ann = one.headers("developer")
        for _ in range(2):
            answer = await call(one, "adds", {"file": str(adds), "how": "fails"}, ann, "k")
            assert (answer[0], answer[1]["outcome"]) == (200, "unavailable")
        assert ran(adds) == 1
        outcomes = [
            (await call(one, "puts", {"file": str(puts), "how": "fails"}, ann, "k"))[1]["outcome"]
            for _ in range(3)
        ]
        assert outcomes == ["unavailable", "succeeded", "succeeded"]
        assert ran(puts) == 2


async def test_what_was_refused_does_not_use_up_its_key(tmp_path: Path) -> None:
    file = tmp_path / "ran"
    async with house(tmp_path, "limits: {tools: {adds: {concurrency: 1}}}") as one:
        ann = one.headers("developer")
        assert (await call(one, "adds", {"file": 5}, ann, "k"))[0] == 400
        assert (await call(one, "adds", {"file": str(file)}, one.headers("viewer"), "k"))[0] == 403
        assert (await call(one, "adds", {"file": str(file)}, ann, "k"))[1]["ran"] == 1


async def test_a_call_that_a_person_approved_is_answered_again_without_a_person(
    tmp_path: Path,
) -> None:
    file = tmp_path / "ran"
    async with house(tmp_path) as one:
        ops = one.headers("operator")
        status, asked, _ = await call(one, "drops", {"file": str(file)}, ops, "k")
        assert status == 403
        boss = Principal("key:boss", frozenset({"admin"}))
        await one.app.judge(asked["approval"]["id"], boss, Verdict.APPROVED)
        first = await call(one, "drops", {"file": str(file)}, ops, "k")
        again = await call(one, "drops", {"file": str(file)}, ops, "k")
        assert first[1]["ran"] == again[1]["ran"] == 1
        assert (await call(one, "drops", {"file": str(file)}, ops, "k2"))[0] == 403


async def test_an_answer_that_is_not_kept_is_not_run_again(tmp_path: Path) -> None:
    """Kept answers have their place on disk; what leaves it is still known to have run."""
    file = tmp_path / "ran"
    async with house(tmp_path, "idempotency: {bytes: 0}") as one:
        ann = one.headers("developer")
        assert (await call(one, "adds", {"file": str(file)}, ann, "k1"))[0] == 200
        await until(lambda: not one.app.fair.attempts._flights)
        assert (await call(one, "adds", {"file": str(file)}, ann, "k2"))[0] == 200
        status, refused, _ = await call(one, "adds", {"file": str(file)}, ann, "k1")
        assert (status, "succeeded; its answer is not kept" in refused["error"]) == (409, True)
        assert ran(file) == 2


@contextmanager
def program(
    home: Path, module: str = "server.fair_tools", **env: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of the tools of fair use in a process of its own, and its address."""
    here = str(Path(__file__).parent.parent)
    given = {**os.environ, "PILOTAGE_HOME": str(home), "PYTHONPATH": here, **env}
    command = [sys.executable, "-m", module]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=given
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http"), process.stderr.read() if process.stderr else ""
            yield process, url
        finally:
            process.kill()
            process.wait()


def make_key(home: Path, *roles: str) -> dict[str, str]:
    app = make(home)
    try:
        text = app.keys.create("k" + "".join(roles), roles, by=local_principal())[1]
        return {"Authorization": f"Bearer {text}"}
    finally:
        app.close()


async def test_a_call_that_a_crash_cut_off_runs_again_only_where_that_does_no_harm(
    tmp_path: Path,
) -> None:
    ann = make_key(tmp_path, "developer")
    headers = {**ann, "Idempotency-Key": "k"}
    files = {name: tmp_path / name for name in ("adds", "puts")}
    bodies = {name: {"file": str(files[name]), "end": str(tmp_path / "end")} for name in files}
    async with aiohttp.ClientSession() as session:
        with program(tmp_path) as (process, url):
            calls = [
                asyncio.create_task(ask(session, url + CALL + name, bodies[name], headers))
                for name in files
            ]
            await until(lambda: all(ran(file) == 1 for file in files.values()))
            process.kill()
            await asyncio.gather(*calls, return_exceptions=True)
        (tmp_path / "end").touch()
        with program(tmp_path) as (_, url):
            status, refused, _ = await ask(session, url + CALL + "adds", bodies["adds"], headers)
            assert (status, refused["success"]) == (409, False)
            assert "outcome is unknown" in refused["error"]
            again = await ask(session, url + CALL + "puts", bodies["puts"], headers)
            assert (again[0], again[1]["ran"]) == (200, 2)
    assert (ran(files["adds"]), ran(files["puts"])) == (1, 2)
    app = make(tmp_path)
    try:
        row = int(refused["error"].split("audit row ")[1].split(")")[0])
        entry = next(entry for entry in app.audit.list(limit=1000) if entry.seq == row)
        assert (entry.event, entry.tool, entry.body["key"]) == ("open", "adds", "k")
        assert verify(app.database, app.checkpoints).bad_seq is None
    finally:
        app.close()


async def test_two_servers_on_one_state_run_a_key_once(tmp_path: Path) -> None:
    ann = make_key(tmp_path, "developer")
    headers, file = {**ann, "Idempotency-Key": "k"}, tmp_path / "ran"
    body = {"file": str(file), "end": str(tmp_path / "end")}
    async with aiohttp.ClientSession() as session:
        with program(tmp_path) as (_, one), program(tmp_path) as (_, two):
            first = asyncio.create_task(ask(session, one + CALL + "adds", body, headers))
            await until(lambda: ran(file) == 1)
            status, refused, _ = await ask(session, two + CALL + "adds", body, headers)
            assert (status, "running" in refused["error"]) == (409, True)
            (tmp_path / "end").touch()
            answer = await asyncio.wait_for(first, LONG)

            async def kept() -> bool:
                again = await ask(session, two + CALL + "adds", body, headers)
                return again[0] == 200 and again[1] == answer[1]

            async with asyncio.timeout(LONG):
                while not await kept():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    assert ran(file) == 1
