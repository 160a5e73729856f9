"""A server that is told twice to stop ends at once, whatever is open."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp

from server.test_attempts import CALL, ask, make_key, program
from server.test_drain import audited, rpc, until_running
from server.test_shares import HANDSHAKE
from waiting import LONG

EVENTS = {"Accept": "application/json, text/event-stream"}


async def old_streams(
    session: aiohttp.ClientSession, url: str, key: dict[str, str], end: Path
) -> list[aiohttp.ClientResponse]:
    """The stream of a session of the handshake eras, and that of a call in it which waits."""
    async with session.post(url, json=HANDSHAKE, headers={**key, **EVENTS}) as answer:
        await answer.read()
        session_id = answer.headers["Mcp-Session-Id"]
    head = {**key, **EVENTS, "Mcp-Session-Id": session_id, "MCP-Protocol-Version": "2025-06-18"}
    done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await (await session.post(url, json=done, headers=head)).read()
    news = await session.get(url, headers={**head, "Accept": "text/event-stream"})
    given = {"name": "stays", "arguments": {"file": str(end)}}
    called = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": given}
    return [news, await session.post(url, json=called, headers=head)]


async def streams(
    session: aiohttp.ClientSession, url: str, key: dict[str, str], end: Path
) -> list[aiohttp.ClientResponse]:
    """Open ones, of both eras, and the events of a run."""
    body, head = rpc("subscriptions/listen", notifications={"toolsListChanged": True})
    listening = await session.post(url + "/mcp", json=body, headers={**key, **head})
    step = {"name": "a", "tool": "stays", "params": {"file": str(end)}}
    given = {"pipeline": {"name": "p", "steps": [step]}}
    async with session.post(url + "/api/v2/runs", json=given, headers=key) as answer:
        run = (await answer.json())["run"]
    events = await session.get(f"{url}/api/v2/runs/{run}/events", headers=key)
    return [listening, events, *await old_streams(session, url + "/mcp", key, end)]


async def to_its_end(stream: aiohttp.ClientResponse) -> None:
    try:
        await stream.read()
    except aiohttp.ClientError:
        return


async def test_the_second_signal_ends_a_server_with_open_streams_at_once(tmp_path: Path) -> None:
    key, end = make_key(tmp_path, "developer"), tmp_path / "never"
    with program(tmp_path, GRACE="3600") as (process, url):
        async with aiohttp.ClientSession() as session:
            opened = await streams(session, url, key, end)
            plain = asyncio.create_task(ask(session, url + CALL + "stays", {"file": str(end)}, key))
            await until_running(session, url, 3)
            assert [one.content_type for one in opened] == ["text/event-stream"] * 4

            async def refused() -> bool:
                return (await ask(session, url + CALL + "hi", {}, key))[0] == 503

            process.send_signal(signal.SIGTERM)
            while not await refused():
                pass
            assert process.poll() is None, "the first signal waits for the calls"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, LONG) == 0
            await asyncio.gather(*map(to_its_end, opened))
            status, answer, _ = await plain
            assert (status, answer["success"]) == (503, False)
    ended: Any = audited(tmp_path)
    assert ended["stays", "cancelled"] == 3
