"""Make, deliver, list and revoke API keys."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import re
import sys
from pathlib import Path

from pilotage import config
from pilotage.app import local_principal
from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.cli import terminal
from pilotage.domain.errors import BadInput
from pilotage.policy import policy
from pilotage.store.database import Database
from pilotage.store.keys import Keys

TOOL_HELP = (
    "call, register, change and approve these tools only; repeatable. What its roles let it read, "
    "and say to runs, is not narrowed"
)
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="create|deliver|list|revoke")
    create = verbs.add_parser("create", help="make a key; its text is shown once")
    deliver = verbs.add_parser(
        "deliver", help="see to it that a Secret of a cluster has a live key"
    )
    roles = "such as developer, ci, operator or admin: see pilotage policy show; repeatable"
    for one in (create, deliver):
        one.add_argument("name", metavar="NAME")
        one.add_argument("--role", action="append", required=True, help=roles)
        one.add_argument("--tool", action="append", default=[], metavar="GLOB", help=TOOL_HELP)
    secret = "[NAMESPACE/]NAME; it is there already, and this verb may get and patch it"
    deliver.add_argument("--secret", required=True, help=secret)
    trust = "deliver the certificate of the local authority too (serve --tls auto)"
    deliver.add_argument("--with-authority", action="store_true", help=trust)
    create.add_argument("--expires", metavar="AGE", help="30m, 12h, 90d or 4w; default: never")
    verbs.add_parser("list", help="keys, without their texts")
    revoke = verbs.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("name", metavar="NAME", help="its name or id")


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    terminal.say_local(settings, "keys")
    database = Database(settings.home / "pilotage.db")
    try:
        audit = AuditLog(database, Checkpoints(settings.home / "audit"))
        keys = Keys(database, audit.note)
        if arguments.verb == "list":
            _list(keys)
            return 0
        if arguments.verb == "revoke":
            keys.revoke(arguments.name, by=local_principal())
            print(f"{arguments.name} is revoked")
        else:
            _check(policy.load(settings.roles_file, settings.rules_file), arguments)
            if arguments.verb == "create":
                _create(keys, arguments)
            else:
                _deliver(keys, arguments, settings.authority)
        audit.seal()
    finally:
        database.close()
    return 0


def _check(rules: policy.Policy, arguments: argparse.Namespace) -> None:
    unknown = sorted(set(arguments.role) - set(rules.roles))
    if unknown:
        raise BadInput(f"there is no role {unknown[0]!r}", "one of " + ", ".join(rules.roles))
    if not re.fullmatch(r"[\w.@/:-]{1,100}", arguments.name):
        raise BadInput("the name of a key has 1 to 100 letters, digits and . _ - @ / :")
    for glob in arguments.tool:
        if not re.fullmatch(r"[\w.*?\[\]-]+", glob):
            raise BadInput(f"--tool {glob!r} is no pattern of tool names", "such as 'k8s_*'")


def _create(keys: Keys, arguments: argparse.Namespace) -> None:
    seconds = _seconds(arguments.expires) if arguments.expires else None
    tools = tuple(arguments.tool) or ("*",)
    roles = tuple(arguments.role)
    key, text = keys.create(arguments.name, roles, tools, seconds, by=local_principal())
    print(text)
    until = "never expires" if key.expires is None else f"expires {_date(key.expires)}"
    print(
        f"key {key.name}: roles {', '.join(key.roles)}; tools {', '.join(key.tools)}; {until}.\n"
        "It is shown this once. Use: Authorization: Bearer <key>, or MCP_API_KEY.",
        file=sys.stderr,
    )


def _deliver(keys: Keys, arguments: argparse.Namespace, authority: Path) -> None:
    from pilotage.cli.delivery import Wanted, deliver

    roles, tools = tuple(arguments.role), tuple(arguments.tool) or ("*",)
    trusted = authority if arguments.with_authority else None
    wanted = Wanted(arguments.name, roles, tools, arguments.secret, trusted)
    print(asyncio.run(deliver(keys, wanted)))


def _seconds(age: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,5})([mhdw])", age)
    if found is None:
        raise BadInput(f"--expires {age!r} is no age", "such as 30m, 12h, 90d, 4w")
    return int(found[1]) * _UNITS[found[2]]


def _list(keys: Keys) -> None:
    rows = [("NAME", "ROLES", "TOOLS", "CREATED", "EXPIRES", "STATE")]
    now = datetime.datetime.now(datetime.UTC).timestamp()
    for key in keys.list():
        expired = key.expires is not None and key.expires <= now
        state = "revoked" if key.revoked is not None else "expired" if expired else "live"
        expires = _date(key.expires) if key.expires is not None else "never"
        roles, tools = ",".join(key.roles), ",".join(key.tools)
        rows.append((key.name, roles, tools, _date(key.created), expires, state))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def _date(seconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M")
