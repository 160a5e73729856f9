"""The contract of a link to an upstream: one era, one transport, kept open between calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from pilotage.domain.call import Peer, Progress, Report, silent
from pilotage.tool import hidden
from pilotage.upstream import wire
from pilotage.upstream.questions import ability, attributed

logger = logging.getLogger(__name__)
ASK_SECONDS = 600.0
"""How long a client may take to answer a question of a server."""

Heard = Callable[[str, Mapping[str, Any]], None]
"""Takes a notification that belongs to no call: its method and its params."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server said of itself when the link was opened."""

    version: str
    capabilities: Mapping[str, Any]
    info: Mapping[str, Any]
    instructions: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Changes that a link listens for: of which lists, and of which resources."""

    tools: bool = True
    prompts: bool = False
    resources: bool = False
    uris: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Relay:
    """The ways back to whoever asked, while one request is under way. `pause` is open while the
    client is asked, in the name of `who`."""

    peer: Peer | None = None
    report: Report = silent
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    who: str = "an upstream"

    @property
    def can_be_asked(self) -> bool:
        return self.peer is not None and self.peer.ask is not None

    @property
    def capabilities(self) -> dict[str, Any]:
        return {} if self.peer is None else wire.askable(self.peer.capabilities)

    def heard(self, token: int | str, message: wire.Message) -> None:
        """A notification that came with this request's answer; `token` is its progress token."""
        params = params_of(message)
        if message.method == "notifications/progress":
            if params.get("progressToken") == token:
                tell_progress(self.report, params)
        elif message.method == "notifications/message":
            if self.peer is not None and self.peer.tell is not None:
                from pilotage.tool.results import bared  # here: nearly no server says any

                self.peer.tell(message.method, bared(params))
        else:
            logger.debug("an upstream sent %s with an answer", message.method)

    async def asked(self, message: wire.Message) -> bytes:
        """The response to a request of the server's in mid-call (handshake eras)."""
        if message.method == "ping":
            return _response(message.id, result={})
        method = message.method or ""
        needed = ability(method)
        if needed not in wire.ASKABLE or self.peer is None or self.peer.ask is None:
            return _refusal(message.id, f"nobody here answers {method}")
        if needed not in self.capabilities:
            return _refusal(message.id, f"this client has no {needed}")
        try:
            async with self.pause(), asyncio.timeout(ASK_SECONDS):
                answer = await self.peer.ask(
                    method, attributed(self.who, method, params_of(message))
                )
        except TimeoutError:
            return _refusal(message.id, "the client did not answer in time")
        except Exception as error:
            code, data = getattr(error, "code", wire.INTERNAL_ERROR), getattr(error, "data", None)
            return _response(message.id, error={"code": code, "message": str(error), "data": data})
        return _response(message.id, result=answer)


NOBODY = Relay()
"""Who hears nothing and cannot be asked: the house itself."""


class Link(Protocol):
    """One way to one server. `bound`: the end of its stream is the end of the server."""

    bound: bool

    async def open(self) -> Offer:
        """Say hello. Raises Lost where nobody is there, RpcError where this era is not spoken."""
        ...

    async def ask(self, method: str, params: Mapping[str, Any], relay: Relay) -> bytes:
        """One request; the JSON of its result, as it came. Raises Lost, RpcError, TooMuch.
        Cancelling the task cancels the request at the server."""
        ...

    async def listen(self, wanted: Wanted, heard: Heard) -> None:
        """Hand over changes until the stream ends; raises Lost where it broke off."""
        ...

    async def close(self) -> None:
        """Let it go; nothing of it is left running."""
        ...


def params_of(message: wire.Message) -> Mapping[str, Any]:
    """The params of a message, {} where they are none that can be read."""
    try:
        value = msgspec.json.decode(message.params) if message.params else {}
    except (msgspec.DecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def tell_progress(report: Report, params: Mapping[str, Any]) -> None:
    """Hand on progress, where it has the form of it."""
    done, total, said = params.get("progress"), params.get("total"), params.get("message")
    if isinstance(done, (int, float)):
        report(
            Progress(
                hidden.clean(said)[0] if isinstance(said, str) else "",
                done,
                total if isinstance(total, (int, float)) else None,
            )
        )


def _response(id: int | str | None, **member: Any) -> bytes:
    return wire.encode({"jsonrpc": "2.0", "id": id, **member})


def _refusal(id: int | str | None, why: str) -> bytes:
    return _response(id, error={"code": wire.METHOD_NOT_FOUND, "message": why})
