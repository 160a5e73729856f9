"""What a server behind us asks a client: with the server's name before it, so that nobody takes it
for a question of the house, and without what hides in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pilotage.domain.errors import PilotageError
from pilotage.upstream import wire

FROM = "io.pilotage/upstream"
"""Where the `_meta` of a question says whose it is."""
ASKS = "input_required"
"""The `resultType` of an answer that asks."""
_OURS = "io.pilotage/"
_ABILITIES = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


def ability(method: str) -> str:
    """What a client must be able to do to be asked this, "" where nobody is."""
    return _ABILITIES.get(method, "")


def asks(result: Mapping[str, Any]) -> bool:
    """Is this an answer that asks?"""
    return result.get("resultType") == ASKS


def attributed(who: str, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The params of a question as its client gets them. A person reads `who` at the start of the
    message, a model at the start of its system prompt, a program in `_meta`."""
    from pilotage.tool.results import (
        META,
        looked_through,
    )  # here: a start without upstreams saves it

    said, warnings = looked_through(params, "question")
    asked = f"{who[:1].upper()}{who[1:]} asks"
    if method == "elicitation/create":
        notes = [f"(warning: {one})" for one in warnings]
        said["message"] = "\n".join((f"{asked}: {said.get('message') or ''}", *notes))
    elif method == "sampling/createMessage":
        before = said.get("systemPrompt")
        said["systemPrompt"] = f"{asked} for this." + (f"\n\n{before}" if before else "")
    meta = said.get("_meta")
    theirs = meta.items() if isinstance(meta, dict) else ()
    said["_meta"] = {name: one for name, one in theirs if not name.startswith(_OURS)}
    said["_meta"] |= {FROM: who, **({META: warnings} if warnings else {})}
    return said


def questions(who: str, requests: Any) -> dict[str, dict[str, Any]]:
    """The questions of an answer that asks, attributed. Raises PilotageError for what is none.
    There may be no question, where the server only wants to be called again."""
    if requests is None:
        return {}
    if not isinstance(requests, dict) or not all(map(_is_question, requests.values())):
        raise PilotageError(f"{who} asks back, and not as MCP does", "tell who runs that server")
    return {
        key: {**one, "params": attributed(who, one["method"], one.get("params") or {})}
        for key, one in requests.items()
    }


def remade(who: str, raw: bytes) -> bytes:
    """An answer that asks, with its questions attributed; the rest of it as it was."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        raise PilotageError(f"{who} asks back with what cannot be read here") from None
    if "inputRequests" in value:
        value["inputRequests"] = questions(who, value["inputRequests"])
    return wire.encode(value)


def _is_question(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and isinstance(one.get("method"), str)
        and isinstance(one.get("params") or {}, dict)
    )
