"""The server as a program: addresses, TLS, signals, stdio, and the client that speaks to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mcp import Client as McpClient
from mcp import StdioServerParameters

from pilotage import config
from pilotage.app import local_principal
from pilotage.ci.client import Client
from pilotage.cli import main
from pilotage.cli.door import Door, open_door
from pilotage.domain.call import Progress
from pilotage.domain.errors import BadInput, Denied, Unauthenticated, Unavailable
from pilotage.server import serve
from pilotage.server.serve import Options
from pilotage.tool.roots import roots
from server.conftest import House, make_app
from waiting import LONG, until

HERE = Path(__file__).parent


@contextmanager
def program(home: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """A server of the test tools in a process of its own."""
    env = {**os.environ, "PILOTAGE_HOME": str(home), "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, "-m", "server.program", *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line.startswith("http"), process.stderr.read() if process.stderr else ""
    return line


def settings(home: Path, url: str, key: str, **more: Any) -> config.Settings:
    flags = {"mcp.serverUrl": url, "mcp.apiKey": key, **more}
    return config.read(flags, {"PILOTAGE_HOME": str(home), "HOME": str(home)})


def make_key(home: Path, *roles: str) -> str:
    app = make_app(home, home)
    try:
        return app.keys.create("k" + "".join(roles), roles, by=local_principal())[1]
    finally:
        app.close()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Options(host="0.0.0.0"), "without TLS"),
        (Options(host="192.0.2.7"), "without TLS"),
        (Options(host="example.com"), "without TLS"),
        (Options(host="0.0.0.0", tls_auto=True, insecure_local=True), "without a key"),
        (Options(tls_certificate="x.pem"), "belong together"),
        (Options(tls_auto=True, tls_certificate="x", tls_key="y"), "exclude each other"),
        (Options(tls_certificate="/no/x.pem", tls_key="/no/y.pem"), "cannot be read"),
    ],
)
def test_what_would_be_dangerous_is_refused_at_the_start(
    tmp_path: Path, options: Options, why: str
) -> None:
    app = make_app(tmp_path, tmp_path)
    try:
        with pytest.raises(BadInput, match=why):
            serve.serve(app, options, lambda *_: None)
    finally:
        app.close()


def test_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    app = make_app(tmp_path, tmp_path)
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
                serve.serve(app, Options(port=port), lambda *_: None)
    finally:
        app.close()


async def test_tls_auto_is_trusted_by_our_client_and_by_nobody_else(tmp_path: Path) -> None:
    key = make_key(tmp_path, "developer")
    with program(tmp_path, "--tls-auto") as process:
        url = address(process)
        assert url.startswith("https://localhost:")
        heard: list[Progress] = []
        async with Client(settings(tmp_path, url, key)) as client:
            assert (await client.call("echo", {"text": "hi"}))["said"] == "hi"
            answer = await client.call("slow", {"seconds": 0.2}, heard.append)
            assert answer["said"] == "done"
            assert [news.done for news in heard] == [1, 2, 3, 4, 5]
            assert {t["name"] for t in (await client.get("/api/v2/tools"))["tools"]} >= {"echo"}
        elsewhere = tmp_path / "elsewhere"
        async with Client(settings(elsewhere, url, key)) as client:
            with pytest.raises(Unavailable, match="certificate"):
                await client.call("echo", {"text": "hi"})
        unverified = settings(elsewhere, url, key, **{"mcp.verifySSL": False})
        async with Client(unverified) as client:
            assert (await client.call("echo", {"text": "hi"}))["said"] == "hi"
    folder = tmp_path / "tls"
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    strict = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    first = (folder / "ca.pem").read_bytes()
    with program(tmp_path, "--tls-auto") as process:
        port = int(address(process).rsplit(":", 1)[1])
        for name in ("localhost", "127.0.0.1"):
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                strict.wrap_socket(plain, server_hostname=name) as secure,
            ):
                assert secure.version() == "TLSv1.3"
    assert (folder / "ca.pem").read_bytes() == first, "the authority is made once"


async def test_a_new_authority_of_the_server_is_trusted_by_a_client_that_runs(
    tmp_path: Path,
) -> None:
    """As an operator's, whose server starts again without the volume that its authority was on."""
    mine, homes = tmp_path / "mine", (tmp_path / "before", tmp_path / "after")
    (mine / "tls").mkdir(parents=True)
    for home in homes:
        home.mkdir()
    with program(homes[0], "--tls-auto") as old, program(homes[1], "--tls-auto") as new:
        async with Client(settings(mine, address(old), "plt_unknown")) as client:
            for home, url in zip(homes, (client.url, address(new)), strict=True):
                client.url = url
                with pytest.raises(Unavailable, match="certificate"):
                    await client.get("/api/v2/tools")
                (mine / "tls" / "ca.pem").write_text("half a fi")
                with pytest.raises(Unavailable, match=r"ca\.pem holds no authority"):
                    await client.get("/api/v2/tools")
                (mine / "tls" / "ca.pem").write_bytes((home / "tls" / "ca.pem").read_bytes())
                with pytest.raises(Unauthenticated):
                    await client.get("/api/v2/tools")


async def test_the_client_raises_what_the_server_decided(house: House, tmp_path: Path) -> None:
    url = house.url
    async with Client(settings(tmp_path, url, house.key("viewer"))) as client:
        with pytest.raises(Denied, match="no rule lets"):
            await client.call("echo", {"text": "hi"})
    async with Client(settings(tmp_path, url, "plt_wrong")) as client:
        with pytest.raises(Unauthenticated, match="not known"):
            await client.call("echo", {"text": "hi"})
    async with Client(settings(tmp_path, url, house.key("developer"))) as client:
        with pytest.raises(BadInput, match="echo: text"):
            await client.call("echo", {"text": 5})
        with pytest.raises(Unavailable):
            await client.get("/metrics")
        failed = await client.call("fails", {"how": "answer"})
        assert (failed["success"], failed["checked"]) == (False, 3)
        large = "x" * 300_000
        assert (await client.call("echo", {"text": large}))["said"] == large


async def test_a_server_that_is_not_there_is_said_and_nothing_falls_back(tmp_path: Path) -> None:
    with socket.socket() as kept:  # nobody else takes the port meanwhile, and nobody listens on it
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        asked = settings(tmp_path, f"http://127.0.0.1:{port}", "plt_x")
        async with open_door(asked, roots(tmp_path)) as door:
            with pytest.raises(Unavailable, match=f"127.0.0.1:{port}"):
                await door.call("echo", {"text": "hi"})
    assert not (tmp_path / "pilotage.db").exists()
    with pytest.raises(BadInput, match="https://"):
        Client(settings(tmp_path, "localhost:8080", "plt_x"))


@asynccontextmanager
async def local_door(home: Path) -> AsyncIterator[Door]:
    app = make_app(home, home)
    try:
        yield Door(app, None)
    finally:
        app.close()


async def test_the_door_answers_the_same_here_and_over_the_network(
    house: House, tmp_path: Path
) -> None:
    remote = settings(tmp_path, house.url, house.key("admin"))
    heard: list[list[str]] = []
    answers = []
    async with open_door(remote, roots(tmp_path)) as far, local_door(tmp_path / "here") as near:
        for door in (far, near):
            news: list[str] = []

            def hear(progress: Progress, news: list[str] = news) -> None:
                news.append(progress.message)

            answers.append(await door.call("slow", {"seconds": 0.2}, hear, "key-1"))
            answers[-1] = json.loads(json.dumps(answers[-1]))
            heard.append(news)
            with pytest.raises(BadInput):
                await door.call("echo", {})
            with pytest.raises(Denied):
                await door.call("wreck", {"text": "x"})
        mine, theirs = await near.tools(), await far.tools()
        assert {one["may"] for one in theirs} == {"allow", "ask"}
        assert json.loads(json.dumps(mine)) == theirs
        assert (await far.tool("slow"))["effect"] == (await near.tool("slow"))["effect"]
    assert answers[0] == answers[1]
    assert heard[0] == heard[1] == [f"step {step}" for step in range(1, 6)]


async def test_the_first_signal_lets_calls_end_and_the_program_exits_with_0(
    tmp_path: Path,
) -> None:
    key = make_key(tmp_path, "developer")
    mark = tmp_path / "mark"
    with program(tmp_path) as process:
        url = address(process)
        async with Client(settings(tmp_path, url, key)) as client:
            call = asyncio.create_task(client.call("slow", {"seconds": 1, "mark": str(mark)}))
            await until(mark.exists)
            process.send_signal(signal.SIGTERM)
            assert (await call)["said"] == "done"
        assert await asyncio.to_thread(process.wait, LONG) == 0
    app = make_app(tmp_path, tmp_path)
    try:
        record = app.audit.calls()[0]
        assert (record.tool, record.outcome) == ("slow", "succeeded")
        assert app.checkpoints.last().seq == app.audit.list(limit=1)[0].seq, "sealed at the end"
    finally:
        app.close()


async def refuses_what_is_new(url: str) -> None:
    """Return once the server has heard the first signal: two that come at once are one."""
    async with asyncio.timeout(LONG), aiohttp.ClientSession() as session:
        while True:
            async with session.get(url + "/readyz") as answer:
                if answer.status == 503:
                    return


async def test_the_second_signal_ends_calls_which_clean_up(tmp_path: Path) -> None:
    key = make_key(tmp_path, "developer")
    mark = tmp_path / "mark"
    with program(tmp_path) as process:
        url = address(process)
        async with Client(settings(tmp_path, url, key)) as client:
            call = asyncio.create_task(client.call("slow", {"seconds": 60, "mark": str(mark)}))
            await until(mark.exists)
            process.send_signal(signal.SIGTERM)
            await refuses_what_is_new(url)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(Unavailable):
                await call
        assert await asyncio.to_thread(process.wait, LONG) == 0
    assert mark.read_text("utf-8") == "cleaned up"


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_one_client_is_served_on_stdio_as_who_started_it(tmp_path: Path, mode: str) -> None:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "server.program", "--stdio"],
        env={**os.environ, "PILOTAGE_HOME": str(tmp_path), "PYTHONPATH": str(HERE.parent)},
    )
    heard: list[float] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        heard.append(done)

    async with McpClient(server, mode=mode) as client:  # type: ignore[arg-type]
        answer = await client.call_tool("slow", {"seconds": 0.2}, progress_callback=hear)
        assert answer.is_error is False
        assert heard == [1, 2, 3, 4, 5]
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"echo", "wreck"} <= names, "an admin may ask for what destroys"
    app = make_app(tmp_path, tmp_path)
    try:
        record = app.audit.calls()[0]
        assert record.principal.startswith("local:")
        assert (record.via, record.outcome) == ("mcp", "succeeded")
    finally:
        app.close()


async def test_a_signal_ends_a_server_on_stdio_and_what_it_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    env = {**os.environ, "PILOTAGE_HOME": str(tmp_path), "PYTHONPATH": str(HERE.parent)}
    served = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server.program",
        "--stdio",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=env,
    )
    assert served.stdin is not None
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "slow",
            "arguments": {"seconds": 60, "mark": str(mark)},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "progressToken": "p",
            },
        },
    }
    assert served.stdout is not None
    served.stdin.write(json.dumps(call).encode() + b"\n")
    await served.stdin.drain()
    told = json.loads(await asyncio.wait_for(served.stdout.readline(), LONG))
    assert told["method"] == "notifications/progress"
    served.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(served.wait(), LONG) == 0
    assert mark.read_text("utf-8") == "cleaned up"


def test_call_prints_the_answer_and_says_by_its_exit_how_it_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path, "developer")
    with program(tmp_path) as process:
        monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path))
        monkeypatch.setenv("MCP_SERVER_URL", address(process))
        monkeypatch.setenv("MCP_API_KEY", key)
        assert main.main(["call", "echo", "--arg", "text=hi", "--arg", "times=2"]) == 0
        assert json.loads(capsys.readouterr().out)["said"] == "hi hi"
        assert main.main(["call", "echo", "--json", '{"text": "a=b"}']) == 0
        assert main.main(["call", "fails", "--arg", "how=answer"]) == 1
        assert main.main(["call", "fails", "--arg", "how=unavailable"]) == 3
        assert main.main(["call", "echo"]) == 2
        assert main.main(["call", "nowhere"]) == 2
        assert "there is no tool" in capsys.readouterr().err
