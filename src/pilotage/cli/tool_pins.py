"""`pilotage tools diff|approve|reject`: what a tool of another owner has become, and yes or no.

With `--server`, all that is held back of one server.

At the server of mcp.serverUrl; where that is empty, in the state folder of here, from which a
server that runs on it learns within a second.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from pilotage.app import local_principal
from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.config import Settings
from pilotage.domain.errors import BadInput, Conflict
from pilotage.domain.text import visible
from pilotage.store.database import Database
from pilotage.tool.pin import Held, Pin, Pins

if TYPE_CHECKING:
    from pilotage.ci.client import Client

VERBS = ("diff", "approve", "reject")


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the three verbs to those of `pilotage tools`."""
    helps = (
        "how it differs from what was approved; exit 1 while it is held back",
        "say that it is right as it is now",
        "say that it is not: it stays quarantined",
    )
    for name, help_ in zip(VERBS, helps, strict=True):
        verb = verbs.add_parser(name, help=help_)
        if name == "reject":
            verb.add_argument("name", metavar="NAME", help="the tool's name")
        else:
            verb.add_argument("name", metavar="NAME", nargs="?", help="the tool's name")
            server = "all that is held back of this server and nobody has rejected, instead of NAME"
            verb.add_argument("--server", metavar="NAME", help=server)
        if name != "diff":
            digest = "the `seen` of the diff that you looked at; a terminal asks instead"
            if name == "approve":
                digest = "the `seen` or `together` of the diff you looked at; a terminal asks"
            verb.add_argument("--digest", metavar="SHA", help=digest)
            verb.add_argument("--reason", default="", metavar="TEXT", help="kept in the audit")


def run(arguments: argparse.Namespace, settings: Settings, verb: str) -> int:
    """Do one of `VERBS`; the exit code."""
    server = None if verb == "reject" else arguments.server
    if (arguments.name is None) == (server is None):
        raise BadInput("name either a tool or a --server", f"pilotage tools {verb} --help")
    if settings.text("mcp.serverUrl"):
        return asyncio.run(_there(arguments, settings, verb))
    database = Database(settings.home / "pilotage.db")
    try:
        audit = AuditLog(database, Checkpoints(settings.home / "audit"))
        pins = Pins(database, audit.note)
        if server is not None:
            return _all_here(arguments, verb, pins, audit)
        pin = pins.look(arguments.name)
        if verb == "diff":
            return _show(pin)
        digest = _digest(arguments, verb, pin)
        act = pins.approve if verb == "approve" else pins.reject
        act(arguments.name, digest, local_principal(), arguments.reason)
        audit.seal()
    finally:
        database.close()
    return _done(pin, verb, digest)


def _all_here(arguments: argparse.Namespace, verb: str, pins: Pins, audit: AuditLog) -> int:
    held = pins.held(arguments.server)
    if verb == "diff":
        return _show_all(held)
    digest = _digest_of_all(arguments, held)
    found = pins.approve_all(arguments.server, digest, local_principal(), arguments.reason)
    audit.seal()
    return _all_done(found)


async def _all_there(arguments: argparse.Namespace, client: Client, verb: str) -> int:
    path = f"/api/v2/pins/{quote(arguments.server, safe='')}"
    held = msgspec.convert(await client.get(path), Held)
    if verb == "diff":
        return _show_all(held)
    body = {"digest": _digest_of_all(arguments, held), "reason": arguments.reason}
    found = await client.post(f"{path}/approve", body)
    return _all_done(msgspec.convert(found["pins"], list[Pin]))


async def _there(arguments: argparse.Namespace, settings: Settings, verb: str) -> int:
    from pilotage.ci.client import Client  # here, for aiohttp: see cli/door.py

    if arguments.name is None:
        async with Client(settings) as client:
            return await _all_there(arguments, client, verb)
    path = f"/api/v2/tools/{quote(arguments.name, safe='')}"
    async with Client(settings) as client:
        pin = msgspec.convert(await client.get(f"{path}/diff"), Pin)
        if verb == "diff":
            return _show(pin)
        digest = _digest(arguments, verb, pin)
        body: dict[str, Any] = {"digest": digest, "reason": arguments.reason}
        await client.post(f"{path}/{verb}", body)
    return _done(pin, verb, digest)


def _digest(arguments: argparse.Namespace, verb: str, pin: Pin) -> str:
    """What is decided on: the digest that was named, or the one that is looked at now."""
    if arguments.digest is not None:
        return str(arguments.digest)
    if not sys.stdin.isatty():
        raise BadInput(
            f"{verb} names what you have looked at", f"pilotage tools diff {pin.name}, --digest SHA"
        )
    _show(pin)
    if input(f"{verb} this? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Conflict(f"{pin.name} stays as it is", "nothing was changed")
    return pin.seen


def _digest_of_all(arguments: argparse.Namespace, held: Held) -> str:
    """The same, for all that is held back of a server."""
    if arguments.digest is not None:
        return str(arguments.digest)
    where = visible(held.source)
    if not sys.stdin.isatty():
        hint = f"pilotage tools diff --server {where}, --digest SHA"
        raise BadInput("approve names what you have looked at", hint)
    _show_all(held)
    if not held.pins:
        raise Conflict(f"nothing of {where} waits for a word")
    if input(f"approve these {len(held.pins)}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise Conflict(f"{where} stays as it is", "nothing was changed")
    return held.digest


def _show_all(held: Held) -> int:
    """1 while something waits for a word."""
    for pin in held.pins:
        _show(pin, alone=False)
        print()
    if not held.pins:
        print(visible(f"nothing of {held.source} waits for a word"))
        return 0
    warned = sum(bool(pin.warnings) for pin in held.pins)
    note = f", {warned} with warnings" if warned else ""
    print(f"together  {held.digest}  of these {len(held.pins)}{note}")
    print(visible(f"pilotage tools approve --server {held.source} --digest {held.digest}"))
    return 1


def _all_done(found: Sequence[Pin]) -> int:
    for pin in found:
        _done(pin, "approve", pin.seen)
    return 0


def _show(pin: Pin, *, alone: bool = True) -> int:
    state = f"{pin.state}: {pin.why}" if pin.why else str(pin.state)
    print(visible(f"{pin.name}  {state}"))
    print(visible(f"from      {pin.source}, owner {pin.owner}"))
    by = f"  by {pin.approved_by}" if pin.approved_by else ""
    print(visible(f"approved  {pin.approved or 'never'}{by}"))
    print(visible(f"seen      {pin.seen}"))
    for warning in pin.warnings:
        print(f"warning   {visible(warning)}")
    if pin.diff:
        print()
        for line in pin.diff.split("\n"):
            print(line[: len(line) - len(line.lstrip(" "))] + visible(line.lstrip(" ")))
        if alone:
            print("\n" + visible(f"pilotage tools approve {pin.name} --digest {pin.seen}"))
    return 1 if pin.why else 0


def _done(pin: Pin, verb: str, digest: str) -> int:
    said = "approved" if verb == "approve" else "rejected: it stays quarantined"
    print(visible(f"{pin.name} {digest[:12]} is {said}"))
    return 0
