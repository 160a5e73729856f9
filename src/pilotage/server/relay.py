"""Between a client of ours and the server of a federated tool: what the client said, the ways back
to it, and the answer as it came."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as types
import msgspec
from mcp import MCPError
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types import methods
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from pilotage.domain import trace
from pilotage.domain.call import Peer, Progress
from pilotage.domain.deadline import Deadline

Context = ServerRequestContext[Any, Any]
TELL_SECONDS = 5.0
ANSWER_SECONDS = 300.0
"""How long a client may take to answer a question in mid-call. That of its call stands still."""
NEWS_LIMIT = 1_000
LOG_KEY = "io.modelcontextprotocol/logLevel"
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_PASSED = "passed"
_STAND_INS: dict[str, HandlerResult] = {
    "tools/call": types.CallToolResult(content=[]),
    "prompts/get": types.GetPromptResult(messages=[]),
    "resources/read": types.ReadResourceResult(contents=[]),
    "completion/complete": types.CompleteResult(completion=types.Completion(values=[])),
}
"""What the SDK checks in place of an answer that is handed on."""


class Back:
    """The way back to a client while its request runs: what is told is sent in order. The task that
    sends it is made when there is something; of too much, the newest is dropped. `clean` takes out
    known secrets: what a server says here is no result, which the gateway sees to."""

    def __init__(self, context: Context, clean: Callable[[Any], Any]) -> None:
        self._context, self._clean = context, clean
        self._news: asyncio.Queue[Callable[[], Awaitable[None]] | None] = asyncio.Queue(NEWS_LIMIT)
        self._pumping: asyncio.Task[None] | None = None
        self.deadline = Deadline()

    def report(self, progress: Progress) -> None:
        """Progress, for the token that came with the request."""
        session = self._context.session
        message = progress.message or None
        self._put(lambda: session.report_progress(progress.done, progress.total, message))

    def tell(self, method: str, params: Mapping[str, Any]) -> None:
        """Any other notification, on the stream of this request."""
        outbound = self._context.session._request_outbound  # the SDK has no public way for raw ones
        cleaned = self._clean(params)
        self._put(lambda: outbound.notify(method, cleaned))

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """A question in mid-call, of the handshake eras."""
        outbound = self._context.session._request_outbound
        with self.deadline.asking(ANSWER_SECONDS):
            answer: Mapping[str, Any] = await outbound.send_raw_request(
                method, self._clean(params), None
            )
        return answer

    def _put(self, work: Callable[[], Awaitable[None]]) -> None:
        if self._pumping is None:
            self._pumping = asyncio.create_task(self._pump())
        if not self._news.full():
            self._news.put_nowait(work)

    async def _pump(self) -> None:
        while (work := await self._news.get()) is not None:
            await work()

    async def close(self) -> None:
        """Send what is left; a client that does not take it delays nothing for long."""
        if self._pumping is None:
            return
        if self._news.full():
            self._news.get_nowait()
        self._news.put_nowait(None)
        try:
            await asyncio.wait({self._pumping}, timeout=TELL_SECONDS)
        finally:
            self._pumping.cancel()


def is_modern(context: Context) -> bool:
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def capabilities(context: Context) -> dict[str, Any]:
    """What the client says that it is able to do."""
    can = context.session.client_capabilities
    return {} if can is None else can.model_dump(by_alias=True, mode="json", exclude_none=True)


def peer(context: Context, back: Back) -> Peer:
    """The client of this request, as a server behind us may know it."""
    params = context.params or {}
    found = params.get("_meta")
    meta: dict[str, Any] = dict(found) if isinstance(found, Mapping) else {}
    modern = is_modern(context)
    if modern:
        level = meta.get(LOG_KEY)
    else:
        level = log_level(context.session._connection)
        meta[LOG_KEY] = level or "info"
    answers, state = params.get("inputResponses"), params.get("requestState")
    return Peer(
        modern,
        capabilities(context),
        meta,
        answers if isinstance(answers, Mapping) else None,
        state if isinstance(state, str) else None,
        back.ask if not modern and context.session.can_send_request else None,
        _gated(back, level) if level is not None or not modern else None,
        back.deadline,
    )


def trace_of(context: Context) -> trace.Carrier:
    """The trace that this request is part of: in `_meta` (SEP-414), or in the headers of HTTP."""
    meta = (context.params or {}).get("_meta")
    if isinstance(meta, Mapping) and isinstance(meta.get("traceparent"), str):
        found: Mapping[str, Any] = meta
    elif context.request is not None:
        found = {name: context.request.headers.get(name) for name in trace.NAMES}
    else:
        found = {}
    return {name: one for name in trace.NAMES if isinstance(one := found.get(name), str)}


def _gated(back: Back, level: Any) -> Callable[[str, Mapping[str, Any]], None]:
    """Only log messages of the level that the client asked for, and above."""
    least = LEVELS.index(level) if level in LEVELS else 0

    def tell(method: str, params: Mapping[str, Any]) -> None:
        given = params.get("level")
        if given in LEVELS and LEVELS.index(str(given)) >= least:
            back.tell(method, params)

    return tell


def log_level(connection: Connection) -> str | None:
    """What a client of the handshake eras asked for by logging/setLevel."""
    level: str | None = connection.state.get(LOG_KEY)
    return level


def passed(context: Context, member: bytes) -> Any:
    """What a handler returns for an answer that is handed on; an error is raised as it came."""
    answer = msgspec.json.decode(b"{" + member + b"}")
    if "error" in answer:
        error = answer["error"]
        code, message = error.get("code"), error.get("message")
        raise MCPError(
            code=code if isinstance(code, int) else types.INTERNAL_ERROR,
            message=message if isinstance(message, str) else "an error without a message",
            data=error.get("data"),
        )
    result = answer["result"]
    setattr(context, _PASSED, result if is_modern(context) else _of_era(context, result))
    return _STAND_INS[context.method]


def _of_era(context: Context, result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as a client of the handshake eras knows it. The SDK would do the same, but log what
    is in one that is none."""
    said = {key: value for key, value in result.items() if key != "resultType"}
    method = context.method
    try:
        return methods.serialize_server_result(method, context.protocol_version, said)
    except ValueError:
        what = f"the server behind this answered with an invalid result of {method}"
        raise MCPError(code=types.INTERNAL_ERROR, message=what) from None


async def hand_on(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Middleware of the SDK's server: a result that is handed on is not made anew by it."""
    made = await call_next(ctx)
    handed: HandlerResult = getattr(ctx, _PASSED, made)
    return handed
