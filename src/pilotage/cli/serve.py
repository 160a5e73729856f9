"""Serve tools over HTTP (MCP on /mcp, REST on /api/v2) or, with --stdio, to one MCP client."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotage import config, log
from pilotage.app import App
from pilotage.domain.errors import BadInput
from pilotage.domain.text import counted
from pilotage.tool.roots import roots

if TYPE_CHECKING:
    from pilotage.server.tls import Files


_FLAGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--host", {"default": "127.0.0.1", "help": "listen on (default: %(default)s)"}),
    ("--port", {"type": int, "default": 8080, "help": "0: a free one (default: %(default)s)"}),
    ("--tls", {"choices": ("auto",), "help": "auto: by a local authority, made here"}),
    ("--tls-cert", {"default": "", "metavar": "FILE", "help": "PEM certificate (chain)"}),
    ("--tls-key", {"default": "", "metavar": "FILE", "help": "PEM key of --tls-cert"}),
)
_REPEATABLE = (
    ("--root", "DIR", "tools may read and write in it; repeatable (default: the working folder)"),
    ("--name", "HOST", "one more name under which clients reach this server; repeatable"),
)
_SWITCHES = (
    ("--stdio", "serve one MCP client on standard input and output"),
    ("--insecure-local", "no key needed on loopback: who reaches it has the role developer"),
    ("--dangerously-serve-plain-http", "a network without TLS: keys cross it readable by all"),
)


def register(parser: argparse.ArgumentParser) -> None:
    for flag, more in _FLAGS:
        parser.add_argument(flag, **more)
    for flag, metavar, text in _REPEATABLE:
        parser.add_argument(flag, action="append", default=[], metavar=metavar, help=text)
    for flag, text in _SWITCHES:
        parser.add_argument(flag, action="store_true", help=text)


def run(arguments: argparse.Namespace) -> int:
    for folder in arguments.root:
        if not Path(folder).is_dir():
            raise BadInput(f"--root {folder} is no folder")
    settings = config.read(file=arguments.settings)
    kept = log.install(settings)
    app = App(settings, roots(*arguments.root))
    kept.clean = app.redactor.text
    try:
        _serve(app, arguments)
    finally:
        app.close()
    return 0


def _serve(app: App, arguments: argparse.Namespace) -> None:
    from pilotage.server import serve

    if arguments.stdio:
        serve.serve_stdio(app)
        return
    options = serve.Options(
        host=arguments.host,
        port=arguments.port,
        names=tuple(name.lower() for name in arguments.name),
        tls_auto=arguments.tls == "auto",
        tls_certificate=arguments.tls_cert,
        tls_key=arguments.tls_key,
        insecure_local=arguments.insecure_local,
        plain=arguments.dangerously_serve_plain_http,
    )
    serve.serve(app, options, lambda address, files: _announce(app, arguments, address, files))


def _announce(app: App, arguments: argparse.Namespace, address: str, files: Files | None) -> None:
    """What somebody who started the server wants to know next."""
    lines = [
        f"pilotage serves {counted(len(app.registry.tools()), 'tool')}",
        f"  MCP    {address}/mcp",
        f"  REST   {address}/api/v2/tools/call/{{tool}}",
        f"  roots  {', '.join(map(str, app.roots.folders))}",
        f"  state  {app.settings.home}",
    ]
    if files is not None and arguments.tls == "auto":
        lines.append(f"  trust  {app.settings.authority}   (for other clients)")
    if arguments.insecure_local:
        lines.append("  keys   none needed: whoever reaches this port acts as a developer")
    else:
        lines.append("  keys   pilotage keys create NAME --role developer")
    if arguments.dangerously_serve_plain_http:
        lines.append("  DANGER without TLS, keys cross the network readable by all")
    print("\n".join(lines), flush=True)
