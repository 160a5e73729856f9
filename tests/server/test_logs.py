"""The log of a real server: lines of JSON, request ids that lead to the audit, nothing secret."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pilotage.domain import trace
from pilotage.log import Lines, Objects
from pilotage.tool.redact import Redactor
from server.conftest import House
from server.test_mcp import connected, era
from server.test_serve import make_key
from waiting import LONG

CALL = "/api/v2/tools/call/"
KEY = "plt_" + "k" * 43
SERVE = "import sys; from pilotage.cli.main import main; sys.exit(main(['serve', '--port', '0']))"


@contextmanager
def served(home: Path, **variables: str) -> Iterator[str]:
    """`pilotage serve` as its own program; its address."""
    env = {**os.environ, "PILOTAGE_HOME": str(home), **variables}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True, env=env, cwd=home
    ) as process:
        assert process.stdout is not None
        try:
            lines = iter(process.stdout.readline, "")
            address = next(line.split()[1] for line in lines if line.strip().startswith("MCP"))
            yield address.removesuffix("/mcp")
        finally:
            process.terminate()
            process.wait(60)


@asynccontextmanager
async def client(key: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
        yield session


async def test_a_request_is_found_in_the_log_and_in_the_audit_by_its_id(tmp_path: Path) -> None:
    key, file = make_key(tmp_path, "admin"), tmp_path / "log"
    variables = {"MCP_LOG_FORMAT": "json", "MCP_LOG_LEVEL": "debug", "MCP_LOG_FILE": str(file)}
    with served(tmp_path, **variables) as url:
        async with client(key) as session:
            body = {"scan_id": "x", "token": KEY}
            path = CALL + "scan_findings"
            named = {"X-Request-Id": "build-7.a"}
            async with session.post(url + path, json=body, headers=named) as answer:
                assert (answer.status, answer.headers["X-Request-Id"]) == (400, "build-7.a")
            async with session.get(f"{url}/healthz?key={KEY}") as answer:
                healthy = answer.headers["X-Request-Id"]
            async with session.post(f"{url}{CALL}{KEY}", json={}) as answer:
                assert answer.status == 404
            (row,) = await audited(session, url + "/api/v2/audit?tool=scan_findings")
    assert row["body"]["request"] == "build-7.a"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert KEY not in file.read_text("utf-8")
    access = {line["request"]: line for line in lines if line["logger"] == "pilotage.access"}
    line = access["build-7.a"]
    assert (line["method"], line["path"], line["status"]) == ("POST", path, 400)
    assert line["level"] == "debug"
    assert line["principal"].startswith("key:")
    assert line["ms"] >= 0
    assert access[healthy]["path"] == "/healthz"
    assert all({"at", "level", "logger", "message"} <= set(each) for each in lines)


async def audited(session: aiohttp.ClientSession, url: str) -> Any:
    """Rows are on disk a moment after the answer."""
    async with asyncio.timeout(LONG):
        while True:
            async with session.get(url) as answer:
                rows = (await answer.json())["entries"]
            if rows:
                return rows
            await asyncio.sleep(0.02)


async def test_above_debug_there_is_no_line_a_request_but_one_of_the_end(tmp_path: Path) -> None:
    key, file = make_key(tmp_path, "developer"), tmp_path / "log"
    with served(tmp_path, MCP_LOG_FILE=str(file)) as url:
        async with client(key) as session, session.get(url + "/api/v2/tools") as answer:
            assert answer.status == 200
    (line,) = file.read_text("utf-8").splitlines()
    assert "stopping: calls that run have 30 s to end" in line


async def call(house: House, key: str, **headers: str) -> Any:
    given = {"Authorization": f"Bearer {key}", **headers}
    url = house.url + CALL + "echo"
    async with house.session.post(url, json={"text": "hi"}, headers=given) as answer:
        await answer.read()
        return answer.headers.getall("X-Request-Id", [])


@pytest.mark.parametrize(
    "bad", ["a b", "a" * 129, "-a", "caf\xe9", "a<script>", "a;b", "${x}"], ids=range(7)
)
async def test_what_is_no_id_is_not_given_back(house: House, bad: str) -> None:
    (given,) = await call(house, house.key("developer"), **{"X-Request-Id": bad})
    assert given != bad
    assert len(given) == 26


async def recorded(house: House) -> list[str | None]:
    """The request of each call in the audit, the newest first: one row says how it opened."""
    await house.app.audit.settled()
    rows = house.app.audit.list(limit=10, tool="echo")
    return [row.body.get("request") for row in rows if row.event in ("open", "call")]


async def test_an_id_is_of_one_request_and_a_refusal_has_one_always(house: House) -> None:
    key = house.key("developer")
    assert await call(house, key, **{"X-Request-Id": "one"}) == ["one"]
    assert await call(house, key) == [], "thousands a second have none unless they ask"
    refused = await call(house, "nobody")
    assert len(refused) == 1
    again = await call(house, "nobody")
    assert again != refused
    assert await recorded(house) == [None, "one"]


@era
async def test_a_call_over_mcp_has_the_id_of_its_request(house: House, mode: str) -> None:
    key = house.key("developer")
    async with connected(house, key, mode, request_id="agent-1") as session:
        assert (await session.call_tool("echo", {"text": "hi"})).is_error is False
    assert await recorded(house) == ["agent-1"]


def record(message: str, *given: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("pilotage.x", logging.WARNING, "f", 1, message, given, None)
    made.__dict__.update(more)
    return made


def test_a_message_begins_no_line_and_obeys_no_terminal() -> None:
    lines = Lines(str).format(record("a %s", "b\nERROR forged\x1b[2J", fields={"path": "x y\n"}))
    assert "\n" not in lines
    assert "\x1b" not in lines
    assert lines.endswith('warning pilotage.x: a b\\nERROR forged\\x1b[2J path="x y\\\\n"')
    try:
        raise ValueError("a\nERROR forged\x1b[2J\x9b2J\u2028ERROR forged")
    except ValueError:
        told = Lines(str).format(record("it broke", exc_info=sys.exc_info()))
    first, *others = told.split("\n")
    assert first.endswith("it broke")
    assert "ValueError: a" in told
    assert all(line.startswith("    ") and line.isprintable() for line in others)
    one = json.loads(Objects(str).format(record("a %s", "b\nc", fields={"status": 3})))
    assert one["message"] == "a b\nc"
    assert one["status"] == 3


def test_a_secret_is_in_no_part_of_a_line() -> None:
    redactor = Redactor()
    redactor.mask("sesame-sesame")
    token = trace.request.set("r1")
    try:
        raise ValueError(f"sesame-sesame and {KEY}")
    except ValueError:
        failed = record(
            "got %s", f"sesame-sesame {KEY}", exc_info=sys.exc_info(), fields={"path": KEY}
        )
    finally:
        trace.request.reset(token)
    for form in (Lines(redactor.text), Objects(redactor.text)):
        text = form.format(failed)
        assert "sesame" not in text
        assert KEY not in text
        assert "ValueError" in text
