"""Prompts, resources and completions of upstream servers that are federated whole.

Each is asked for as a call of a tool of its own, NAME.prompts or NAME.resources, which no list of
tools shows: so the policy, the audit and the redaction of calls hold for them as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pilotage.domain.call import Effect, Outcome, Report, ToolCall, ToolResult
from pilotage.domain.errors import NotFound, PilotageError
from pilotage.tool.registry import Registry
from pilotage.tool.tool import Tool
from pilotage.upstream import wire
from pilotage.upstream.connection import Connection
from pilotage.upstream.federated import answered, completed, forged, passes, put, puts
from pilotage.upstream.federation import Federation
from pilotage.upstream.link import Relay
from pilotage.upstream.questions import asks, questions, remade
from pilotage.upstream.server import wrong_name

ROUNDS = 10
_VARIABLE = re.compile(r"\{[^{}]*\}")
LISTS = {"prompts": "prompts", "resources": "resources", "templates": "resources"}
"""Each kind of list, and the offer that it is part of."""


class Offers:
    """What the servers offer now. `registry` has the tools that ask them, for a gateway."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self.registry = Registry()

    def listed(self, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The items of one of LISTS, each with the tool that would ask for it: prompts under a name
        that is theirs alone, resources under their own URI, which the first to list it has."""
        seen: set[str] = set()
        for connection in self._offering(LISTS[what]):
            for item in connection.lists.get(what, ()):
                key = self._key(connection, what, item)
                if key and key not in seen:
                    seen.add(key)
                    shown = {**item, "name": key} if what == "prompts" else item
                    yield self.tool(connection, LISTS[what]), shown

    def prompt(self, name: str) -> tuple[str, dict[str, Any]]:
        """The tool that asks for this prompt, and the prompt's own name. Raises NotFound."""
        seen: set[str] = set()
        for connection in self._offering("prompts"):
            for item in connection.lists.get("prompts", ()):
                key = self._key(connection, "prompts", item)
                if key == name and key not in seen:
                    return self.tool(connection, "prompts"), {"name": item["name"]}
                seen.add(key)
        raise NotFound(f"Unknown prompt: {name[:200]}")

    def resource(self, uri: str) -> tuple[str, Connection]:
        """The tool that asks for this resource: of who lists it, else of who has a template that
        fits, else of the only server that has resources. Raises NotFound."""
        offering = list(self._offering("resources"))
        for connection in offering:
            if any(item.get("uri") == uri for item in connection.lists.get("resources", ())):
                return self.tool(connection, "resources"), connection
        for connection in offering:
            templates = connection.lists.get("templates", ())
            if any(_fits(str(item.get("uriTemplate", "")), uri) for item in templates):
                return self.tool(connection, "resources"), connection
        if len(offering) == 1:
            return self.tool(offering[0], "resources"), offering[0]
        raise NotFound(f"Unknown resource: {uri[:200]}")

    def tool(self, connection: Connection, offer: str) -> str:
        """The name of the tool that asks this server."""
        upstream = connection.upstream
        name = f"{upstream.name}.{offer}"
        entry = self.registry.all.get(name)
        if entry is None or entry.tool.target != f"{id(connection)}":
            text = f"The {offer} of {upstream.name}."
            schema = {"type": "object"}
            run, timeout = _runner(connection), upstream.timeout
            self.registry.put(
                Tool(
                    name,
                    text,
                    text,
                    Effect.READ,
                    schema,
                    None,
                    run,
                    timeout=timeout,
                    target=f"{id(connection)}",
                    owner=upstream.owner,
                )
            )
        return name

    def _offering(self, offer: str) -> Iterator[Connection]:
        for connection in self._federation.connections:
            if offer in connection.upstream.offers:
                yield connection

    def _key(self, connection: Connection, what: str, item: Mapping[str, Any]) -> str:
        """What an item is known by, "" where it cannot be shown."""
        if what != "prompts":
            uri = str(item.get("uri") or item.get("uriTemplate") or "")
            return "" if uri.lower().startswith("pilotage:") else uri
        name = item.get("name")
        if not isinstance(name, str):
            return ""
        shown = connection.upstream.exposed(name, apart=self._wanted(connection, name))
        return "" if wrong_name(shown) else shown

    def _wanted(self, connection: Connection, name: str) -> bool:
        """Has a server before this one a prompt of that name?"""
        for other in self._offering("prompts"):
            if other is connection:
                return False
            if any(item.get("name") == name for item in other.lists.get("prompts", ())):
                return True
        return False


def _fits(template: str, uri: str) -> bool:
    """Does a URI look like one that this template makes?"""
    parts = [re.escape(part) for part in _VARIABLE.split(template)]
    return len(parts) > 1 and re.fullmatch(".+?".join(parts), uri) is not None


def _runner(connection: Connection) -> Any:
    async def run(call: ToolCall, report: Report) -> ToolResult:
        """The arguments are the method and its params."""
        method, params = call.arguments["method"], dict(call.arguments["params"])
        peer = call.peer
        if peer is not None:
            params |= answered(peer)
        for _ in range(ROUNDS):
            try:
                raw = await connection.ask(method, params, Relay(peer, report, who=connection.who))
            except wire.RpcError as error:
                return passes(error)
            value = wire.document(connection.who, raw)
            if asks(value) and puts(peer):
                assert peer is not None
                asked = questions(connection.who, value.get("inputRequests"))
                params |= await put(peer, asked, value.get("requestState"))
                continue
            if asks(value) and forged(str(value.get("requestState"))):
                raise PilotageError(f"{connection.who} asks back in the name of the house")
            if asks(value):
                raw = remade(connection.who, raw)
            if "resultType" not in value:
                raw = completed(raw)
            return ToolResult(Outcome.SUCCEEDED, wire=b'"result":' + raw)
        raise PilotageError(f"{connection.who} asked back {ROUNDS} times")

    return run
