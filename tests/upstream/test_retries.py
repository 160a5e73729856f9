"""Retries of declared HTTP tools: of what broke off, where it does no harm, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.domain.call import ToolResult
from pilotage.domain.errors import BadInput
from pilotage.tool.roots import roots
from pilotage.upstream.wanted import Wanted
from server.tools import TOOLS

ME = local_principal()
OK = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{"a":1}'
WRONG = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"


@asynccontextmanager
async def server(*answers: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Gives each answer to one request, the last one for ever; b"" hangs up instead."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                seen.append(head)
                answer = answers[min(len(seen), len(answers)) - 1]
                if not answer:
                    break
                writer.write(answer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], seen


async def asked(home: Path, port: int, method: str, times: int, **more: Any) -> list[ToolResult]:
    env = {"PILOTAGE_HOME": str(home), "HOME": str(home), "PILOTAGE_EGRESS_ALLOW": "127.0.0.1"}
    app = App(config.read(environment=env), roots(home), TOOLS)
    try:
        url = f"http://127.0.0.1:{port}/"
        whole = {"method": method, "url": url, "input_schema": {"type": "object"}, **more}
        await app.others.registrations.put("t", Wanted("http", whole), ME)
        return [await app.call("t", {}, ME, "rest") for _ in range(times)]
    finally:
        await app.leave()
        app.close()


async def test_what_broke_off_is_tried_again_as_often_as_declared(tmp_path: Path) -> None:
    async with server(b"", b"", OK) as (port, seen):
        (result,) = await asked(tmp_path, port, "GET", 1, retries=2)
    assert (result.succeeded, len(seen)) == (True, 3)


async def test_after_that_it_is_unavailable(tmp_path: Path) -> None:
    async with server(b"") as (port, seen):
        (result,) = await asked(tmp_path, port, "GET", 1, retries=2)
    assert (result.outcome.value, len(seen)) == ("unavailable", 3)


async def test_an_answer_is_an_answer_and_nothing_is_tried_again_unasked(tmp_path: Path) -> None:
    async with server(WRONG) as (port, seen):
        (result,) = await asked(tmp_path, port, "GET", 1, retries=3)
    assert (result.outcome.value, len(seen)) == ("failed", 1)
    async with server(b"", OK) as (port, seen):
        (result,) = await asked(tmp_path / "c", port, "GET", 1, retries=0)
    assert (result.outcome.value, len(seen)) == ("unavailable", 1)
    async with server(b"", OK) as (port, seen):
        (result,) = await asked(tmp_path / "b", port, "DELETE", 1, effect="write", idempotent=False)
    assert (result.outcome.value, len(seen)) == ("unavailable", 1)


async def test_a_declared_answer_may_be_kept(tmp_path: Path) -> None:
    async with server(OK) as (port, seen):
        fresh, kept = await asked(tmp_path, port, "GET", 2, cache_seconds=60)
    assert len(seen) == 1
    assert (fresh.value, fresh.kept) == (kept.value, None)
    assert kept.kept is not None
    assert kept.kept.how == "cached"


@pytest.mark.parametrize(
    ("method", "more", "why"),
    [
        ("POST", {"retries": 1}, "idempotent"),
        ("POST", {"cache_seconds": 5}, "idempotent"),
        ("PUT", {"cache_seconds": 5}, "read"),
        ("GET", {"retries": 6}, "0 to 5"),
        ("GET", {"cache_seconds": -1}, "0 to 86400"),
    ],
)
async def test_what_would_do_harm_is_refused(
    tmp_path: Path, method: str, more: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadInput, match=why):
        await asked(tmp_path, 9, method, 1, **more)
