"""A call that waits for its client's answer: how long, how many, and how it ends without one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest

from pilotage.server import parked
from server.asking import ADA, FORM, Site, answer, call, question, site, sited, words
from server.test_mcp import connected
from upstream.mcp_server import Asked, said
from waiting import until

__all__ = ["site"]


async def test_who_does_not_answer_in_time_ends_the_call(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked, "ANSWER_SECONDS", 0.05)
    async with site.client() as client:
        asked = await question(client)
        await until(lambda: site.cancelled)
        await until(lambda: not site.house.app.gateway.running)
        got = await answer(client, asked)
        assert got.is_error
        assert "did not answer within 0.05 s" in words(got)
    assert await site.outcomes() == ["timed_out"]


async def test_the_time_of_a_person_is_not_that_of_the_tool(tmp_path: Path) -> None:
    async with sited(tmp_path, timeout=0.5) as site, site.client() as client:
        began = time.monotonic()
        asked = await question(client)
        await until(lambda: time.monotonic() > began + 0.6)
        assert words(await answer(client, asked)) == "ada"


async def test_nor_is_it_before_2026(tmp_path: Path) -> None:
    async def elicit(_: Any, __: Any) -> types.ElicitResult:
        await until(lambda: time.monotonic() > began + 0.6)
        return ADA

    async with sited(tmp_path, timeout=0.5) as site:
        key = site.house.key("developer")
        async with connected(site.house, key, "legacy", elicitation_callback=elicit) as client:
            began = time.monotonic()
            assert words(await client.call_tool("echo", {"text": "who?"})) == "ada"


async def test_who_is_asked_holds_up_nobody_else(tmp_path: Path) -> None:
    async with sited(tmp_path, parallel=1) as site, site.client() as client:
        asked = [await question(client) for _ in range(3)]
        assert words(await call(client, "")) == "", "the only slot is free"
        assert [words(await answer(client, one)) for one in asked] == ["ada"] * 3


async def test_few_calls_wait_for_one_principal_and_some_for_all(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked, "EACH", 1)
    monkeypatch.setattr(parked, "MOST", 2)
    async with site.client("a") as one, site.client("b") as two, site.client("c") as three:
        first = await question(one)
        full = await call(one)
        assert (full.is_error, "too many calls wait" in words(full)) == (True, True)
        await question(two)
        assert "too many calls wait" in words(await call(three))
        assert words(await answer(one, first)) == "ada"
        await question(three)


async def test_a_server_that_asks_without_an_end_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked, "QUESTIONS", 2)
    async with site.client() as client:
        got = await question(client, "a b c")
        got = await answer(client, got, "a b c")
        got = await answer(client, got, "a b c")
        assert "asked back 2 times" in words(got)


async def test_a_question_is_no_flood(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked, "QUESTION_BYTES", 1_000)
    async with site.client() as client:
        await question(client)
        assert "at most 1000 bytes" in words(await call(client, "x" * 1_000))


async def test_a_stream_that_is_cut_while_somebody_thinks_is_no_outage(site: Site) -> None:
    params = {"mode": "form", "message": "who?", "requestedSchema": FORM}
    cut = asyncio.Event()

    async def cuts(asked: Asked) -> Any:
        if not asked.arguments["text"]:
            return said("fine")
        told = {"id": asked.message["id"], "method": "elicitation/create", "params": params}
        await asked.tell({"jsonrpc": "2.0", **told})
        await cut.wait()
        return None

    site.server.answer = cuts
    async with site.client() as client:
        asked = [await question(client) for _ in range(5)]
        cut.set()
        for one in asked:
            assert "broke off" in words(await answer(client, one))
        assert words(await call(client, "")) == "fine"
        assert not site.house.app.others.federation.connections[0].breaker.why


async def test_a_server_that_ends_meanwhile_is_said_so(site: Site) -> None:
    async with site.client() as client:
        asked = await question(client)
        await site.server.stop()
        await until(lambda: not site.house.app.gateway.running)
        got = await answer(client, asked)
        assert got.is_error
        assert "the upstream up" in words(got)


async def test_a_stop_ends_calls_that_wait_for_an_answer_at_once(site: Site) -> None:
    async with site.client() as client:
        await question(client)
        async with asyncio.timeout(20):
            await site.house.front.drain(600)
        assert site.house.app.gateway.running == 0
    assert await site.outcomes() == ["cancelled"]


async def test_who_goes_away_while_the_call_goes_on_cancels_it(site: Site) -> None:
    began = asyncio.Event()

    async def hangs(asked: Asked) -> Any:
        params = {"mode": "form", "message": "who?", "requestedSchema": FORM}
        await site.server.ask(asked, "elicitation/create", params)
        began.set()
        await asyncio.Event().wait()

    site.server.answer = hangs
    async with site.client() as client:
        asked = await question(client)
        going = asyncio.create_task(answer(client, asked))
        await began.wait()
        going.cancel()
        await until(lambda: site.cancelled)
        await until(lambda: not site.house.app.gateway.running)
    assert await site.outcomes() == ["cancelled"]
