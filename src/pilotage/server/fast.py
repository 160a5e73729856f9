"""tools/call of MCP 2026-07-28 without the SDK, where a request is what nearly all of them are.

Every check of the SDK is made here as well, and whatever does not pass every one of them, or asks
for more than a plain call, goes to the SDK untouched: a refusal is worded there and nowhere else.
So is each answer but a plain success: the call has run by then, and the SDK is told how it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any, Literal

import mcp_types as types
import msgspec
from mcp.shared.inbound import X_MCP_HEADER_KEY, decode_header_value
from mcp_types import methods
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from pilotage.domain.call import Outcome, Peer, Principal, ToolCall, ToolResult
from pilotage.domain.ids import new_id
from pilotage.server.described import KEY, META
from pilotage.server.http import (
    DONE,
    JSON,
    Head,
    Receive,
    Scope,
    Send,
    checked_body,
    encode,
    refuse_announced,
    replay,
    send_ok,
    whole_body,
)
from pilotage.server.protocol import Protocol
from pilotage.server.relay import LOG_KEY
from pilotage.server.watch import Left, Watch
from pilotage.tool.answer import answer
from pilotage.tool.eager import resume
from pilotage.tool.gateway import Gateway
from pilotage.tool.registry import Entry, Registry

VERSION = "2026-07-28"
METHOD: Literal["tools/call"] = "tools/call"
COMMIT_AFTER = 15.0
"""Seconds after which an answer becomes an event stream, as the SDK has it."""
REMEMBERED = 256
TASKS = "io.modelcontextprotocol/tasks"
_VERSION, _METHOD = VERSION.encode(), METHOD.encode()
_SUCCEEDED = Outcome.SUCCEEDED


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    meta: msgspec.Raw = msgspec.field(name="_meta")
    arguments: dict[str, Any] | None = None


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    """`id` takes a float too, so that 1.0 is not read as 1; it is refused then."""

    jsonrpc: Literal["2.0"]
    id: int | float | str
    method: Literal["tools/call"]
    params: _Params


Asked = tuple[int | str, str, dict[str, Any], Peer | None]
"""What a request asks for: its id, the tool, the arguments; who asks, where another server is to
know that."""
_request = msgspec.json.Decoder(_Request).decode


class Fast:
    """Stands in front of `protocol` for POST /mcp. `called` counts the calls that it made,
    `answered` those of them whose answer it worded itself."""

    def __init__(
        self,
        gateway: Gateway,
        registry: Registry,
        protocol: Protocol,
        commit_after: float = COMMIT_AFTER,
    ) -> None:
        self._gateway, self._registry, self._protocol = gateway, registry, protocol
        self._commit_after = commit_after
        stamp = encode(protocol.stamp)
        self._middle = b'}],"isError":false,"resultType":"complete","structuredContent":'
        self._end = b',"_meta":' + stamp + b"}}"
        self._headers: set[tuple[bytes | None, bytes | None]] = set()
        self._metas: set[bytes] = set()
        self._peers: dict[bytes, Peer] = {}
        self._names: dict[str, tuple[Entry, bytes | None]] = {}
        self.called = self.answered = 0

    async def serve(
        self, scope: Scope, head: Head, by: Principal, receive: Receive, send: Send
    ) -> None:
        """Answer one request of `by`, whose address was checked."""
        if not self.wants(scope, head):
            await self._protocol.serve(scope, head, by, receive, send)
            return
        refuse_announced(head)
        message = await receive()
        simple = message["type"] == "http.request" and not message.get("more_body")
        body = message.get("body", b"") if simple else await whole_body(message, receive)
        asked = self.read(head, checked_body(body))
        if asked is None:
            await self._protocol.serve(scope, head, by, replay(body, receive), send)
            return
        running = self._begin(asked, by)
        done: ToolResult | Exception
        try:
            wants = running.send(None)
        except StopIteration as end:
            done = end.value
        except Exception as error:
            done = error
        else:
            waiting = _Waiting(receive, send)
            try:
                done = await self._waited(waiting, resume(running, wants))
            except Left:
                return
            if waiting.committed:
                await waiting.finish(await self._worded(asked, done, scope, head, by, body))
                return
        content = self.success(asked[0], done)
        if content is None:
            scope[DONE] = done
            await self._protocol.serve(scope, head, by, replay(body, receive), send)
            return
        await send_ok(send, content)

    def _begin(self, asked: Asked, by: Principal) -> Coroutine[Any, Any, ToolResult]:
        self.called += 1
        call = ToolCall(new_id(), asked[1], asked[2], by, "mcp", peer=asked[3])
        if call.peer is not None:
            return self._protocol.parking.call(call)
        return self._gateway.call(call)

    def wants(self, scope: Scope, head: Head) -> bool:
        """Do the headers say that this is a call, and nothing else of note? No header came twice
        then."""
        return (
            head.get(b"mcp-method") == _METHOD
            and head.get(b"mcp-protocol-version") == _VERSION
            and scope["method"] == "POST"
            and len(head) == len(scope["headers"])
            and (
                (head.get(b"accept"), head.get(b"content-type")) in self._headers
                or self._good_headers(head.get(b"accept"), head.get(b"content-type"))
            )
        )

    def _good_headers(self, accept: bytes | None, kind: bytes | None) -> bool:
        """Both are as the SDK wants them. Few are ever seen, so that they are remembered."""
        if accept is None or kind is None or not kind.lower().startswith(JSON):
            return False
        ranges = {one.strip().split(b";")[0].strip().lower() for one in accept.split(b",")}
        if b"*/*" not in ranges and not (
            ranges & {JSON, b"application/*"} and ranges & {b"text/event-stream", b"text/*"}
        ):
            return False
        if len(self._headers) < REMEMBERED:
            self._headers.add((accept, kind))
        return True

    def read(self, head: Head, body: bytes) -> Asked | None:
        """What the body asks for; None where the SDK must look at it."""
        try:
            request = _request(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        id, params = request.id, request.params
        if isinstance(id, float):
            return None
        name = params.name
        entry = self._registry.entries.get(name)
        if entry is None:
            return None
        known = self._names.get(name)
        if known is None or known[0] is not entry:
            known = self._learn(name, entry)
        header = known[1]
        if header is None or head.get(b"mcp-name") != header:
            return None
        meta = bytes(params.meta)
        if meta not in self._metas and not self._good_meta(meta):
            return None
        peer = None
        if entry.tool.wire is not None and (peer := self._peer(meta)) is None:
            return None
        return id, name, params.arguments or {}, peer

    def _peer(self, raw: bytes) -> Peer | None:
        """The client as a server behind us may know it; None where it wants to hear its log."""
        peer = self._peers.get(raw)
        if peer is None:
            meta = msgspec.json.decode(raw)
            if LOG_KEY in meta:
                return None
            peer = Peer(True, meta[types.CLIENT_CAPABILITIES_META_KEY], meta)
            if len(self._peers) >= REMEMBERED:
                self._peers.clear()
            if len(raw) <= 4_096:
                self._peers[raw] = peer
        return peer

    def _learn(self, name: str, entry: Entry) -> tuple[Entry, bytes | None]:
        """The tool with the header that names it; None: the SDK must look at calls of it, since its
        arguments have headers, or they make a task."""
        plain = name.isascii() and name == name.strip() and decode_header_value(name) == name
        tasks = entry.tool.tasks == "required"
        if tasks or X_MCP_HEADER_KEY.encode() in encode(entry.tool.input_schema):
            plain = False
        known = (entry, name.encode() if plain else None)
        if len(self._names) >= 10 * REMEMBERED:
            self._names.clear()  # of tools that are gone
        self._names[name] = known
        return known

    def _good_meta(self, raw: bytes) -> bool:
        """Is it an envelope that the SDK takes, and which asks for nothing beside the call: no
        progress, no task, no approval? A client sends the same one again and again."""
        try:
            meta = msgspec.json.decode(raw)
            methods.validate_client_request(METHOD, VERSION, {"name": "", "_meta": meta})
            types.CallToolRequestParams.model_validate({"name": "", "_meta": meta}, by_name=False)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        extensions = meta[types.CLIENT_CAPABILITIES_META_KEY].get("extensions") or {}
        if (
            meta[types.PROTOCOL_VERSION_META_KEY] != VERSION
            or "progressToken" in meta
            or META in meta
            or KEY in meta
            or TASKS in extensions
        ):
            return False
        if len(raw) <= 4_096:
            if len(self._metas) >= REMEMBERED:
                self._metas.clear()
            self._metas.add(raw)
        return True

    def success(self, id: int | str, done: ToolResult | Exception) -> bytes | None:
        """The answer of a call that succeeded and has nothing to say but its value, or the result
        that another server sent, as it came; else None."""
        if not isinstance(done, ToolResult) or done.kept is not None:
            return None
        if done.wire is not None:
            if not done.wire.startswith(b'"result":'):
                return None
            self.answered += 1
            return b"".join((b'{"jsonrpc":"2.0","id":', encode(id), b",", done.wire, b"}"))
        if done.outcome is not _SUCCEEDED or done.content or done.warnings:
            return None
        try:
            content = encode(answer(done))
            text = encode(content.decode())
        except (TypeError, ValueError):
            return None
        self.answered += 1
        return b"".join(
            (
                b'{"jsonrpc":"2.0","id":',
                encode(id),
                b',"result":{"content":[{"type":"text","text":',
                text,
                self._middle,
                content,
                self._end,
            )
        )

    async def _waited(
        self, waiting: _Waiting, call: Awaitable[ToolResult]
    ) -> ToolResult | Exception:
        try:
            return await waiting.over(call, self._commit_after)
        except Left:
            raise
        except Exception as error:
            return error

    async def _worded(
        self,
        asked: Asked,
        done: ToolResult | Exception,
        scope: Scope,
        head: Head,
        by: Principal,
        body: bytes,
    ) -> bytes:
        """The message of a call whose answer is an event stream already."""
        content = self.success(asked[0], done)
        if content is not None:
            return content
        parts: list[bytes] = []

        async def keep(message: Any) -> None:
            parts.append(message.get("body", b""))

        scope[DONE] = done
        await self._protocol.serve(scope, head, by, replay(body, _never), keep)
        return b"".join(parts)


class _Waiting(Watch):
    """A client of MCP that waits: like the SDK, its answer becomes an event stream when it takes
    long, so that whoever is between us does not hang up."""

    def __init__(self, receive: Receive, send: Send) -> None:
        super().__init__(receive, send, stream=False)
        self.kind, self.beat = b"text/event-stream", b": ping\r\n\r\n"

    async def finish(self, content: bytes) -> None:
        line = content.replace(b"\n", b" ").replace(b"\r", b" ")  # of another server, maybe
        await self._write(b"event: message\r\ndata: " + line + b"\r\n\r\n", more=False)


class FastCalls(Collector):
    """How many calls took the fast path, for Prometheus."""

    def __init__(self, fast: Fast) -> None:
        self._fast = fast

    def collect(self) -> Iterator[Metric]:
        made = CounterMetricFamily(
            "pilotage_mcp_fast_calls",
            "MCP calls that did not go through the SDK, by who worded the answer",
            labels=("worded",),
        )
        made.add_metric(("fast",), self._fast.answered)
        made.add_metric(("sdk",), self._fast.called - self._fast.answered)
        yield made


async def _never() -> Any:
    """The end of a connection that somebody else watches."""
    await asyncio.get_running_loop().create_future()
