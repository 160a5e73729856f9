"""The bytes of HTTP: headers read once, bodies within limits, answers in JSON."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from pilotage.domain.call import Kept
from pilotage.domain.errors import (
    BadInput,
    Busy,
    NeedsApproval,
    PilotageError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Head = dict[bytes, bytes]

JSON = b"application/json"
BY = "pilotage.by"
"""The key of an ASGI scope under which the authenticated principal is handed on."""
HEAD = "pilotage.head"
"""The key under which a connection hands on the headers by name, none of which came twice."""
RAW = "pilotage.raw"
"""In the start of an answer: its headers as bytes."""
MCP = "/mcp"
DONE = "pilotage.done"
"""The key under which a call that has run already hands on how it ended: a ToolResult, or what it
raised."""
BODY_LIMIT = 4 << 20
DEPTH_LIMIT = 64
KEY_LIMIT = 255
_ONCE = frozenset(
    (
        b"host",
        b"origin",
        b"authorization",
        b"content-type",
        b"content-length",
        b"idempotency-key",
        b"pilotage-approval",
    )
)
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
encode = msgspec.json.Encoder(enc_hook=str).encode


class Refused(PilotageError):
    """What HTTP itself forbids: 405, 415, 421."""

    def __init__(self, status: int, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.status = status


class Stopping(Unavailable):
    """The server was told to stop: whoever comes now is to go elsewhere, on another connection."""


class CutOff(Unavailable):
    """The server ended while it ran. It does not say when to come back: it may have run."""


class Detailed(PilotageError):
    """Says more than a sentence: `details` stand beside it in the answer."""

    def __init__(self, status: int, what: str, hint: str, details: Mapping[str, Any]) -> None:
        super().__init__(what, hint)
        self.status, self.details = status, details


class Gone(Exception):
    """The client went away before its request was whole."""


def read_head(scope: Scope) -> Head:
    """The headers by lower-case name. One that decides anything may come once only, so that no
    two readers of this request can see two different values."""
    pairs = scope["headers"]
    head: Head = dict(pairs)
    if len(head) != len(pairs):
        names = [name for name, _ in pairs]
        for name in _ONCE:
            if names.count(name) > 1:
                raise BadInput(f"the header {name.decode()} came more than once")
    return head


async def read_body(head: Head, receive: Receive) -> bytes:
    """The whole body, refused as soon as it is over the limit."""
    refuse_announced(head)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return checked_body(message.get("body", b""))
    return checked_body(await whole_body(message, receive))


def refuse_announced(head: Head) -> None:
    """A body that says that it is over the limit is not read at all."""
    declared = head.get(b"content-length", b"")
    if len(declared) > 6 and declared.isdigit() and int(declared) > BODY_LIMIT:
        raise TooLarge(f"the body has {int(declared)} bytes", f"at most {BODY_LIMIT}")


def checked_body(body: bytes) -> bytes:
    """The same body, within its limits."""
    if len(body) > BODY_LIMIT:
        raise TooLarge("the body is too large", f"at most {BODY_LIMIT} bytes")
    if (
        len(body) > DEPTH_LIMIT  # a shorter one cannot be
        and body.count(b"{") + body.count(b"[") > DEPTH_LIMIT
        and _depth(body) > DEPTH_LIMIT
    ):
        raise BadInput(f"the JSON is nested deeper than {DEPTH_LIMIT} levels")
    return body


async def whole_body(message: Message, receive: Receive) -> bytes:
    """A body whose first part is `message`, up to the part that is over the limit."""
    parts = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise Gone
        parts += message.get("body", b"")
        if len(parts) > BODY_LIMIT or not message.get("more_body"):
            return bytes(parts)
        message = await receive()


def _depth(body: bytes) -> int:
    """How deep brackets nest outside of strings."""
    depth = deepest = 0
    for found in _STRUCTURE.finditer(body):
        character = found[0][0]
        if character in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in b"]}":
            depth -= 1
    return deepest


def refusal(error: PilotageError) -> dict[str, Any]:
    """The body of an answer that says no."""
    body: dict[str, Any] = {"success": False, "error": error.what}
    if error.hint:
        body["hint"] = error.hint
    if isinstance(error, Busy):
        body["retry_after"] = retry_after(error)
    if isinstance(error, NeedsApproval):
        body["approval"] = error.approval
    if isinstance(error, Detailed):
        body.update(error.details)
    return body


def usable_key(given: object) -> str:
    """An idempotency key, wherever it came from."""
    good = isinstance(given, str) and 0 < len(given) <= KEY_LIMIT
    if not isinstance(given, str) or not (good and given.isascii() and given.isprintable()):
        raise BadInput("the Idempotency-Key is not usable", f"1 to {KEY_LIMIT} ASCII characters")
    return given


def retry_after(error: PilotageError) -> int:
    """When to come back, in whole seconds."""
    return max(1, math.ceil(error.retry_after)) if isinstance(error, Busy) else 1


def kept_headers(kept: Kept | None) -> tuple[tuple[bytes, bytes], ...]:
    """What says that an answer was there already (RFC 9111, 5.1; RFC 9211)."""
    if kept is None:
        return ()
    if kept.how == "replayed":
        return ((b"idempotent-replayed", b"true"),)
    return ((b"age", b"%d" % kept.seconds), (b"cache-status", b"pilotage; hit"))


def replay(body: bytes, receive: Receive) -> Receive:
    """A request whose body was read already."""
    first = True

    async def again() -> Any:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


def a_bug(error: Exception) -> PilotageError:
    """What is said of an error that nobody foresaw; the log has the rest."""
    return PilotageError(f"a bug of pilotage: {type(error).__name__}", "see the server's log")


async def send_json(send: Send, status: int, content: bytes, *more: tuple[bytes, bytes]) -> None:
    """One whole answer."""
    headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(content)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


@functools.lru_cache(1024)
def ok(length: int) -> Message:
    """The start of an answer of so many bytes of JSON, made once; the sender only reads it."""
    headers = ((b"content-type", JSON), (b"content-length", b"%d" % length))
    raw = b"".join(b"%b: %b\r\n" % pair for pair in headers) + b"\r\n"
    return {
        "type": "http.response.start",
        "status": 200,
        "headers": headers,
        RAW: raw,
    }


async def send_ok(send: Send, content: bytes) -> None:
    """An answer of JSON."""
    await send_whole(send, ok(len(content)), content)


async def send_whole(send: Send, start: Message, content: bytes) -> None:
    """An answer whose start is 200 and has RAW, in one step where `send` belongs to a connection
    that can."""
    at_once = getattr(getattr(send, "__self__", None), "at_once", None)
    if at_once is None or not at_once(start[RAW], content):
        await send(start)
        await send({"type": "http.response.body", "body": content})


def begun(send: Send) -> bool:
    """Is the answer of the connection that `send` belongs to on its way already?"""
    return bool(getattr(getattr(send, "__self__", None), "response_started", False))


async def send_refusal(send: Send, error: PilotageError) -> None:
    """The status and the JSON of an error; 401 says how to authenticate, 429 and 503 when."""
    more: list[tuple[bytes, bytes]] = []
    if isinstance(error, Unauthenticated):
        more.append((b"www-authenticate", b'Bearer realm="pilotage", error="invalid_token"'))
    if error.status in (429, 503) and not isinstance(error, CutOff):
        more.append((b"retry-after", b"%d" % retry_after(error)))
    if isinstance(error, (Stopping, CutOff)):
        more.append((b"connection", b"close"))
    if error.status == 405:
        more.append((b"allow", b"POST"))
    await send_json(send, error.status, encode(refusal(error)), *more)
