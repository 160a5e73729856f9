"""Keep, list and remove the secrets that tools send to other servers."""

from __future__ import annotations

import argparse
import getpass
import sys

from pilotage import config
from pilotage.domain.errors import BadInput
from pilotage.tool.redact import Redactor
from pilotage.upstream.secrets import Secrets


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", required=True, metavar="list|set|remove")
    verbs.add_parser("list", help="their names and hosts, without the values")
    keep = verbs.add_parser("set", help="keep one; its value is read from standard input")
    keep.add_argument("name", metavar="NAME", help="such as TRACKER_TOKEN")
    host = (
        "it may be sent to this host (port 443, or 80 of plain http), host:port, host:* (every "
        "port), *.domain, or stdio:UPSTREAM; repeatable"
    )
    keep.add_argument("--host", action="append", required=True, metavar="HOST", help=host)
    remove = verbs.add_parser("remove", help="forget one")
    remove.add_argument("name", metavar="NAME")


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    if settings.text("mcp.serverUrl"):
        raise BadInput(
            "mcp.serverUrl is set, and a secret is kept where the server runs",
            "on the server's machine: MCP_SERVER_URL= pilotage secrets ...",
        )
    secrets = Secrets(settings.home / "secrets.yaml", Redactor())
    if arguments.what == "list":
        for one in secrets.list():
            print(f"{one.name}  {', '.join(one.hosts) or 'for no host'}  {one.home}")
    elif arguments.what == "set":
        secrets.set(arguments.name, _value(arguments.name), arguments.host)
        print(f"{arguments.name} may go to {', '.join(sorted(set(arguments.host)))}")
    else:
        secrets.remove(arguments.name)
        print(f"{arguments.name} is removed")
    return 0


def _value(name: str) -> str:
    """From a terminal without an echo, or the first line of what is piped in: never an argument,
    which other users of the machine can see."""
    if sys.stdin.isatty():
        return getpass.getpass(f"{name}: ")
    return sys.stdin.readline().rstrip("\r\n")
