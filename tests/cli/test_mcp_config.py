"""`pilotage mcp-config`: each client's own words, no key in it, and an entry that works."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from pilotage.cli.main import main
from pilotage.cli.mcp_config import CLIENTS

KEY = "plt_" + "k" * 43
URL = "https://pilotage.example:8080"
HTTP: dict[str, Any] = {
    "claude": {
        "mcpServers": {
            "pilotage": {
                "type": "http",
                "url": URL + "/mcp",
                "headers": {"Authorization": "Bearer ${MCP_API_KEY}"},
            }
        }
    },
    "claude-desktop": {
        "mcpServers": {
            "pilotage": {
                "command": "npx",
                "args": [
                    *("-y", "mcp-remote", URL + "/mcp", "--transport", "http-only"),
                    *("--header", "Authorization:${AUTHORIZATION}"),
                ],
                "env": {"AUTHORIZATION": "Bearer PUT-THE-API-KEY-HERE"},
            }
        }
    },
    "cursor": {
        "mcpServers": {
            "pilotage": {
                "url": URL + "/mcp",
                "headers": {"Authorization": "Bearer ${env:MCP_API_KEY}"},
            }
        }
    },
    "vscode": {
        "inputs": [
            {
                "type": "promptString",
                "id": "pilotage-key",
                "description": "API key of Pilotage",
                "password": True,
            }
        ],
        "servers": {
            "pilotage": {
                "type": "http",
                "url": URL + "/mcp",
                "headers": {"Authorization": "Bearer ${input:pilotage-key}"},
            }
        },
    },
    "windsurf": {
        "mcpServers": {
            "pilotage": {
                "serverUrl": URL + "/mcp",
                "headers": {"Authorization": "Bearer ${env:MCP_API_KEY}"},
            }
        }
    },
    "gemini": {
        "mcpServers": {
            "pilotage": {
                "httpUrl": URL + "/mcp",
                "headers": {"Authorization": "Bearer ${MCP_API_KEY}"},
            }
        }
    },
    "codex": {
        "mcp_servers": {
            "pilotage": {"url": URL + "/mcp", "bearer_token_env_var": "MCP_API_KEY"},
        }
    },
    "opencode": {
        "mcp": {
            "pilotage": {
                "type": "remote",
                "url": URL + "/mcp",
                "enabled": True,
                "headers": {"Authorization": "Bearer {env:MCP_API_KEY}"},
            }
        }
    },
}
"""As the clients' own documents have it."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MCP_API_KEY", KEY)
    monkeypatch.delenv("MCP_SERVER_URL", raising=False)


def entry(client: str, printed: str) -> Any:
    return tomllib.loads(printed) if CLIENTS[client].toml else json.loads(printed)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_entry_for_a_server_is_in_the_clients_words_and_holds_no_key(
    client: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mcp-config", client, "--url", URL]) == 0
    printed = capsys.readouterr()
    assert entry(client, printed.out) == HTTP[client]
    assert KEY not in printed.out + printed.err
    assert "goes into: " in printed.err


@pytest.mark.parametrize("client", CLIENTS)
def test_a_key_is_shown_only_when_it_is_asked_for(
    client: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["mcp-config", client, "--url", URL + "/mcp/", "--show-key"]) == 0
    printed = capsys.readouterr()
    assert f"Bearer {KEY}" in printed.out
    assert URL + "/mcp" in printed.out
    assert "/mcp/mcp" not in printed.out
    assert "DANGER" in printed.err
    monkeypatch.delenv("MCP_API_KEY")
    assert main(["mcp-config", client, "--url", URL, "--show-key"]) == 2
    assert "there is no key to show" in capsys.readouterr().err


@pytest.mark.parametrize("client", CLIENTS)
def test_the_entry_with_a_program_names_it_whole_with_its_root_and_its_state(
    client: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["mcp-config", client, "--stdio", "--root", str(tmp_path), "--name", "gate"]) == 0
    printed = capsys.readouterr()
    (servers,) = entry(client, printed.out).values()
    server = servers["gate"]
    command = server["command"]
    words = command if isinstance(command, list) else [command, *server["args"]]
    assert Path(words[0]).is_absolute()
    assert words[1:] == ["serve", "--stdio", "--root", str(tmp_path)]
    environment = server.get("env") or server["environment"]
    assert environment == {"PILOTAGE_HOME": str(tmp_path / "home")}
    assert KEY not in printed.out + printed.err


async def test_the_entry_with_a_program_starts_a_server_that_answers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["mcp-config", "cursor", "--stdio", "--root", str(tmp_path)]) == 0
    server = json.loads(capsys.readouterr().out)["mcpServers"]["pilotage"]
    parameters = StdioServerParameters(
        command=server["command"], args=server["args"], env=server["env"]
    )
    async with Client(parameters, mode="legacy") as client:
        assert "security_scanner" in {tool.name for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no server is named"),
        (["--url", "pilotage:8080"], "is no address of a server"),
        (["--url", "https://u:p@host"], "the address holds a user"),
        (["--url", URL, "--name", "a b"], "is no name of an entry"),
        (["--url", URL, "--key-variable", "A-B"], "is no name of a variable"),
    ],
)
def test_what_makes_no_entry_is_refused(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mcp-config", "claude", *words]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.out == ""


def test_another_variable_and_the_server_of_the_settings_are_taken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_SERVER_URL", URL)
    assert main(["mcp-config", "codex", "--key-variable", "GATE_KEY"]) == 0
    assert tomllib.loads(capsys.readouterr().out) == {
        "mcp_servers": {"pilotage": {"url": URL + "/mcp", "bearer_token_env_var": "GATE_KEY"}}
    }
