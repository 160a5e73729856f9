"""JSON-RPC as it crosses the wire to an upstream: results and errors stay the bytes they were."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pilotage import __version__
from pilotage.domain.errors import PilotageError, Unavailable

MODERN = "2026-07-28"
HANDSHAKES = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
INFO_KEY = "io.modelcontextprotocol/clientInfo"
LOG_KEY = "io.modelcontextprotocol/logLevel"
SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"
SERVER_KEY = "io.modelcontextprotocol/serverInfo"
INFO = {"name": "pilotage", "title": "Pilotage", "version": __version__}
METHOD_NOT_FOUND = -32601
INTERNAL_ERROR = -32603
UNSUPPORTED_VERSION = -32022
ASKABLE = ("elicitation", "sampling", "roots")
"""Abilities of a client that are relayed: what a server may ask of it in the middle of a call."""
_OWN = frozenset((VERSION_KEY, CAPABILITIES_KEY, INFO_KEY, "progressToken", "progress_token"))
_CREDENTIAL = re.compile(
    r"(?i)(pass(word|wd)?|secret|token|api_?-?key|authorization|credential|private_?key|cookie)"
)
encode = msgspec.json.Encoder(enc_hook=str).encode


class Lost(Unavailable):
    """The transport failed: it cannot be reached, it broke off, or what came is no JSON-RPC."""


class Forgotten(Lost):
    """The server knows our session no more, and ran nothing. The next request opens another."""


class TooMuch(PilotageError):
    """The server sent more than it may."""

    status = 502
    exit = 3


class Message(msgspec.Struct):
    """Any JSON-RPC message; what is passed on stays raw."""

    id: int | str | None = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"")
    result: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


class RpcError(PilotageError):
    """The server answered with an error of JSON-RPC. `raw` is its JSON."""

    status = 502
    exit = 3

    def __init__(self, who: str, raw: bytes) -> None:
        try:
            error = msgspec.json.decode(raw, type=_Error)
        except (msgspec.DecodeError, RecursionError):
            error, raw = _Error(), b""
        if b'"code"' not in raw or b'"message"' not in raw:  # it is none as clients know it
            raw = encode({"code": error.code, "message": error.message})
        self.code, self.message, self.data, self.raw = error.code, error.message, error.data, raw
        super().__init__(f"{who}: {error.message[:2000]}")


class _Error(msgspec.Struct):
    code: int = INTERNAL_ERROR
    message: str = "an error without a message"
    data: Any = None


_decode = msgspec.json.Decoder(Message).decode


def message(who: str, body: bytes | bytearray) -> Message:
    """One message. Raises Lost where it is none: also where some of it is no text, since what is
    passed on as it came is read by nobody before its client."""
    try:
        if not body.isascii():
            body.decode()
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Lost(
            f"{who} answers with something that is no JSON-RPC", "is that its MCP URL?"
        ) from None


def result(who: str, answer: Message) -> bytes:
    """The result of an answer, as it came. Raises RpcError for an error."""
    if answer.error:
        raise RpcError(who, bytes(answer.error))
    if not answer.result:
        raise Lost(f"{who} sent an answer with neither result nor error")
    return bytes(answer.result)


def document(who: str, raw: bytes) -> dict[str, Any]:
    """A result, decoded. Raises Lost where it is no object."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Lost(f"{who} sent a result that is no object")
    return value


def travelling(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What of a client's `_meta` goes on to a server: not what we say anew, and no credentials."""
    return {k: v for k, v in meta.items() if k not in _OWN and not _CREDENTIAL.search(k)}


def askable(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """What of a client's abilities a server behind us may use."""
    return {name: capabilities[name] for name in ASKABLE if capabilities.get(name) is not None}
