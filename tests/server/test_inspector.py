"""MCP Inspector's command line against our server, in both eras."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

import npm
from pilotage.cli.main import main
from server.conftest import House, running
from server.test_agents import app, pipeline
from server.test_mcp import connected

INSPECTOR = "2.12.0"
__all__ = ["app"]
era = pytest.mark.parametrize("era", ["legacy", "modern"])


@pytest.fixture(scope="session")
def inspector() -> tuple[str, str]:
    folder = npm.installed(f"inspector-{INSPECTOR}", f"@modelcontextprotocol/inspector@{INSPECTOR}")
    programs = folder / "node_modules" / ".bin"
    return str(programs / "node"), str(programs / "mcp-inspector")


@pytest.fixture
async def house(app: Any) -> AsyncIterator[House]:
    async with running(app) as house:
        yield house


async def inspect(inspector: tuple[str, str], *words: str) -> tuple[int | None, Any]:
    """The exit code and what was printed, as JSON."""
    process = await asyncio.create_subprocess_exec(
        *inspector, "--cli", *words, "--format", "json", stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    return process.returncode, json.loads(out or err)


@era
async def test_the_inspector_lists_reads_and_calls_what_we_offer(
    house: House, inspector: tuple[str, str], era: str
) -> None:
    key = house.key("developer", name="dev")
    run = await house.app.runs.start(*pipeline(house, "key:dev"))
    await house.app.runs.wait(run)
    there = (house.url + "/mcp", "--protocol-era", era, "--header", f"Authorization: Bearer {key}")

    async def ask(method: str, *words: str) -> Any:
        code, answer = await inspect(inspector, *there, "--method", method, *words)
        assert code == 0, answer
        return answer["result"]

    tools = await ask("tools/list", "--strict")  # exit 6: a schema that not every client takes
    assert {"security_scanner", "scan_report"} <= {tool["name"] for tool in tools["tools"]}
    given = json.dumps({"source_path": "project", "scan_type": "secret"})
    call = ("--tool-name", "gitleaks", "--tool-args-json", given)
    called = await ask("tools/call", *call)
    assert called["isError"] is False, called
    scan = called["structuredContent"]["scan_id"]
    listed = (await ask("resources/list"))["resources"]
    assert [one["uri"] for one in listed] == [f"pilotage://scans/{scan}", f"pilotage://runs/{run}"]
    assert len((await ask("resources/templates/list"))["resourceTemplates"]) == 4
    page = await ask("resources/read", "--uri", f"pilotage://scans/{scan}/findings")
    assert json.loads(page["contents"][0]["text"])["findings_total"] == 0
    prompts = (await ask("prompts/list"))["prompts"]
    assert "why-did-this-run-fail" in {prompt["name"] for prompt in prompts}
    words = ("--prompt-name", "why-did-this-run-fail", "--prompt-args", f"run={run}")
    messages = (await ask("prompts/get", *words))["messages"]
    assert messages[1]["content"]["resource"]["uri"] == f"pilotage://runs/{run}"


async def test_the_entry_that_mcp_config_prints_connects(
    house: House,
    inspector: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MCP_API_KEY", house.key("developer"))
    assert main(["mcp-config", "claude", "--url", house.url, "--show-key"]) == 0
    file = tmp_path / "mcp.json"
    file.write_text(capsys.readouterr().out)
    there = ("--config", str(file), "--server", "pilotage", "--method", "tools/list")
    code, answer = await inspect(inspector, *there)
    assert code == 0, answer
    assert "security_scanner" in {tool["name"] for tool in answer["result"]["tools"]}


async def test_without_a_key_the_inspector_is_refused(
    house: House, inspector: tuple[str, str]
) -> None:
    code, _ = await inspect(inspector, house.url + "/mcp", "--method", "tools/list")
    assert code not in (0, None)
    async with connected(house, house.key("viewer"), "legacy") as client:
        assert (await client.list_tools()).tools == []
