"""Print the entry that connects an MCP client (Claude, Cursor, VS Code, ...) to Pilotage."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pilotage import config
from pilotage.domain.errors import BadInput

Entry = dict[str, Any]
KEY_VARIABLE = "MCP_API_KEY"
PLACEHOLDER = "PUT-THE-API-KEY-HERE"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the entry has to say. `url` is the address of /mcp, `bearer` the value of the header
    Authorization where it is written out, `variable` the one that holds the key."""

    name: str
    url: str
    variable: str
    bearer: str | None
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None

    def header(self, reference: str) -> Entry:
        """The header, with the client's own way to name a variable unless it is written out."""
        return {"Authorization": self.bearer or f"Bearer {reference}"}


@dataclass(frozen=True, slots=True)
class ClientKind:
    """How one client is configured. `http` makes its entry for a server, `stdio` the one with a
    program; both are whole files, to be joined with what is there. `key` says where the key comes
    from; {variable} is filled in."""

    title: str
    file: str
    http: Callable[[Wanted], Entry]
    stdio: Callable[[Wanted], Entry]
    key: str = "set {variable} in the environment in which {title} starts"
    toml: bool = False


def _servers(wanted: Wanted, entry: Entry) -> Entry:
    return {"mcpServers": {wanted.name: entry}}


def _program(wanted: Wanted, **more: Any) -> Entry:
    entry: Entry = {**more, "command": wanted.command[0], "args": list(wanted.command[1:])}
    if wanted.environment:
        entry["env"] = dict(wanted.environment)
    return entry


def _claude(wanted: Wanted) -> Entry:
    header = wanted.header(f"${{{wanted.variable}}}")
    return _servers(wanted, {"type": "http", "url": wanted.url, "headers": header})


def _claude_desktop(wanted: Wanted) -> Entry:
    """Its file knows programs only; mcp-remote is one that speaks to a server. A space within an
    argument is lost on Windows, so the header's value comes from the entry's environment."""
    remote = ["-y", "mcp-remote", wanted.url, "--transport", "http-only"]
    value = wanted.bearer or f"Bearer {PLACEHOLDER}"
    return _servers(
        wanted,
        {
            "command": "npx",
            "args": [*remote, "--header", "Authorization:${AUTHORIZATION}"],
            "env": {"AUTHORIZATION": value},
        },
    )


def _cursor(wanted: Wanted) -> Entry:
    header = wanted.header(f"${{env:{wanted.variable}}}")
    return _servers(wanted, {"url": wanted.url, "headers": header})


def _vscode(wanted: Wanted) -> Entry:
    server = {"type": "http", "url": wanted.url, "headers": wanted.header("${input:pilotage-key}")}
    made: Entry = {"servers": {wanted.name: server}}
    if wanted.bearer is None:
        asked = {
            "type": "promptString",
            "id": "pilotage-key",
            "description": "API key of Pilotage",
            "password": True,
        }
        made = {"inputs": [asked], **made}
    return made


def _windsurf(wanted: Wanted) -> Entry:
    header = wanted.header(f"${{env:{wanted.variable}}}")
    return _servers(wanted, {"serverUrl": wanted.url, "headers": header})


def _gemini(wanted: Wanted) -> Entry:
    header = wanted.header(f"${{{wanted.variable}}}")
    return _servers(wanted, {"httpUrl": wanted.url, "headers": header})


def _codex(wanted: Wanted) -> Entry:
    entry: Entry = {"url": wanted.url, "bearer_token_env_var": wanted.variable}
    if wanted.bearer is not None:
        entry = {"url": wanted.url, "http_headers": {"Authorization": wanted.bearer}}
    return {"mcp_servers": {wanted.name: entry}}


def _opencode(wanted: Wanted) -> Entry:
    header = wanted.header(f"{{env:{wanted.variable}}}")
    server = {"type": "remote", "url": wanted.url, "enabled": True, "headers": header}
    return {"mcp": {wanted.name: server}}


def _opencode_program(wanted: Wanted) -> Entry:
    entry: Entry = {"type": "local", "command": list(wanted.command), "enabled": True}
    if wanted.environment:
        entry["environment"] = dict(wanted.environment)
    return {"mcp": {wanted.name: entry}}


def _plain(wanted: Wanted) -> Entry:
    return _servers(wanted, _program(wanted))


def _typed(wanted: Wanted) -> Entry:
    return _servers(wanted, _program(wanted, type="stdio"))


CLIENTS: Mapping[str, ClientKind] = {
    "claude": ClientKind(
        "Claude Code",
        ".mcp.json of the project (or: claude mcp add-json NAME 'ENTRY')",
        _claude,
        _typed,
    ),
    "claude-desktop": ClientKind(
        "Claude Desktop",
        "claude_desktop_config.json (Settings, Developer, Edit Config)",
        _claude_desktop,
        _plain,
        "{title} reads no variables: put the key in the place of " + PLACEHOLDER,
    ),
    "cursor": ClientKind(
        "Cursor", ".cursor/mcp.json of the project, or ~/.cursor/mcp.json", _cursor, _typed
    ),
    "vscode": ClientKind(
        "VS Code",
        ".vscode/mcp.json of the workspace (or: MCP: Open User Configuration)",
        _vscode,
        lambda wanted: {"servers": {wanted.name: _program(wanted, type="stdio")}},
        "{title} asks for the key once, and keeps it",
    ),
    "windsurf": ClientKind("Windsurf", "~/.codeium/windsurf/mcp_config.json", _windsurf, _plain),
    "gemini": ClientKind(
        "Gemini CLI", ".gemini/settings.json of the project, or ~/.gemini/settings.json",
        _gemini, _plain,
    ),
    "codex": ClientKind(
        "Codex",
        "~/.codex/config.toml",
        _codex,
        lambda wanted: {"mcp_servers": {wanted.name: _program(wanted)}},
        toml=True,
    ),
    "opencode": ClientKind(
        "opencode",
        "opencode.json of the project, or ~/.config/opencode/opencode.json",
        _opencode,
        _opencode_program,
    ),
}  # fmt: skip


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", choices=tuple(CLIENTS), help="who is to be connected")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--url", default="", help="of the server (default: mcp.serverUrl)")
    how.add_argument("--stdio", action="store_true", help="start Pilotage there, without a server")
    parser.add_argument("--name", default="pilotage", help="of the entry (default: %(default)s)")
    parser.add_argument(
        "--key-variable",
        default=KEY_VARIABLE,
        metavar="NAME",
        help="the environment variable that holds the API key (default: %(default)s)",
    )
    parser.add_argument(
        "--show-key", action="store_true", help="write the key of mcp.apiKey into the entry"
    )
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="DIR",
        help="with --stdio: tools may read and write in it; repeatable (default: this folder)",
    )


def run(arguments: argparse.Namespace) -> int:
    """The entry goes to standard output, where it belongs to standard error; no file is written."""
    settings = config.read(file=arguments.settings)
    kind = CLIENTS[arguments.client]
    wanted = _wanted(arguments, settings)
    entry = kind.stdio(wanted) if arguments.stdio else kind.http(wanted)
    print(_toml(entry) if kind.toml else json.dumps(entry, indent=2, ensure_ascii=False))
    for note in _notes(kind, wanted, arguments, settings):
        print(note, file=sys.stderr)
    return 0


def _wanted(arguments: argparse.Namespace, settings: config.Settings) -> Wanted:
    if not _NAME.fullmatch(arguments.name):
        raise BadInput(
            f"--name {arguments.name!r} is no name of an entry", "letters, digits, - and _"
        )
    if not _VARIABLE.fullmatch(arguments.key_variable):
        raise BadInput(f"--key-variable {arguments.key_variable!r} is no name of a variable")
    if arguments.stdio:
        return Wanted(arguments.name, "", "", None, _command(arguments.root), _home())
    key = settings.text("mcp.apiKey")
    if arguments.show_key and not key:
        raise BadInput("there is no key to show", "mcp.apiKey, or MCP_API_KEY")
    bearer = f"Bearer {key}" if arguments.show_key else None
    return Wanted(arguments.name, _address(arguments, settings), arguments.key_variable, bearer)


def _address(arguments: argparse.Namespace, settings: config.Settings) -> str:
    """Of /mcp at the server. A user or password in it would be a secret in a file."""
    given = arguments.url or settings.text("mcp.serverUrl")
    if not given:
        raise BadInput(
            "no server is named", "--url https://HOST:PORT, mcp.serverUrl, or --stdio without one"
        )
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise BadInput(f"{given!r} is no address of a server", "http(s)://HOST:PORT")
    if parts.username is not None:
        raise BadInput("the address holds a user", "keys go into the header Authorization")
    return given.rstrip("/").removesuffix("/mcp") + "/mcp"


def _command(roots: list[str]) -> tuple[str, ...]:
    """A client that is no shell finds no program by its name alone."""
    script = Path(sys.executable).with_name("pilotage")
    found = str(script) if script.exists() else shutil.which("pilotage")
    program = (found,) if found else (sys.executable, "-m", "pilotage.cli.main")
    folders = [str(Path(root).absolute()) for root in roots] or [str(Path.cwd())]
    given = [word for folder in folders for word in ("--root", folder)]
    return (*program, "serve", "--stdio", *given)


def _home() -> Mapping[str, str]:
    home = os.environ.get("PILOTAGE_HOME")
    return {"PILOTAGE_HOME": str(Path(home).absolute())} if home else {}


def _notes(
    kind: ClientKind, wanted: Wanted, arguments: argparse.Namespace, settings: config.Settings
) -> list[str]:
    notes = [f"goes into: {kind.file}"]
    if not arguments.stdio and wanted.bearer is None:
        key = kind.key.format(title=kind.title, variable=wanted.variable)
        notes.append(f"key:       {key} (pilotage keys create NAME --role developer)")
    if wanted.bearer is not None:
        notes.append("DANGER     the entry holds the key: keep the file out of version control")
    if wanted.url.startswith("https://") and settings.authority.exists():
        notes.append(f"trust:     for serve --tls auto, NODE_EXTRA_CA_CERTS={settings.authority}")
    return notes


def _toml(entry: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Tables of texts, lists of texts and tables: all that an entry needs. JSON's texts are TOML's,
    too, but for a DEL, which no value here can hold."""
    plain = {k: v for k, v in entry.items() if not isinstance(v, Mapping)}
    lines = [f"[{'.'.join(path)}]"] if plain else []
    lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items()]
    parts = ["\n".join(lines)] if lines else []
    parts += [_toml(v, (*path, k)) for k, v in entry.items() if isinstance(v, Mapping)]
    return "\n\n".join(parts)
