"""A server that is told to stop, under load: what runs ends, what is new goes elsewhere, nothing is
lost."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pilotage.audit.verify import verify
from pilotage.server.access import Access
from pilotage.server.front import Front
from server.fair_tools import make
from server.test_attempts import CALL, ask, make_key, program, ran
from waiting import LONG, until

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def audited(home: Path) -> Counter[tuple[str, str]]:
    """How calls ended, by tool; every one that opened has closed, and the record is whole."""
    app = make(home)
    try:
        assert verify(app.database, app.checkpoints).bad_seq is None
        entries = app.audit.list(limit=1_000_000)
        opened = {entry.call for entry in entries if entry.event == "open"}
        ended = {entry.call for entry in entries if entry.event == "close"}
        assert opened == ended
        assert app.checkpoints.last().seq == entries[0].seq, "sealed at the end"
        rows = [entry for entry in entries if entry.event in ("call", "close")]
        assert len({entry.call for entry in rows}) == len(rows)
        return Counter((entry.tool, str(entry.body["outcome"])) for entry in rows)
    finally:
        app.close()


class Load:
    """Clients that call on until nobody answers any more."""

    def __init__(self, url: str, key: dict[str, str], file: Path) -> None:
        self._url, self._key, self._file = url, key, file
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.gone = 0

    async def client(self, number: int) -> None:
        tools: list[tuple[str, dict[str, Any]]] = [("hi", {}), ("adds", {"file": str(self._file)})]
        async with aiohttp.ClientSession() as session:
            while True:
                tool, body = tools[number % 2]
                try:
                    status, answer, headers = await ask(
                        session, self._url + CALL + tool, body, self._key
                    )
                except (aiohttp.ClientError, OSError):
                    self.gone += 1
                    return
                self.statuses[tool, status] += 1
                if status != 200:
                    assert (status, answer["success"]) == (503, False), answer
                    assert answer["error"] == "this server is stopping"
                    assert int(headers["Retry-After"]) >= 1
                    assert headers["Connection"] == "close"


async def test_under_load_what_runs_ends_and_what_is_new_is_sent_away(tmp_path: Path) -> None:
    key, file, end = make_key(tmp_path, "developer"), tmp_path / "ran", tmp_path / "end"
    with program(tmp_path) as (process, url):
        load = Load(url, key, file)
        clients = [asyncio.create_task(load.client(number)) for number in range(16)]
        async with aiohttp.ClientSession() as session:
            body = {"file": str(end)}
            waiting = [
                asyncio.create_task(ask(session, url + CALL + "stays", body, key)) for _ in range(8)
            ]
            await until(lambda: load.statuses["hi", 200] > 50 and load.statuses["adds", 200] > 10)
            process.send_signal(signal.SIGTERM)
            await until(lambda: load.statuses["hi", 503] > 50)
            assert not any(task.done() for task in waiting)
            end.touch()
            answers = await asyncio.gather(*waiting)
        assert [(status, answer["success"]) for status, answer, _ in answers] == [(200, True)] * 8
        assert await asyncio.to_thread(process.wait, LONG) == 0
        await asyncio.gather(*clients)
    assert load.gone == 16
    ended = audited(tmp_path)
    assert ended["stays", "succeeded"] == 8
    assert ended["hi", "succeeded"] == load.statuses["hi", 200]
    # an answer may be on its way when its connection ends; a call that ran is always on record
    assert load.statuses["adds", 200] <= ended["adds", "succeeded"] == ran(file)
    assert ended["adds", "succeeded"] - load.statuses["adds", 200] <= 8


def rpc(method: str, **params: Any) -> tuple[dict[str, Any], dict[str, str]]:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": method,
        **({"Mcp-Name": params["name"]} if "name" in params else {}),
    }
    return body, headers


async def _gone(process: subprocess.Popen[str]) -> int:
    return await asyncio.wait_for(asyncio.to_thread(process.wait), LONG)


async def test_streams_end_and_a_run_goes_on_under_the_next_server(tmp_path: Path) -> None:
    key, mark, end = make_key(tmp_path, "developer"), tmp_path / "ran", tmp_path / "end"
    step = {"name": "one", "tool": "puts", "params": {"file": str(mark), "end": str(end)}}
    pipeline = {"name": "p", "steps": [step]}
    async with aiohttp.ClientSession(headers=key) as session:
        with program(tmp_path, GRACE="0.5") as (process, url):
            started = await ask(session, url + "/api/v2/runs", {"pipeline": pipeline}, {})
            run = started[1]["run"]
            await until(lambda: ran(mark) == 1)
            body, headers = rpc("subscriptions/listen", notifications={"toolsListChanged": True})
            async with (
                session.get(f"{url}/api/v2/runs/{run}/events") as events,
                session.post(url + "/mcp", json=body, headers=headers) as listening,
            ):
                assert (events.status, listening.status) == (200, 200)
                await events.content.readuntil(b"event: ")
                process.send_signal(signal.SIGTERM)
                rest = await asyncio.wait_for(asyncio.gather(events.read(), listening.read()), LONG)
            assert b"bug" not in rest[0] + rest[1]
            assert await _gone(process) == 0
        end.touch()
        with program(tmp_path) as (_, url):
            async with session.get(f"{url}/api/v2/runs/{run}/events") as events:
                text = (await asyncio.wait_for(events.read(), LONG)).decode()
            async with session.get(f"{url}/api/v2/runs/{run}") as answer:
                shown = await answer.json()
    assert (shown["state"], shown["outcome"]) == ("ended", "succeeded"), shown
    assert ran(mark) == 2, "the step that was cut off ran again: it is idempotent"
    numbers = [int(line[4:]) for line in text.splitlines() if line.startswith("id: ")]
    assert numbers == sorted(set(numbers))


async def test_a_part_that_breaks_at_the_end_does_not_keep_the_server(tmp_path: Path) -> None:
    async def breaks() -> None:
        raise RuntimeError("at the end")

    app = make(tmp_path)
    app.leave = breaks  # type: ignore[method-assign]
    front = Front(app, Access(app.keys, app.audit, ("localhost",)))
    told: asyncio.Queue[Any] = asyncio.Queue()
    asked: asyncio.Queue[Any] = asyncio.Queue()
    asked.put_nowait({"type": "lifespan.startup"})
    life = asyncio.create_task(front({"type": "lifespan"}, asked.get, told.put))
    assert (await told.get())["type"] == "lifespan.startup.complete"
    await asyncio.wait_for(front.drain(0), LONG)
    with pytest.raises(RuntimeError, match="at the end"):
        await life
    app.close()


async def until_running(session: aiohttp.ClientSession, url: str, calls: int) -> None:
    """So many calls are under way."""

    async def said() -> str:
        async with session.get(url + "/metrics") as answer:
            return await answer.text()

    async with asyncio.timeout(LONG):
        while f"pilotage_calls_running {calls}.0" not in await said():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["rest", "mcp"])
async def test_a_call_that_outlasts_the_grace_is_cut_off_and_on_record(
    tmp_path: Path, how: str
) -> None:
    key, never = make_key(tmp_path, "developer"), str(tmp_path / "never")
    with program(tmp_path, GRACE="0.3") as (process, url):
        async with aiohttp.ClientSession(headers=key) as session:
            given: tuple[Any, dict[str, str]] = ({"file": never}, {})
            path = CALL + "stays"
            if how == "mcp":
                given, path = rpc("tools/call", name="stays", arguments={"file": never}), "/mcp"
            call = asyncio.create_task(ask(session, url + path, *given))
            await until_running(session, url, 1)
            process.send_signal(signal.SIGTERM)
            status, answered, head = await call
        assert await _gone(process) == 0
    assert (status, answered["success"]) == (503, False)
    assert "stopped before the request had ended" in answered["error"]
    assert "Retry-After" not in head, "it may have run"
    assert audited(tmp_path) == {("stays", "cancelled"): 1}
