"""Large arguments and large answers: what is looked for in them holds nobody else up."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path

import msgspec
import pytest

from pilotage.domain.call import ToolResult
from pilotage.tool.redact import MASK, Redactor
from server.fair_tools import house
from server.test_registration import TOOLS_AT, ask, call
from waiting import LONG

SECRET = "x" * 60


async def test_arguments_of_many_names_are_on_record_by_size_and_digest(tmp_path: Path) -> None:
    given = {"text": "x", "more": {f"k{n}": n for n in range(60_000)}}
    async with house(tmp_path) as one:
        status, _ = await call(one, "hi", one.key("developer"), **given)
        assert status == 400, "it takes no such argument"
        await one.app.audit.settled()
        (kept,) = [e.body["arguments"] for e in one.app.audit.list(tool="hi") if e.event != "close"]
        raw = msgspec.json.encode(given)
        told = {"cut": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        assert kept == told


async def test_while_a_large_answer_is_searched_for_secrets_others_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, searching = threading.Event(), threading.Event()
    whole = Redactor.whole

    def patiently(self: Redactor, result: ToolResult) -> ToolResult:
        if len(result.value.get("texts", ())) > 1:
            searching.set()
            assert answered.wait(LONG), "the event loop stands still"
        return whole(self, result)

    monkeypatch.setattr(Redactor, "whole", patiently)
    async with house(tmp_path) as one:
        one.app.redactor.mask(SECRET)
        key = one.key("developer")
        large = asyncio.create_task(call(one, "large", key, size=4_000_000, parts=40_000))
        while not searching.is_set():
            assert (await call(one, "hi", key))[0] == 200
        assert (await call(one, "hi", key))[0] == 200
        answered.set()
        status, body = await large
        assert (status, set(body["texts"])) == (200, {MASK + "x" * 40})


async def test_a_large_answer_under_a_key_is_kept_without_secrets(tmp_path: Path) -> None:
    async with house(tmp_path) as one:
        one.app.redactor.mask(SECRET)
        key, at = one.key("developer"), f"{TOOLS_AT}/call/large"
        body = {"size": 400_000, "parts": 4_000}
        first = await ask(one, "POST", at, key, body, Idempotency_Key="k")
        again = await ask(one, "POST", at, key, body, Idempotency_Key="k")
        assert first == again
        assert set(again[1]["texts"]) == {MASK + "x" * 40}
