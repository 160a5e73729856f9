"""`pilotage tools` and `pilotage secrets`: the same on the local state and at a server."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pilotage.cli.main import main
from server.conftest import House, running
from server.test_registration import app_at
from upstream.echo import Echo, echoing

Run = Callable[..., "asyncio.Future[tuple[int, str, str]]"]
FILE = """
kind: http
definition:
  method: GET
  url: {url}/tickets/{{id}}
  summary: One ticket
  input_schema:
    type: object
    properties: {{id: {{type: integer}}}}
    required: [id]
"""


@pytest.fixture(params=["here", "server"])
async def house(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House | None]:
    """Where the command line works: a running server, or None, the state folder."""
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path / "cli"))
    monkeypatch.setenv("PILOTAGE_EGRESS_ALLOW", "127.0.0.1")
    monkeypatch.delenv("MCP_SERVER_URL", raising=False)
    if request.param == "here":
        yield None
        return
    app = app_at(tmp_path / "home")
    try:
        async with running(app) as opened:
            monkeypatch.setenv("MCP_SERVER_URL", opened.url)
            monkeypatch.setenv("MCP_API_KEY", opened.key("admin"))
            yield opened
    finally:
        app.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    async with echoing() as opened:
        yield opened


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    async def do(*words: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return lambda *words: asyncio.ensure_future(do(*words))


async def test_the_whole_life_of_a_tool(
    house: House | None, echo: Echo, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "ticket.yaml"
    file.write_text(FILE.format(url=echo.url))
    code, first, err = await run("tools", "put", "ticket", str(file))
    assert (code, err) == (0, "")
    assert first.startswith("ticket is ready\ntool_id ")
    assert (await run("tools", "put", "ticket", str(file))) == (0, first, "")
    code, out, err = await run("call", "ticket", "--arg", "id=7")
    assert (code, json.loads(out)["result"]["target"]) == (0, "/tickets/7"), err
    code, out, _ = await run("tools", "list", "--owner", "key:k0" if house else local())
    assert out.split()[:4] == ["ticket", "read", "One", "ticket"]
    assert len(out.splitlines()) == 1
    assert await run("tools", "disable", "ticket") == (0, "ticket is disabled\n", "")
    code, out, err = await run("call", "ticket", "--arg", "id=7")
    assert (code, out) == (2, "")
    assert "hint:  pilotage tools enable ticket" in err
    code, out, _ = await run("tools", "show", "ticket", "--json")
    shown = json.loads(out)
    assert (shown["state"], shown["definition"]["method"]) == ("disabled", "GET")
    code, out, _ = await run("tools", "show", "ticket")
    said = f"it was disabled by {'key:k0' if house else local()}"
    assert out.startswith(f"ticket: disabled, {said}\nread, at most 30 s a call\nhttp, ")
    code, out, _ = await run("tools", "list", "--json")
    assert [one["state"] for one in json.loads(out) if one["name"] == "ticket"] == ["disabled"]
    code, _, err = await run("tools", "enable", "ticket", "--if-match", "stale")
    assert code == 2
    assert "error: ticket has the etag" in err
    enabled = await run("tools", "enable", "ticket", "--if-match", shown["etag"])
    assert enabled == (0, "ticket is enabled\n", "")
    assert (await run("tools", "remove", "ticket", "--owner", "somebody"))[0] == 2
    assert await run("tools", "remove", "ticket") == (0, "ticket is removed\n", "")
    code, _, err = await run("tools", "remove", "ticket")
    assert code == 2
    assert "error: nothing is registered as 'ticket'" in err


def local() -> str:
    from pilotage.app import local_principal

    return local_principal().name


async def test_a_tool_from_flags(house: House | None, echo: Echo, run: Run) -> None:
    url = echo.url + "/t/{id}?state={state}"
    words = ("tools", "put", "ticket", "--url", url, "--summary", "One ticket")
    assert (await run(*words))[0] == 0
    _, out, _ = await run("call", "ticket", "--arg", 'id="a b"')
    assert json.loads(out)["result"]["target"] == "/t/a%20b"
    assert (await run(*words, "--owner", "team"))[0] == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "name one of FILE, --builtin and --url"),
        (("--url", "https://a.example", "--builtin", "x"), "name one of FILE"),
        (("--url", "ftp://a.example"), "no URL template"),
        (("--url", "https://10.0.0.1/"), "10.0.0.1 may not be called: private"),
        (("--url", "https://a.example", "--secret", "Authorization"), "--secret is HEADER=NAME"),
        (("--url", "https://a.example", "--secret", "Host=A_B"), "the header 'Host' cannot be set"),
        (("--builtin", "nothing"), "there is no built-in tool 'nothing'"),
    ],
)
async def test_what_is_wrong_is_said(
    house: House | None, run: Run, words: tuple[str, ...], why: str
) -> None:
    code, out, err = await run("tools", "put", "t", *words)
    assert (code, out) == (2, "")
    assert why in err


async def test_secrets_are_kept_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run
) -> None:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path))
    monkeypatch.delenv("MCP_SERVER_URL", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("hunter2-hunter2\n"))
    code, out, _ = await run("secrets", "set", "TRACKER", "--host", "a.example")
    assert (code, out) == (0, "TRACKER may go to a.example\n")
    code, out, _ = await run("secrets", "list")
    assert out == f"TRACKER  a.example  {tmp_path / 'secrets.yaml'}\n"
    assert await run("secrets", "remove", "TRACKER") == (0, "TRACKER is removed\n", "")
    assert (await run("secrets", "remove", "TRACKER"))[0] == 2
    monkeypatch.setenv("MCP_SERVER_URL", "http://localhost:1")
    assert (await run("secrets", "list"))[0] == 2


async def test_a_pipeline_is_linted_against_what_is_registered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("PILOTAGE_HOME", str(home))
    monkeypatch.delenv("MCP_SERVER_URL", raising=False)
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text("name: p\nsteps:\n  - name: one\n    tool: ticket\n    params: {ud: 1}\n")
    _, before, _ = await run("lint", str(pipeline))
    assert "ticket" in before
    assert not home.exists()
    url = "https://a.example/{id}"
    assert (await run("tools", "put", "ticket", "--url", url))[0] == 0
    rows = (home / "pilotage.db").read_bytes()
    code, after, _ = await run("lint", str(pipeline))
    assert code == 2
    assert "ticket: unknown argument 'ud'" in after
    assert (home / "pilotage.db").read_bytes() == rows
    await run("tools", "disable", "ticket")
    assert (await run("lint", str(pipeline)))[1] == before
