"""The attack "secret leakage": canaries go in by every way, and no output holds one.

KNOWN is a secret of the house, as a tool's credentials are: whatever a tool says, it is in no
output at all. GUESSED looks like a key and NAMED stands under a telling name: both come as
arguments of calls, and are in nothing that is kept or shown to others. So are the callers' keys.
"""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest

from pilotage import config
from pilotage.app import App
from pilotage.cli.main import main
from pilotage.domain.call import Effect, Outcome, Principal, ToolResult
from pilotage.log import Objects
from pilotage.tool.roots import roots
from pilotage.tool.tool import Call, tool
from pilotage.upstream.secrets import Secrets
from server.conftest import House, running
from server.test_federated import fronted
from server.test_mcp import connected, era
from server.test_traces import Collector, collecting, flushed
from upstream.echo import echoing
from upstream.mcp_server import Asked, said, serving

KNOWN = "canary-known-7f3a91c2"
GUESSED = "ghp_" + "canaryGuessed" * 3
NAMED = "canary-named-correct-horse"
MASK = "[redacted]"
ADMIN = Principal("local:me", frozenset({"admin"}))
WAYS = ("value", "content", "error", "raise")


@tool(Effect.READ)
async def blab(how: str, text: str = "", password: str = "", *, here: Call) -> ToolResult:
    """Says what it should not, in every way there is."""
    here.tell(f"connecting with {KNOWN}", 1, 2)
    if how == "raise":
        raise ValueError(f"{KNOWN} was refused")
    if how == "error":
        return ToolResult(Outcome.FAILED, {"with": KNOWN}, f"login as {KNOWN}", f"not {KNOWN}")
    blocks = ({"type": "text", "text": f"a {KNOWN}"},) if how == "content" else ()
    return ToolResult(
        Outcome.SUCCEEDED, {"said": [f"x{KNOWN}y"], KNOWN: {"a": KNOWN}}, content=blocks
    )


@tool(Effect.DESTROY)
async def erase(text: str, password: str) -> ToolResult:
    """Never runs here."""
    raise AssertionError


@dataclass
class Sinks:
    """Everything that came out, by where."""

    out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, text: str | bytes) -> None:
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        self.out[name] = self.out.get(name, "") + said


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


@pytest.fixture
async def house(tmp_path: Path, collector: Collector) -> AsyncIterator[House]:
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PILOTAGE_HOME": str(home),
        "HOME": str(home),
        "PILOTAGE_EGRESS_ALLOW": "127.0.0.1",
    }
    (tmp_path / "root").mkdir()
    log = logging.getLogger("pilotage")
    handler = logging.FileHandler(tmp_path / "log")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    app = App(config.read(environment=environment), roots(tmp_path / "root"), (blab, erase))
    handler.setFormatter(Objects(app.redactor.text))
    try:
        async with running(app) as house:
            yield house
    finally:
        await asyncio.to_thread(app.close)
        log.removeHandler(handler)
        handler.close()
        log.setLevel(before)


async def ask(house: House, method: str, path: str, key: str, body: Any = None, **more: str) -> str:
    headers = {"Authorization": f"Bearer {key}", **more}
    url = house.url + path
    async with house.session.request(method, url, json=body, headers=headers) as answer:
        return f"{dict(answer.headers)} {await answer.text()}"


async def by_http(house: House, key: str, sinks: Sinks) -> None:
    """A secret that goes to a server which sends it back."""
    home = house.app.settings.home
    Secrets(home / "secrets.yaml", house.app.redactor).set("TOKEN", KNOWN, ["127.0.0.1:*"])
    async with echoing() as echo:
        given = {
            "method": "POST",
            "url": echo.url + "/tell",
            "summary": "Tells",
            "input_schema": {"type": "object"},
            "headers": {"X-Token": {"secret": "TOKEN", "prefix": "T "}},
        }
        sinks.add(
            "registering",
            await ask(
                house, "PUT", "/api/v2/tools/teller", key, {"kind": "http", "definition": given}
            ),
        )
        sinks.add("an HTTP tool", await ask(house, "POST", "/api/v2/tools/call/teller", key, {}))
        assert KNOWN in repr(echo.seen), "it did go where it should"
    assert MASK[:-1] in sinks.out["an HTTP tool"]


async def by_rest(house: House, key: str, sinks: Sinks) -> str:
    path = "/api/v2/tools/call/"
    for how in WAYS:
        body = {"how": how, "text": GUESSED, "password": NAMED}
        sinks.add(f"REST {how}", await ask(house, "POST", path + "blab", key, body))
        stream = {"Accept": "text/event-stream"}
        sinks.add(
            f"REST stream {how}", await ask(house, "POST", path + "blab", key, body, **stream)
        )
        kept = {"Idempotency-Key": f"same {how}"}
        for _ in range(2):
            sinks.add(
                f"REST kept {how}", await ask(house, "POST", path + "blab", key, body, **kept)
            )
    sinks.add(
        "REST 400", await ask(house, "POST", path + "blab", key, {"how": 5, "password": NAMED})
    )
    sinks.add("REST 404", await ask(house, "POST", path + "x", key, {"token": NAMED, "t": GUESSED}))
    asks = {"text": GUESSED, "password": NAMED}
    waits = await ask(house, "POST", path + "erase", key, asks)
    sinks.add("REST approval", waits)
    return str(house.app.approvals.newest(ADMIN, 1)[0].id)


async def by_mcp(house: House, key: str, approval: str, sinks: Sinks) -> None:
    async def hear(_: float, __: float | None, message: str | None) -> None:
        sinks.add("MCP progress", message or "")

    for mode in ("legacy", "2026-07-28"):
        async with connected(house, key, mode) as client:
            for how in WAYS:
                given = {"how": how, "text": GUESSED, "password": NAMED}
                answer = await client.call_tool("blab", given, progress_callback=hear)
                sinks.add(f"MCP {how}", answer.model_dump_json())
            sinks.add("MCP tools", (await client.list_tools()).model_dump_json())
            sinks.add("MCP resources", (await client.list_resources()).model_dump_json())
            prompt = await client.get_prompt("approve-or-reject", {"approval": approval})
            sinks.add("MCP prompt", prompt.model_dump_json())
            ref = types.PromptReference(type="ref/prompt", name="approve-or-reject")
            done = await client.complete(ref, {"name": "approval", "value": ""})
            sinks.add("MCP completion", done.model_dump_json())


async def by_run(house: House, key: str, sinks: Sinks) -> str:
    steps = "".join(
        f"- {{name: {how}, tool: blab, params: {{how: {how}}}, depends_on: [],"
        " on_failure: continue}\n"
        for how in WAYS
    )
    body = {"pipeline": f"name: p\nsteps:\n{steps}"}
    sinks.add("run", await ask(house, "POST", "/api/v2/runs", key, body))
    assert "'Location'" in sinks.out["run"], sinks.out["run"]
    (run,) = house.app.runs.newest(1)
    await house.app.runs.wait(run.id)
    for what in ("?results=true", "/events", "/logs", "/artifacts"):
        sinks.add(f"run {what}", await ask(house, "GET", f"/api/v2/runs/{run.id}{what}", key))
    async with connected(house, key, "2026-07-28") as client:
        content = (await client.read_resource(f"pilotage://runs/{run.id}")).contents[0]
        sinks.add("run resource", content.model_dump_json())
        prompt = await client.get_prompt("why-did-this-run-fail", {"run": run.id})
        sinks.add("run prompt", prompt.model_dump_json())
    return str(run.id)


async def by_reading(house: House, key: str, approval: str, sinks: Sinks) -> None:
    for path in ("calls", "audit", "approvals", f"approvals/{approval}", "tools", "tools/teller",
                 "runs", "openapi.json", "pins"):  # fmt: skip
        sinks.add(f"/{path}", await ask(house, "GET", f"/api/v2/{path}", key))
    for path in ("metrics", "healthz", "readyz"):
        sinks.add(f"/{path}", await ask(house, "GET", f"/{path}", key))


def at_the_terminal(house: House, tmp_path: Path, run: str, approval: str, sinks: Sinks) -> None:
    """The command line on the same state, in a process of its own."""
    for words in (
        ["audit", "list"], ["audit", "list", "--json"], ["runs", "list"], ["runs", "show", run],
        ["approvals", "list"], ["approvals", "show", approval], ["tools", "list"],
        ["tools", "show", "teller"], ["secrets", "list"], ["keys", "list"],
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "pilotage.cli.main", *words],
            capture_output=True, timeout=60, env={"PILOTAGE_HOME": str(tmp_path / "home")},
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stderr)
        sinks.add(f"terminal {' '.join(words[:2])}", done.stdout + done.stderr)


def state(home: Path, sinks: Sinks) -> None:
    """Every file of the state folder but the one that is for secrets."""
    for file in sorted(home.rglob("*")):
        if file.is_file() and file.name != "secrets.yaml":
            sinks.add(f"state {file.name}", file.read_bytes())
            sinks.add("state", file.read_bytes())  # a row is in the file or in its journal


async def test_no_canary_is_in_any_output(
    house: House,
    collector: Collector,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sinks, admin, operator = Sinks(), house.key("admin"), house.key("operator")
    await by_http(house, admin, sinks)
    approval = await by_rest(house, operator, sinks)
    await by_mcp(house, operator, approval, sinks)
    run = await by_run(house, operator, sinks)
    await house.app.audit.settled()
    await by_reading(house, admin, approval, sinks)
    at_the_terminal(house, tmp_path, run, approval, sinks)
    monkeypatch.setenv("MCP_API_KEY", admin)
    assert main(["mcp-config", "claude", "--url", house.url]) == 0
    shown = capsys.readouterr()
    sinks.add("mcp-config", shown.out + shown.err)
    await flushed(house)
    sinks.add("traces", b"".join(collector.bodies))
    sinks.add("log", (tmp_path / "log").read_bytes())
    state(tmp_path / "home", sinks)

    assert len(sinks.out) > 40
    silent = [name for name, text in sinks.out.items() if not text and not name.endswith(".lock")]
    assert silent == []
    canaries = {"KNOWN": KNOWN, "GUESSED": GUESSED, "NAMED": NAMED, "KEY": admin, "KEY 2": operator}
    found = [
        (canary, name, text[max(0, text.find(value) - 80) : text.find(value) + 40])
        for canary, value in canaries.items()
        for name, text in sinks.out.items()
        if value in text or json.dumps(value)[1:-1] in text
    ]
    assert found == []
    for name in ("REST value", "REST raise", "MCP value", "MCP progress", "run /logs", "log",
                 "/audit", "state"):  # fmt: skip
        assert MASK[:-1] in sinks.out[name], f"{name}: nothing was to be masked there"


@era
async def test_what_a_server_behind_us_says_in_mid_call_has_no_secret(
    tmp_path: Path, mode: str
) -> None:
    heard: list[str] = []

    async def answering(asked: Asked) -> Any:
        data = {"level": "error", "data": f"as {KNOWN}"}
        await asked.tell({"jsonrpc": "2.0", "method": "notifications/message", "params": data})
        news = {"progressToken": asked.meta["progressToken"], "progress": 1, "message": KNOWN}
        await asked.tell({"jsonrpc": "2.0", "method": "notifications/progress", "params": news})
        return said(f"logged in as {KNOWN}", structuredContent={"as": KNOWN})

    async def hear_log(params: types.LoggingMessageNotificationParams) -> None:
        heard.append(str(params.data))

    async def hear(_: float, __: float | None, message: str | None) -> None:
        heard.append(str(message))

    async with serving(answer=answering) as server, fronted(tmp_path / "h", server) as house:
        house.app.redactor.mask(KNOWN)
        key = house.key("developer")
        meta: Any = {"io.modelcontextprotocol/logLevel": "debug"} if mode != "legacy" else None
        async with connected(house, key, mode, logging_callback=hear_log) as client:
            answer = await client.call_tool(
                "echo", {"text": "x"}, progress_callback=hear, meta=meta
            )
    assert f"as {MASK}" in heard
    assert MASK in heard
    assert KNOWN not in "".join(heard) + answer.model_dump_json()
