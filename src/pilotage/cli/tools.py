"""List the tools that there are, and register, change, approve or remove those of one's own."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.cli import tool_pins
from pilotage.cli.door import Door, open_door
from pilotage.cli.terminal import as_json
from pilotage.domain.errors import BadInput
from pilotage.domain.text import counted, visible
from pilotage.tool.registry import State
from pilotage.tool.roots import roots
from pilotage.upstream.template import parse
from pilotage.upstream.wanted import If, Wanted

_AT = "/api/v2/tools"
_ACTS = ("remove", "enable", "disable")


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(
        dest="what",
        required=True,
        metavar="list|show|put|remove|enable|disable|diff|approve|reject",
    )
    listed = verbs.add_parser("list", help="all tools, by name")
    listed.add_argument("--owner", metavar="TEXT", help="only this owner's, and of owners below it")
    listed.add_argument("--json", action="store_true", help="all that is known of them")
    show = verbs.add_parser("show", help="all that is known of one")
    show.add_argument("name", metavar="NAME")
    show.add_argument("--json", action="store_true", help="as JSON")
    _register_put(verbs.add_parser("put", help="register one, or change it"))
    for name, text in zip(_ACTS, ("it is gone", "let it be called", "let nobody"), strict=True):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("name", metavar="NAME")
        _add_whose(verb)
    tool_pins.register(verbs)


def _register_put(put: argparse.ArgumentParser) -> None:
    add = put.add_argument
    add("name", metavar="NAME")
    add("file", metavar="FILE", nargs="?", help="YAML or JSON with kind and definition; - is stdin")
    add("--builtin", metavar="TOOL", help="a tool of the house, under this name")
    add("--url", metavar="URL", help="an HTTP endpoint: https://host/path/{id}?key={value}")
    add("--method", default="GET", help="of that endpoint (default: %(default)s)")
    add("--summary", default="", metavar="TEXT", help="what it does, in a line")
    add("--effect", choices=("read", "write", "destroy"), help="default: what the method says")
    add("--input", metavar="FILE", help="JSON Schema of its arguments; default: texts, as in --url")
    secret = "send this secret in that header; Authorization gets Bearer; repeatable"
    add("--secret", action="append", default=[], metavar="HEADER=NAME", help=secret)
    _add_whose(put)


def _add_whose(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--owner", default="", metavar="TEXT", help="act for this owner")
    verb.add_argument("--if-match", metavar="ETAG", help="only if it is still this one")


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    if arguments.what in tool_pins.VERBS:
        return tool_pins.run(arguments, settings, arguments.what)
    return asyncio.run(_run(arguments, settings))


async def _run(arguments: argparse.Namespace, settings: config.Settings) -> int:
    wish = _wish(arguments) if arguments.what == "put" else None
    async with open_door(settings, roots(base=".")) as door:
        if arguments.what == "list":
            _list(await door.tools(arguments.owner), arguments.json)
        elif arguments.what == "show":
            view = await door.tool(arguments.name)
            print(as_json(view)) if arguments.json else _show(view)
        elif wish is not None:
            return await _put(door, arguments, wish)
        else:
            await _act(door, arguments)
            done = "removed" if arguments.what == "remove" else f"{arguments.what}d"
            print(f"{visible(arguments.name)} is {done}")
    return 0


async def _put(door: Door, arguments: argparse.Namespace, wish: Wanted) -> int:
    """3 where it is registered and cannot be called yet."""
    name, tag = arguments.name, arguments.if_match
    if door.client is not None:
        headers = {"If-Match": f'"{tag}"'} if tag else {}
        view = await door.client.send("PUT", _path(name), msgspec.to_builtins(wish), headers)
    else:
        await _app(door).others.registrations.put(name, wish, local_principal(), If(tag))
        view = await door.tool(name)
    why, state = f": {view['why']}" if view["why"] else "", view["state"]
    if view["effect"] is None and not view["tools"] and state == State.READY:
        state = "registered; `pilotage tools list` has its tools once it is connected"
    print(visible(f"{name} is {state}{why}"))
    print(visible(f"tool_id {view['tool_id']}  etag {view['etag']}"))
    if view["state"] == State.QUARANTINED:
        print(f"hint:  pilotage tools diff {visible(name)}", file=sys.stderr)
    return 0 if view["state"] in (State.READY, State.DISABLED) else 3


async def _act(door: Door, arguments: argparse.Namespace) -> None:
    name, what, owner, tag = (
        arguments.name,
        arguments.what,
        arguments.owner,
        arguments.if_match,
    )
    if door.client is not None:
        headers = {"If-Match": f'"{tag}"'} if tag else {}
        whose = {"owner": owner} if owner else {}
        method, path = ("DELETE", "") if what == "remove" else ("POST", f"/{what}")
        await door.client.send(method, _path(name) + path, None, headers, **whose)
        return
    registrations, by = _app(door).others.registrations, local_principal()
    if what == "remove":
        await registrations.remove(name, by, owner, If(tag))
    else:
        await registrations.enable(name, what == "enable", by, owner, If(tag))


def _list(views: Sequence[Mapping[str, Any]], whole: bool) -> None:
    if whole:
        print(as_json(views))
        return
    width = max((len(view["name"]) for view in views), default=0)
    for view in views:
        notes = [view["owner"]] if view["owner"] else []
        if view["state"] != State.READY:
            notes.append(f"{view['state']}: {view['why']}" if view["why"] else view["state"])
        note = f"  ({', '.join(notes)})" if notes else ""
        summary, what = view["summary"], view["effect"]
        if what is None:  # no tool, but a source of some
            what, summary = view["kind"], summary or f"gives {counted(len(view['tools']), 'tool')}"
        row = f"{view['name']:<{width}}  {what:<7}  {summary}{note}"
        print(visible(row))


def _show(view: Mapping[str, Any]) -> None:
    lines = [f"{view['name']}: {view['state']}" + (f", {view['why']}" if view["why"] else "")]
    if view["effect"] is not None:
        lines.append(f"{view['effect']}, at most {view['timeout']:g} s a call")
    if view["tool_id"] is not None:
        lines.append(f"{view['kind']}, owner {view['owner']}")
        lines.append(f"tool_id {view['tool_id']}  etag {view['etag']}")
    for text in (view["description"], view["definition"], view["input_schema"]):
        if text:
            lines += ["", *(text if isinstance(text, str) else as_json(text)).splitlines()]
    print("\n".join(map(visible, lines)))


def _wish(arguments: argparse.Namespace) -> Wanted:
    """What the file or the flags want to be registered."""
    ways = [arguments.file, arguments.builtin, arguments.url]
    if sum(way is not None for way in ways) != 1:
        raise BadInput("name one of FILE, --builtin and --url", "pilotage tools put --help")
    if arguments.builtin is not None:
        definition = {"tool": arguments.builtin, "summary": arguments.summary}
        return Wanted("builtin", definition, arguments.owner)
    if arguments.url is not None:
        return Wanted("http", _endpoint(arguments), arguments.owner)
    content = _load(arguments.file)
    try:
        wish = msgspec.convert(content, Wanted)
    except msgspec.ValidationError as error:
        raise BadInput(f"{arguments.file}: {error}", "{kind: http, definition: {...}}") from None
    return Wanted(wish.kind, wish.definition, arguments.owner or wish.owner)


def _endpoint(arguments: argparse.Namespace) -> dict[str, Any]:
    definition: dict[str, Any] = {"method": arguments.method.upper(), "url": arguments.url}
    for key in ("summary", "effect"):
        if getattr(arguments, key):
            definition[key] = getattr(arguments, key)
    if arguments.input is not None:
        definition["input_schema"] = _load(arguments.input)
    else:
        template = parse(arguments.url)
        definition["input_schema"] = {
            "type": "object",
            "properties": {name: {"type": "string"} for name in sorted(template.names)},
            "required": sorted(template.in_path),
        }
    headers = {}
    for pair in arguments.secret:
        header, equals, name = pair.partition("=")
        if not equals:
            raise BadInput("--secret is HEADER=NAME", "such as Authorization=TRACKER_TOKEN")
        prefix = {"prefix": "Bearer "} if header.lower() == "authorization" else {}
        headers[header] = {"secret": name, **prefix}
    return {**definition, "headers": headers} if headers else definition


def _load(file: str) -> Any:
    import yaml

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: {' '.join(str(error).split())}", "YAML or JSON") from None


def _path(name: str) -> str:
    return f"{_AT}/{quote(name, safe='')}"


def _app(door: Door) -> App:
    assert door.app is not None
    return door.app
