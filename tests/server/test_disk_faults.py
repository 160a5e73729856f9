"""A full disk, a database that somebody holds, a clock that jumps: no answer but a good one, or
503 or 429 in JSON, and the record is whole afterwards."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from server.fair_tools import make
from server.test_attempts import CALL, ask, make_key, program, ran
from server.test_drain import audited
from waiting import LONG

HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
held.execute("ROLLBACK")
"""


@contextmanager
def held(database: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process has the database to write, until its standard input ends."""
    command = [sys.executable, "-c", HOLD, str(database)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


class Caller:
    """Calls, and counts the answers; what is neither good nor says when to come back is a fault."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: dict[str, str]) -> None:
        self._session, self._url, self._key = session, url, key
        self.seen: Counter[tuple[str, int]] = Counter()

    async def call(self, tool: str, body: dict[str, Any], **headers: str) -> int:
        url, more = self._url + CALL + tool, {**self._key, **headers}
        status, answer, head = await ask(self._session, url, body, more)
        self.seen[tool, status] += 1
        if status != 200:
            assert status in (429, 503), answer
            assert answer["success"] is False
            assert answer["error"]
            assert int(head["Retry-After"]) >= 1
        return status

    async def every_route(self) -> None:
        """Nothing else breaks either."""
        for path in ("/healthz", "/readyz", "/metrics", "/api/v2/tools", "/api/v2/calls"):
            async with self._session.get(self._url + path, headers=self._key) as answer:
                assert answer.status in (200, 429, 503), (path, await answer.text())
        url = self._url + "/api/v2/runs"
        steps = {"name": "p", "steps": [{"name": "a", "tool": "hi"}]}
        status, answer, _ = await ask(self._session, url, {"pipeline": steps}, self._key)
        assert status in (201, 429, 503), answer


async def test_while_another_process_writes_reads_go_on_and_writes_wait(tmp_path: Path) -> None:
    key, file = make_key(tmp_path, "developer"), tmp_path / "ran"
    with program(tmp_path) as (_, url):
        async with aiohttp.ClientSession() as session:
            caller = Caller(session, url, key)
            with held(tmp_path / "pilotage.db") as holder:
                writes = [
                    asyncio.create_task(caller.call("adds", {"file": str(file)})) for _ in range(8)
                ]
                kept = asyncio.create_task(
                    caller.call("adds", {"file": str(file)}, **{"Idempotency-Key": "k"})
                )
                for _ in range(200):
                    assert await caller.call("hi", {}) == 200
                assert not any(task.done() for task in (*writes, kept))
                assert ran(file) == 0, "what may change something waits until it is on record"
                assert holder.stdin is not None
                holder.stdin.close()
                assert await asyncio.wait_for(asyncio.gather(*writes, kept), LONG) == [200] * 9
            await caller.every_route()
    ended = audited_after(tmp_path)
    assert ended["hi", "succeeded"] >= 200
    assert ended["adds", "succeeded"] == 9 == ran(file)


def audited_after(home: Path) -> Counter[tuple[str, str]]:
    """The program was killed: one more process opens and closes, then the record is judged."""
    make(home).close()
    return audited(home)


def limit(pid: int, size: int) -> None:
    """No file of that process may grow over so many bytes: what a full disk is to it."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def test_on_a_full_disk_nothing_runs_unrecorded_and_nothing_is_lost(tmp_path: Path) -> None:
    key, file = make_key(tmp_path, "developer", "admin"), tmp_path / "ran"
    with program(tmp_path) as (process, url):
        async with aiohttp.ClientSession() as session:
            caller = Caller(session, url, key)
            assert await caller.call("adds", {"file": str(file)}) == 200
            limit(process.pid, 1)
            for number in range(20):
                assert await caller.call("adds", {"file": str(file)}) == 503
                more = {"Idempotency-Key": f"k{number}"}
                assert await caller.call("puts", {"file": str(file)}, **more) == 503
                assert await caller.call("hi", {}) == 200, "what only reads may be on record later"
            assert ran(file) == 1
            await caller.every_route()
            limit(process.pid, resource.RLIM_INFINITY)
            async with asyncio.timeout(LONG):
                while await caller.call("adds", {"file": str(file)}) != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            again = await caller.call("puts", {"file": str(file)}, **{"Idempotency-Key": "k0"})
            assert again == 200
            await caller.every_route()
            process.terminate()
            assert await asyncio.to_thread(process.wait, LONG) == 0
    ended = audited(tmp_path)
    assert ended["hi", "succeeded"] >= 20
    assert ended["adds", "failed"] >= 20
    assert ended["adds", "succeeded"] == 2
    assert ran(file) == 3


async def test_a_full_audit_queue_says_so_until_there_is_room_again(tmp_path: Path) -> None:
    key = make_key(tmp_path, "developer")
    with program(tmp_path) as (process, url):
        async with aiohttp.ClientSession() as session:
            caller = Caller(session, url, key)
            await caller.call("hi", {})
            limit(process.pid, 1)

            async def fill() -> None:
                while caller.seen["hi", 429] == 0:
                    await caller.call("hi", {})

            await asyncio.wait_for(asyncio.gather(*(fill() for _ in range(16))), 4 * LONG)
            answered = caller.seen["hi", 200]
            limit(process.pid, resource.RLIM_INFINITY)
            async with asyncio.timeout(LONG):
                while await caller.call("hi", {}) != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            process.terminate()
            assert await asyncio.to_thread(process.wait, LONG) == 0
    assert audited(tmp_path)["hi", "succeeded"] == answered + 1


@pytest.mark.parametrize("jump", [400 * 86_400, -400 * 86_400])
async def test_a_clock_that_jumps_harms_no_limit_no_key_and_no_record(
    tmp_path: Path, jump: int
) -> None:
    settings = "limits: {tools: {hi: {rate: 3/day}}}\n"
    (tmp_path / "config.yaml").write_text(settings, "utf-8")
    key, file, clock = make_key(tmp_path, "developer"), tmp_path / "ran", tmp_path / "clock"
    body, end = {"file": str(file)}, tmp_path / "end"
    with program(tmp_path, "server.jumping", CLOCK=str(clock)) as (process, url):
        async with aiohttp.ClientSession() as session:
            caller = Caller(session, url, key)
            statuses = [await caller.call("hi", {}) for _ in range(5)]
            staying = asyncio.create_task(caller.call("stays", {"file": str(end)}))
            adding = [
                await caller.call("adds", body, **{"Idempotency-Key": f"k{n}"}) for n in range(3)
            ]
            clock.write_text(str(jump), "utf-8")
            assert await caller.call("hi", {}) == 429, "time has not gone by"
            assert [await caller.call("adds", body) for _ in range(3)] == [200] * 3
            await caller.every_route()
            clock.write_text("0", "utf-8")
            assert await caller.call("hi", {}) == 429
            assert not staying.done(), "no deadline has passed"
            end.touch()
            assert await staying == 200
            process.terminate()
            assert await asyncio.to_thread(process.wait, LONG) == 0
    assert statuses == [200, 200, 200, 429, 429]
    assert adding == [200] * 3
    ended = audited(tmp_path)
    assert (ended["hi", "succeeded"], ended["hi", "denied"]) == (3, 4)
    assert ended["adds", "succeeded"] == 6 == ran(file)
