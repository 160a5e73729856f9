"""One connection of a client: what it may send, how long it may take, and how many there may be.

uvicorn bounds none of these. A request that comes in one piece costs one comparison more; what is
slow is found by a look at all connections once a second, so that no request needs a timer.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pilotage.server.http import BODY_LIMIT, encode

HEAD_LIMIT = 64 << 10
REST_LIMIT = 2 * BODY_LIMIT
"""Bytes of a request after its head: its body, chunked at the worst, or what nobody reads."""
KEPT_FILES, MOST_FILES = 256, 65_536


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a client has to send the head of a request, to send the rest, and to take some
    of an answer; and how many may be connected."""

    head: float = 10.0
    body: float = 60.0
    answer: float = 60.0
    connections: int = 10_000


PATIENCE = Patience()


class Connection(HttpToolsProtocol):
    """`most` connections at once; see Patience."""

    most = PATIENCE.connections
    _unread = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self.refuse(503, "too many connections", b"retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.scope is not self.scope or self.cycle.more_body:
            self._count(len(data))
        elif self._unread:
            self._unread = 0

    def _count(self, size: int) -> None:
        self._unread += size
        if self.in_head() and self._unread > HEAD_LIMIT:
            self.refuse(431, f"the head of the request is larger than {HEAD_LIMIT} bytes")
        elif self._unread > REST_LIMIT:
            self.refuse(413, f"the body is larger than {BODY_LIMIT} bytes")

    def in_head(self) -> bool:
        """Is the head of a request not whole yet? So it is before the first one."""
        return self.cycle is None or self.cycle.scope is not self.scope

    def in_body(self) -> bool:
        return self.cycle is not None and self.cycle.more_body

    def refuse(self, status: int, why: str, more: bytes = b"") -> None:
        """Answer, unless an answer has begun, and hang up."""
        if self.transport.is_closing():
            return
        begun = self.cycle is not None and self.cycle.response_started
        if not begun or (self.in_head() and self.cycle.response_complete):
            body = encode({"success": False, "error": why})
            head = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
            end = b"connection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head + more + end + body)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self.refuse(400, "that is not HTTP/1.1")


class Watchman:
    """Looks at the connections, once a second, for those that keep us waiting."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._since: WeakKeyDictionary[Connection, tuple[object, float]] = WeakKeyDictionary()

    def look(self, connections: Iterable[Any]) -> None:
        now, patience = time.monotonic(), self._patience
        for one in tuple(connections):
            if not isinstance(one, Connection):
                continue
            if one.flow.write_paused:
                if self._longer(one, "answer", now, patience.answer):
                    one.transport.abort()
            elif one.in_head():
                # between two requests uvicorn waits, by a timer of its own
                phase = ("head", id(one.scope))
                if self._longer(one, phase, now, patience.head):
                    one.refuse(408, f"no whole request within {patience.head:g} s")
            elif one.in_body():
                if self._longer(one, ("body", id(one.cycle)), now, patience.body):
                    one.refuse(408, f"no whole body within {patience.body:g} s")
            else:
                self._since.pop(one, None)

    def _longer(self, one: Connection, phase: object, now: float, seconds: float) -> bool:
        known = self._since.get(one)
        if known is None or known[0] != phase:
            self._since[one] = (phase, now)
            return False
        return now - known[1] >= seconds


def connections_at_most(wanted: int) -> int:
    """As many as there are file descriptors for, some kept for the database and programs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    aim = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < aim:
        resource.setrlimit(resource.RLIMIT_NOFILE, (aim, hard))
        soft = aim
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - KEPT_FILES))
