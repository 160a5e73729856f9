"""See the calls that wait for a person, and approve or reject them."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.cli import summary, terminal
from pilotage.cli.door import Door, open_door
from pilotage.domain.approval import Approval, ApprovalState, Verdict
from pilotage.domain.errors import NotFound
from pilotage.domain.text import visible
from pilotage.pipeline.tell import Teller
from pilotage.pipeline.told import result
from pilotage.tool.answer import answer
from pilotage.tool.roots import roots

if TYPE_CHECKING:
    from pilotage.ci.client import Client

_PATH = "/api/v2/approvals"
_VERDICTS = {"approve": Verdict.APPROVED, "reject": Verdict.REJECTED}


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", required=True, metavar="list|show|approve|reject")
    listed = verbs.add_parser("list", help="the newest: yours, or everybody's if you may approve")
    states = [state.value for state in ApprovalState]
    listed.add_argument("--state", choices=states, help="only these")
    listed.add_argument(
        "--limit", type=terminal.rows, default=20, metavar="N", help="(default: %(default)s)"
    )
    listed.add_argument("--json", action="store_true", help="all that is known of them")
    for name, text in (
        ("show", "one, with its arguments and what it is bound to"),
        ("approve", "let the call run, once; nobody approves its own"),
        ("reject", "refuse it; who asked may withdraw it so"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("id", metavar="ID", help="an approval's id, or how it begins")
        if name == "show":
            verb.add_argument("--json", action="store_true", help="all that is known of it")
        else:
            verb.add_argument("--reason", default="", metavar="TEXT", help="kept with it")
            root = "steps of a run that goes on here may read and write in it; repeatable"
            verb.add_argument("--root", action="append", default=[], metavar="DIR", help=root)


def run(arguments: argparse.Namespace) -> int:
    return asyncio.run(_run(arguments, config.read(file=arguments.settings)))


async def _run(arguments: argparse.Namespace, settings: config.Settings) -> int:
    async with open_door(settings, roots(*getattr(arguments, "root", ()), base=".")) as door:
        if arguments.what == "list":
            return _list(await _newest(door, arguments), as_json=arguments.json)
        one = await _find(door, arguments.id)
        if arguments.what == "show":
            print(json.dumps(one, indent=2) if arguments.json else _shown(one))
            return 0
        verdict = _VERDICTS[arguments.what]
        if door.client is not None:
            path = f"{_PATH}/{quote(one['id'], safe='')}/{arguments.what}"
            _tell(await door.client.post(path, {"reason": arguments.reason}))
            return 0
        assert door.app is not None
        return await _judge(door.app, one["id"], verdict, arguments.reason)


async def _newest(door: Door, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    if door.client is not None:
        query = {"limit": arguments.limit, "state": arguments.state}
        given = {name: value for name, value in query.items() if value is not None}
        found: list[dict[str, Any]] = (await door.client.get(_PATH, **given))["approvals"]
        return found
    assert door.app is not None
    state = ApprovalState(arguments.state) if arguments.state else None
    listed = door.app.approvals.newest(local_principal(), arguments.limit, state=state)
    return list(map(_told, listed))


async def _find(door: Door, start: str) -> dict[str, Any]:
    if door.client is None:
        assert door.app is not None
        return _told(door.app.approvals.find(start, local_principal()))
    return await _find_there(door.client, start.upper())


async def _find_there(client: Client, start: str) -> dict[str, Any]:
    try:
        return await client.get(f"{_PATH}/{quote(start, safe='')}")
    except NotFound:
        listed = (await client.get(_PATH, limit=1000))["approvals"]
    found: list[dict[str, Any]] = [one for one in listed if one["id"].startswith(start)]
    if len(found) != 1:
        many = "more than one approval begins with" if found else "no approval"
        raise NotFound(f"{many} {start!r}", "pilotage approvals list")
    return found[0]


async def _judge(app: App, id: str, verdict: Verdict, reason: str) -> int:
    """Here, where a run that waited for it may go on in this process: it is followed."""
    one = _told(await app.judge(id, local_principal(), verdict, reason))
    _tell(one)
    run = one["run"]
    if run not in app.runs.driven():
        return 0
    teller = Teller(len(app.runs.show(run)[1].steps))
    async for event in app.runs.events(run, app.runs.show(run)[1].seq, settled=True):
        for line in teller.lines(event):
            print(f"  {line}", file=sys.stderr, flush=True)
    told = answer(result(*app.runs.show(run)))
    print(summary.table(told))
    return summary.exit_code(told)


def _told(one: Approval) -> dict[str, Any]:
    """As the management API tells it."""
    return {**asdict(one), "given": one.given}


def _list(found: list[dict[str, Any]], *, as_json: bool) -> int:
    if as_json:
        for one in found:
            print(json.dumps(one))
        return 0
    for one in found:
        persons = f"{one['given']}/{one['needed']}"
        line = f"{one['id']}  {one['state']:<8}  {persons}  {one['tool']}  {one['principal']}"
        print(visible(f"{line}  {_date(one['created'])}"))
    if not found:
        print("no approvals", file=sys.stderr)
    return 0


def _shown(one: Mapping[str, Any]) -> str:
    rows = [
        ("approval", one["id"]),
        ("state", f"{one['state']}, {one['given']} of {one['needed']} have approved"),
        ("tool", f"{one['tool']} ({one['effect']})"),
        ("asked by", f"{one['principal']} over {one['via']}, {_date(one['created'])}"),
        ("why", one["why"]),
        ("rule", one["rule"]),
        ("arguments", json.dumps(one["arguments"], ensure_ascii=False)),
        ("digest", f"{one['digest']} (SHA-256 of all of them)"),
        ("bound to", f"tool {one['pin'][:16]}, policy {one['policy']}"),
        ("expires", _date(one["expires"])),
    ]
    if one["run"]:
        rows.append(("run", f"{one['run']}, step {one['step']}"))
    for vote in one["votes"]:
        reason = f": {vote['reason']}" if vote["reason"] else ""
        rows.append((vote["verdict"], f"by {vote['by']}, {_date(vote['at'])}{reason}"))
    return "\n".join(visible(f"{name:<10} {text}") for name, text in rows)


def _tell(one: Mapping[str, Any]) -> None:
    left = one["needed"] - one["given"]
    more = f", {left} more must approve" if one["state"] == ApprovalState.PENDING else ""
    print(visible(f"{one['tool']} of {one['principal']}: {one['state']}{more}"))


def _date(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
