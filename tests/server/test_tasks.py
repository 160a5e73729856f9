"""The tasks extension over the wire: whose a task is, and what a restart leaves of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pilotage.app import local_principal
from pilotage.server import tasks as module
from server.conftest import House
from server.run_tools import run_app, run_house
from server.test_run_events import PATIENT, free_port, server
from waiting import LONG, until

VERSION = "2026-07-28"
TASKS = module.TASKS
WORK = [
    {"name": "a", "tool": "work", "params": {"mark": "mark"}},
    {"name": "b", "tool": "work", "params": {"mark": "mark", "end": "end"}},
]


class Client:
    """Says exactly what a client of 2026-07-28 says."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session, self._url = session, url + "/mcp"
        self._key, self._id = key, 0

    async def ask(
        self, method: str, params: dict[str, Any], *, knows: bool = True, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        self._id += 1
        can = {"extensions": {TASKS: {}}, "elicitation": {}} if knows else {}
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": can,
        }
        head = {
            "Authorization": f"Bearer {self._key}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": VERSION,
            "Mcp-Method": method,
            "Mcp-Name": params.get("name") or params["taskId"],
            **headers,
        }
        body = {"jsonrpc": "2.0", "id": self._id, "method": method}
        body["params"] = {**params, "_meta": meta}
        async with self._session.post(self._url, json=body, headers=head) as answer:
            return answer.status, await answer.json()

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        _, answer = await self.ask("tools/call", {"name": tool, "arguments": arguments})
        result: dict[str, Any] = answer["result"]
        return result

    async def task(self, id: str) -> dict[str, Any]:
        _, answer = await self.ask("tasks/get", {"taskId": id})
        result: dict[str, Any] = answer["result"]
        return result

    async def over(self, id: str) -> dict[str, Any]:
        async with asyncio.timeout(LONG):
            while (found := await self.task(id))["status"] == "working":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with run_house(tmp_path) as house:
        yield house


def client(house: House, *roles: str) -> Client:
    return Client(house.session, house.url, house.key(*roles))


def begun(root: Path, line: str) -> Callable[[], bool]:
    mark = root / "mark"
    return lambda: mark.exists() and line in mark.read_text().splitlines()


async def test_a_long_call_is_a_task_and_a_short_one_is_not(house: House, tmp_path: Path) -> None:
    mine = client(house, "ci")
    made = await mine.call("pipeline_orchestrator", name="p", steps=WORK)
    assert (made["resultType"], made["status"]) == ("task", "working")
    assert "content" not in made
    assert len(made["taskId"]) == 32
    await until(begun(tmp_path / "root", "begin b"))
    assert "started b" in (await mine.task(made["taskId"]))["statusMessage"]
    (tmp_path / "root" / "end").touch()
    ended = await mine.over(made["taskId"])
    assert ended["status"] == "completed"
    assert ended["result"]["structuredContent"]["state"] == "ended"
    assert ended["result"]["isError"] is False
    say = [{"name": "a", "tool": "say"}]
    quick = await mine.call("pipeline_orchestrator", name="p", steps=say)
    if quick["resultType"] == "task":  # on a machine that is very busy
        quick = (await mine.over(quick["taskId"]))["result"]
    assert quick["structuredContent"]["success"] is True


async def test_what_is_decided_before_anything_runs_is_no_task(house: House) -> None:
    denied = await client(house, "viewer").call("pipeline_orchestrator", name="p", steps=WORK)
    assert (denied["resultType"], denied["isError"]) == ("complete", True)


async def test_a_client_that_knows_no_tasks_gets_the_result(house: House, tmp_path: Path) -> None:
    mine = client(house, "ci")
    (tmp_path / "root" / "end").touch()
    given = {"name": "pipeline_orchestrator", "arguments": {"name": "p", "steps": WORK}}
    status, answer = await mine.ask("tools/call", given, knows=False)
    assert (status, answer["result"]["resultType"]) == (200, "complete")
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        status, answer = await mine.ask(method, {"taskId": "x"}, knows=False)
        assert (status, answer["error"]["code"]) == (400, -32021)
        assert TASKS in answer["error"]["data"]["requiredCapabilities"]["extensions"]


async def test_cancelling_a_task_cancels_its_run(house: House, tmp_path: Path) -> None:
    mine = client(house, "ci")
    id = (await mine.call("pipeline_orchestrator", name="p", steps=WORK))["taskId"]
    await until(begun(tmp_path / "root", "begin b"))
    for _ in range(2):  # the second says nothing new
        _, answer = await mine.ask("tasks/cancel", {"taskId": id})
        assert set(answer["result"]) <= {"resultType", "_meta"}
    assert (await mine.over(id))["status"] == "cancelled"
    (run,) = house.app.runs.newest()
    assert run.outcome == "cancelled"


async def test_with_a_tasks_id_another_gets_nowhere(house: House, tmp_path: Path) -> None:
    """Attack table: session and state-handle hijack. B knows A's task id and has A's role."""
    a, b = client(house, "ci"), client(house, "admin")
    id = (await a.call("pipeline_orchestrator", name="p", steps=WORK))["taskId"]
    await until(begun(tmp_path / "root", "begin b"))
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        status, theirs = await b.ask(method, {"taskId": id})
        _, never = await b.ask(method, {"taskId": "x" * 32})
        assert (status, theirs["error"]["code"]) == (400, -32602)
        assert theirs["error"] == never["error"], "one sounds like the other"
    _, answer = await a.ask("tasks/get", {"taskId": id}, **{"Mcp-Name": "another"})
    assert answer["error"]["code"] == -32020
    assert (await a.task(id))["status"] == "working"
    (tmp_path / "root" / "end").touch()
    assert (await a.over(id))["status"] == "completed"
    await house.app.audit.settled()
    refused = [row for row in house.app.audit.list() if row.event == "refused"]
    assert len(refused) == 3
    assert all("task of key:" in row.body["error"] for row in refused)


async def test_so_many_tasks_of_one_principal_and_no_more(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EACH", 2)
    a, b, end = client(house, "ci"), client(house, "ci"), str(tmp_path / "root" / "end")
    ids = [(await a.call("long_work", end=end))["taskId"] for _ in range(2)]
    assert (await a.call("long_work", end=end))["isError"] is True
    ids_of_b = [(await b.call("long_work", end=end))["taskId"]]
    (tmp_path / "root" / "end").touch()
    for who, id in [*((a, id) for id in ids), *((b, id) for id in ids_of_b)]:
        assert (await who.over(id))["status"] == "completed"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_restart_cuts_off_a_plain_call_and_not_a_run(
    tmp_path: Path, how: signal.Signals
) -> None:
    home, root, port = tmp_path / "home", tmp_path / "root", free_port()
    root.mkdir()
    app = run_app(home, root)
    secret = app.keys.create("ci", ("ci",), by=local_principal())[1]
    app.close()
    afresh = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(timeout=PATIENT, connector=afresh) as session:
        mine = Client(session, f"http://127.0.0.1:{port}", secret)
        with server(home, root, port, "--grace", "0") as process:
            run = (await mine.call("pipeline_orchestrator", name="p", steps=WORK))["taskId"]
            plain = (await mine.call("long_work", end=str(root / "never")))["taskId"]
            await until(begun(root, "begin b"))
            process.send_signal(how)
            process.wait(LONG)
        with server(home, root, port):
            lost = await mine.task(plain)
            assert (lost["status"], lost["error"]["code"]) == ("failed", -32603)
            assert "stopped or died" in lost["error"]["message"]
            assert (await mine.task(run))["status"] == "working"
            (root / "end").touch()
            ended = await mine.over(run)
            assert ended["status"] == "completed"
            assert ended["result"]["structuredContent"]["outcome"] == "succeeded"
            assert await mine.task(run) == ended, "and so it stays"


async def test_a_task_asks_its_client_and_nobody_else_answers(house: House) -> None:
    a, b = client(house, "ci"), client(house, "ci")
    id = (await a.call("asks"))["taskId"]
    async with asyncio.timeout(LONG):
        while (found := await a.task(id))["status"] != "input_required":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    ((name, asked),) = found["inputRequests"].items()
    assert (asked["method"], asked["params"]["message"]) == ("elicitation/create", "Sure?")
    said = {name: {"action": "accept", "content": {"sure": True}}}
    _, theirs = await b.ask("tasks/update", {"taskId": id, "inputResponses": said})
    assert theirs["error"]["code"] == -32602
    odd = {"never": said[name], name: "yes"}
    assert "error" not in (await a.ask("tasks/update", {"taskId": id, "inputResponses": {}}))[1]
    assert "error" not in (await a.ask("tasks/update", {"taskId": id, "inputResponses": odd}))[1]
    assert list((await a.task(id))["inputRequests"]) == [name], "nothing that counts was said"
    await a.ask("tasks/update", {"taskId": id, "inputResponses": said})
    ended = await a.over(id)
    assert ended["result"]["structuredContent"]["said"]["content"] == {"sure": True}
    assert "inputRequests" not in ended
