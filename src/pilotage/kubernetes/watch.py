"""A watch: one answer that does not end, one JSON object a line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Literal

import msgspec

from pilotage.kubernetes.depth import decoder
from pilotage.kubernetes.errors import Unreachable, of_status
from pilotage.kubernetes.kind import Object
from pilotage.kubernetes.transport import Transport

SILENCE_SECONDS = 150.0
"""Bookmarks come about once a minute: a watch that misses two of them is dead."""
LONGEST_LINE = 32 << 20
"""No object is as long: etcd takes 1.5 MB."""


class Event(msgspec.Struct, frozen=True):
    """`object` of a BOOKMARK holds nothing but kind and metadata.resourceVersion."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: Object

    @property
    def resource_version(self) -> str:
        """Where a watch goes on after this event."""
        return str(self.object["metadata"]["resourceVersion"])


_decode = decoder(Event)


async def watched(
    transport: Transport,
    path: str,
    query: Mapping[str, str],
    opened: Callable[[], None] | None = None,
) -> AsyncGenerator[Event, None]:
    """The events, until the server ends the answer between two of them."""
    async with transport.open("GET", path, query=query, silence=SILENCE_SECONDS) as answer:
        if opened is not None:
            opened()
        async for line in _lines(answer.content.iter_any(), path):
            event = _decoded(line, path)
            if event.type == "ERROR":
                raise of_status(event.object, f"watch {path}")
            yield event


def _decoded(line: bytes, path: str) -> Event:
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        why = f"watch {path}: what came is no event: {error}"
        raise Unreachable(why, "is that a Kubernetes API?", status=502) from None


async def _lines(pieces: AsyncIterator[Any], path: str) -> AsyncIterator[bytes]:
    """Whole lines. What was cut off in mid-line is dropped: its event comes again."""
    rest = b""
    async for piece in pieces:
        if b"\n" not in piece:
            rest += piece
            if len(rest) > LONGEST_LINE:
                raise Unreachable(f"watch {path}: a line without an end", status=502)
            continue
        *lines, last = (rest + piece).split(b"\n")
        rest = last
        for line in lines:
            if line:
                yield line
