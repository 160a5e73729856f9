"""List the audit log, or verify that nobody has changed it."""

from __future__ import annotations

import argparse
import datetime
import sys

import msgspec

from pilotage import config
from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.audit.verify import verify
from pilotage.cli import terminal
from pilotage.domain.audit import AuditEntry
from pilotage.domain.text import counted
from pilotage.store.database import Database

EVENTS = (
    *("call", "open", "close", "refused", "approved", "rejected", "resumed", "stopping"),
    *("run.created", "key.created", "key.renewed", "key.revoked"),
    *("policy.changed", "policy.broken"),
    *("tool.registered", "tool.changed", "tool.removed", "tool.enabled", "tool.disabled"),
    *("tool.quarantined", "tool.approved", "tool.rejected", "tool.restored"),
    *("approval.asked", "approval.approved", "approval.rejected", "approval.used"),
    *("approval.refused", "approval.expired", "approval.stale", "secret.kept", "secret.removed"),
)


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|verify")
    listing = verbs.add_parser("list", help="the newest entries")
    listing.add_argument("--limit", type=terminal.rows, default=50, help="default: %(default)s")
    listing.add_argument("--before", type=int, metavar="SEQ", help="only rows before this number")
    listing.add_argument("--tool", help="of one tool only")
    listing.add_argument("--event", metavar="EVENT", choices=EVENTS, help=", ".join(EVENTS))
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    verbs.add_parser("verify", help="walk the chain; exit 1 where it is broken")


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    terminal.say_local(settings, "audit")
    database = Database(settings.home / "pilotage.db")
    try:
        checkpoints = Checkpoints(settings.home / "audit")
        if arguments.verb == "verify":
            return _verify(database, checkpoints)
        entries = AuditLog(database, checkpoints).list(
            limit=arguments.limit,
            before=arguments.before,
            tool=arguments.tool,
            event=arguments.event,
        )
    finally:
        database.close()
    for entry in reversed(entries):
        print(msgspec.json.encode(entry).decode() if arguments.json else _line(entry))
    return 0


def _verify(database: Database, checkpoints: Checkpoints) -> int:
    said = verify(database, checkpoints)
    if said.bad_seq is not None:
        print(f"BROKEN at row {said.bad_seq}: {said.why}", file=sys.stderr)
        print(f"rows before it that hold: {said.rows}", file=sys.stderr)
        return 1
    print(f"{counted(said.rows, 'row')}: {said.why}")
    loose = said.rows - 1 - said.protected_to
    if loose:
        rows = counted(loose, "row")
        print(f"not under a signed checkpoint yet: the last {rows}; a cut there would not show")
    return 0


def _line(entry: AuditEntry) -> str:
    """One entry on one line, without anything that a terminal could take as a command."""
    moment = datetime.datetime.fromtimestamp(entry.at / 1e6, datetime.UTC)
    body = msgspec.json.encode(entry.body).decode()
    text = (
        f"{entry.seq:>7} {moment:%Y-%m-%d %H:%M:%S.%f} {entry.event:<11} {entry.call} "
        f"{entry.principal} {entry.tool or '-'} {body}"
    )
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
