"""Trust packages of tools, byte for byte: without that, none is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pilotage import config
from pilotage.app import local_principal
from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.domain.text import visible
from pilotage.store.database import Database
from pilotage.tool.plugins import Plugins


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|trust|distrust")
    verbs.add_parser("list", help="those that are installed here; exit 1 where a named one is held")
    trust = verbs.add_parser("trust", help="load it as it is installed now, and no other way")
    trust.add_argument("name", metavar="NAME", help="a package, or an entry point of it")
    key = "only if this ed25519 key (base64) has signed it"
    trust.add_argument("--publisher", default="", metavar="KEY", help=key)
    distrust = verbs.add_parser("distrust", help="load it no more")
    distrust.add_argument("name", metavar="NAME")


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    database = Database(settings.home / "pilotage.db")
    try:
        audit = AuditLog(database, Checkpoints(settings.home / "audit"))
        publishers = settings.words("trusted_publishers")
        plugins = Plugins(database, audit.note, settings.home, publishers)
        if arguments.verb == "list":
            return _list(plugins, settings.words("plugins"))
        if arguments.verb == "trust":
            one = plugins.trust(arguments.name, local_principal(), arguments.publisher)
            signed = f"signed by {one.publisher}" if one.publisher else "no signature was checked"
            print(visible(f"{one.name} {one.version} is trusted: {len(one.files)} files, {signed}"))
        else:
            plugins.distrust(arguments.name, local_principal())
            print(visible(f"{arguments.name} is trusted no more; a server that runs has it still"))
        audit.seal()
    finally:
        database.close()
    return 0


def _list(plugins: Plugins, named: Sequence[str]) -> int:
    held = False
    for name, version, why in plugins.standings():
        held = held or (bool(why) and name in named)
        on = "on " if name in named else "off"
        print(visible(f"{on}  {name} {version}  {why or 'is trusted'}"))
    return 1 if held else 0
