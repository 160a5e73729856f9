"""A connection that does not parse again what it has parsed before.

A client sends the same head with each of its calls, byte for byte, but for a few lengths. A parser
finds the same in the same bytes, so what it found is kept under them. That is done for whole,
ordinary POST requests that call a tool, come in one piece, and while the parser stands between two
requests; everything else goes through it. Their answers leave in one write.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, NamedTuple, cast

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from pilotage.server.calls import PREFIX
from pilotage.server.connection import Connection
from pilotage.server.http import HEAD, MCP

REMEMBERED = 2_000
HEAD_LIMIT = 4_096
END = b"\r\n\r\n"
OK = STATUS_LINE[200]
_NOT_ORDINARY = frozenset(
    (b"transfer-encoding", b"expect", b"upgrade", b"x-request-id", b"traceparent", b"tracestate")
)
"""Headers that change what a request is, or differ in each, so that keeping them helps nobody."""
_OF_ONE_CONNECTION = ("server", "client", "scheme", "state")
_SCOPES = 16


class Known(NamedTuple):
    """A head that was parsed: the ASGI scope, but for what belongs to one connection, and the
    length of the body."""

    scope: dict[str, Any]
    length: int


class Knowing(Connection):
    """`heads` is shared by all connections of a process."""

    heads: ClassVar[dict[bytes, Known]] = {}

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._begun = self._completed = 0  # requests that the parser saw
        self._quick: _Cycle | None = None
        self._scopes: dict[int, tuple[Known, dict[str, Any]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_since = 0.0
        self._default: tuple[Any, bytes] = (None, b"")
        self._plain = not (
            self.config.access_log
            or self.limit_concurrency
            or self.config.reset_contextvars
            or self.app_state
        )

    def data_received(self, data: bytes) -> None:
        if self._busy:
            super().data_received(data)
            return
        end = data.find(END) + 4
        known = self.heads.get(data[:end])
        if known is not None and len(data) - end == known.length:
            self._begin(known, data[end:])
            return
        before = self._begun
        super().data_received(data)
        if known is None and self._begun == before + 1:
            self._learn(data, end)

    @property
    def _busy(self) -> bool:
        """Is a request on its way in, or its answer on its way out?"""
        unanswered = self.cycle is not None and not self.cycle.response_complete
        return unanswered or self._begun != self._completed

    def in_head(self) -> bool:
        if self.cycle is not None and self.cycle is self._quick:
            return self._begun != self._completed
        return super().in_head()

    def _begin(self, known: Known, body: bytes) -> None:
        """Serve a whole request with a known head."""
        self._unread = 0
        cycle = self._quick
        if cycle is None or cycle.task is not None:
            cycle = self._quick = _Cycle(self)
        own = self._scopes.get(id(known))
        if own is None:
            own = self._scope_of(known)
        cycle.begin(own[1].copy(), body)
        self.cycle = cycle
        cycle.task = task = self.loop.create_task(cycle.run(self.app))
        self.tasks.add(task)

    def _scope_of(self, known: Known) -> tuple[Known, dict[str, Any]]:
        """The scope of a known head on this connection, to be copied for each request. A client has
        few heads at a time."""
        mine = {"server": self.server, "client": self.client, "scheme": self.scheme}
        if len(self._scopes) >= _SCOPES:
            self._scopes.clear()
        own = self._scopes[id(known)] = (known, {**known.scope, **mine})
        return own

    def _learn(self, data: bytes, end: int) -> None:
        """Keep what was parsed, where the head ended at `end` and nothing about it is special."""
        cycle = self.cycle
        if not (4 <= end <= HEAD_LIMIT and self._plain and cycle is not None and cycle.keep_alive):
            return
        scope = cast(dict[str, Any], cycle.scope)
        pairs = scope["headers"]
        head = dict(pairs)
        declared = head.get(b"content-length", b"")
        length = int(declared) if declared.isdigit() and len(declared) < 9 else 0
        path = scope["path"]
        if (
            scope["method"] == "POST"
            and (path == MCP or path.startswith(PREFIX))
            and scope["http_version"] == "1.1"
            and len(head) == len(pairs)
            and not head.keys() & _NOT_ORDINARY
            and head.get(b"connection", b"keep-alive").lower() == b"keep-alive"
            and 0 < length <= HIGH_WATER_LIMIT
            and len(data) - end <= length
            and cycle.body == data[end:]
        ):
            kept = {k: v for k, v in scope.items() if k not in _OF_ONE_CONNECTION}
            kept["headers"], kept[HEAD] = tuple(pairs), head
            if len(self.heads) >= REMEMBERED:
                del self.heads[next(iter(self.heads))]
            self.heads[data[:end]] = Known(kept, length)

    def on_message_begin(self) -> None:
        self._begun += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._completed += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn has it, but for the timer of a connection at rest: one that goes on, instead
        of one a request."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._quiet_since = self.loop.time()
        if self._timer is None:
            self._timer = self.loop.call_later(self.timeout_keep_alive, self._at_rest)

    def _at_rest(self) -> None:
        self._timer = None
        if self._busy or self.transport.is_closing():
            return
        left = self._quiet_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._at_rest)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def default_headers(self) -> bytes:
        """The headers of every answer (the date), which uvicorn makes anew each second."""
        now = self.server_state.default_headers
        if self._default[0] is not now:
            self._default = now, b"".join(b"%b: %b\r\n" % pair for pair in now)
        return self._default[1]


class _Cycle(RequestResponseCycle):
    """One request with a known head after another, whose body is whole already."""

    def __init__(self, connection: Knowing) -> None:
        super().__init__(
            scope=cast(Any, {}),
            transport=connection.transport,
            flow=connection.flow,
            logger=connection.logger,
            access_logger=connection.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=True,
            on_response=connection.on_response_complete,
        )
        self._connection = connection
        self._given: bytes | None = None
        self.task: asyncio.Task[None] | None = None

    def begin(self, scope: Any, body: bytes) -> None:
        self.scope, self._given = scope, body
        self.more_body = self.response_started = self.response_complete = False
        self.chunked_encoding, self.expected_content_length = None, 0
        self.keep_alive = True
        self.default_headers = self._connection.server_state.default_headers
        self.on_response = self._connection.on_response_complete
        self.message_event.clear()

    async def run(self, app: Any) -> None:
        """One that is cancelled before this begins stays in `tasks`: the server ends then."""
        try:
            await self.run_asgi(app)
        finally:
            if self.task is not None:
                self._connection.tasks.discard(self.task)
            self.task = None

    async def receive(self) -> Any:
        if self._given is None:
            return await super().receive()
        body, self._given = self._given, None
        return {"type": "http.request", "body": body, "more_body": False}

    def at_once(self, head: bytes, content: bytes) -> bool:
        """Answer 200 in one write, `head` as RAW has it; False where that takes more than one."""
        if (
            self.response_started
            or self.disconnected
            or self.flow.write_paused
            or not self.keep_alive
        ):
            return False
        mine = self._connection.default_headers()
        self.transport.write(b"%b%b%b%b" % (OK, mine, head, content))
        self.response_started = self.response_complete = True
        self.message_event.set()
        self.on_response()
        return True
