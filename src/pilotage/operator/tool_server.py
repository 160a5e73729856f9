"""The tool server as the operator uses it: registrations and secrets, over its management API.

While it cannot be reached, nobody asks it but one, now and then: a thousand objects that wait for
it are not a thousand requests.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pilotage.ci.client import Client
from pilotage.domain.errors import (
    BadInput,
    Busy,
    Conflict,
    Denied,
    NotFound,
    PilotageError,
    Stale,
    TooLarge,
    Unauthenticated,
)
from pilotage.operator.definition import SECRETS, SecretRef, Wanted

FIRST_SECONDS, LAST_SECONDS = 1.0, 30.0
ANSWER_SECONDS = 15.0
"""Registering, starting a run, approving: none of them waits for anything that takes longer."""
PROBE_SECONDS = 5.0
_ANSWERS = (BadInput, Conflict, Denied, NotFound, Stale, TooLarge, Unauthenticated)
"""What the server says about a request. Everything else is about the server."""


class Away(PilotageError):
    """The server cannot be asked now; `seconds` until it makes sense to try again."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, "is the tool server running? see its pods, and MCP_SERVER_URL")
        self.seconds = seconds


class Full(Away):
    """The server is there, and has no room for this one now."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a registration stands at the server. `tools` are the names of its tools; `state` is
    ready, disabled, quarantined or unavailable, and `why` says why it is not ready. `quarantined`
    are those of its tools that wait for a person; `held`: it was disabled, and not by us. `takes`:
    the JSON Schema of what it takes, where it is one tool and the server has said so."""

    name: str
    owner: str
    tool_id: str
    etag: str
    state: str
    why: str
    tools: tuple[str, ...]
    quarantined: tuple[str, ...] = ()
    held: bool = False
    takes: Mapping[str, Any] | None = None


class ToolServer:
    """`client` is in use while this is. `back` is called when the server answers again; `fence`
    before each request with its method, and raises where another process acts now."""

    def __init__(
        self,
        client: Client,
        fence: Callable[[str], None] = lambda method: None,
        back: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self._fence, self.back = client, fence, back
        self.why = ""
        """Why it is away; "" while it is there."""
        self.refused = ""
        """Why it does not take our key; "" while it does. Only a new start brings another key."""
        self._failures, self._until = 0, 0.0

    async def put(self, wanted: Wanted, owner: str) -> Standing:
        """Register it, or change it; the same again changes nothing."""
        body = {"kind": wanted.kind, "definition": dict(wanted.definition), "owner": owner}
        return _standing(await self.ask("PUT", _tool(wanted.name), body))

    async def remove(self, name: str, owner: str) -> None:
        """It is gone, whether or not it was there. Conflict where it is another owner's."""
        try:
            await self.ask("DELETE", _tool(name), owner=owner)
        except NotFound:
            pass

    async def enable(self, name: str, owner: str, on: bool) -> Standing:
        """Let it be called, or not."""
        verb = "enable" if on else "disable"
        return _standing(await self.ask("POST", f"{_tool(name)}/{verb}", {}, owner=owner))

    async def standings(self, owner: str) -> list[Standing]:
        """All registrations of an owner, and of the owners below it."""
        found = await self.ask("GET", "/api/v2/tools", owner=owner, brief="true")
        return [_standing(one) for one in found["tools"]]

    async def secrets_of(self, name: str) -> list[str]:
        """The secrets of ours that a registration names."""
        try:
            view = await self.ask("GET", _tool(name))
        except NotFound:
            return []
        headers = (view.get("definition") or {}).get("headers", {}).values()
        named = [one["secret"] for one in headers if isinstance(one, dict)]
        return [one for one in named if one.startswith(SECRETS)]

    async def keep(self, secret: SecretRef, value: str) -> None:
        """Keep a secret for the one host that it is for."""
        body = {"value": value, "hosts": [secret.host]}
        await self.ask("PUT", f"/api/v2/secrets/{quote(secret.name)}", body)

    async def forget(self, name: str) -> None:
        """Forget a secret, whether or not it was there."""
        try:
            await self.ask("DELETE", f"/api/v2/secrets/{quote(name)}")
        except NotFound:
            pass

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> dict[str, Any]:
        """One request. What the server says no to is raised as it was there; Away where it gave no
        answer, is too busy, or failed."""
        self._fence(method)
        if self.why and (left := self._until - time.monotonic()) > 0:
            raise Away(self.why, left)
        if self.why:
            self._until = time.monotonic() + LAST_SECONDS  # this one asks, the others wait
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await self._client.send(method, path, body, headers, **query)
        except _ANSWERS as said:
            self._there()
            self.refused = said.what if isinstance(said, Unauthenticated) else ""
            raise
        except TimeoutError:
            raise await self._silent(f"no answer within {ANSWER_SECONDS:g} s") from None
        except Busy as busy:
            self._there()
            raise Full(busy.what, spread(5.0)) from None
        except PilotageError as error:
            raise self._away(error.what) from None
        self._there()
        self.refused = ""
        return answer

    async def _silent(self, what: str) -> Away:
        """One request may be slow by itself, and is then nobody else's trouble."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._client.get("/healthz")
        except (PilotageError, TimeoutError):
            return self._away(what)
        self._there()
        return Full(what, spread(LAST_SECONDS))

    def _there(self) -> None:
        was, self.why, self._failures = self.why, "", 0
        if was:
            self.back()

    def _away(self, why: str) -> Away:
        self._failures += 1
        whole = min(LAST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures - 1, 10))
        self.why, self._until = why, time.monotonic() + spread(whole)
        return Away(why, self._until - time.monotonic())


def spread(seconds: float) -> float:
    """Not all at once: half of it to all of it."""
    return seconds * random.uniform(0.5, 1.0)


def _tool(name: str) -> str:
    return f"/api/v2/tools/{quote(name, safe='')}"


def _standing(view: Mapping[str, Any]) -> Standing:
    return Standing(
        view["name"],
        view["owner"],
        view.get("tool_id") or "",
        view.get("etag") or "",
        view["state"],
        view["why"],
        tuple(view["tools"]),
        tuple(view.get("quarantined", ())),
        view.get("held") is True,
        view.get("input_schema"),
    )
