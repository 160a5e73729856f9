"""tools/call of MCP 2026-07-28 without the SDK, where a request is what nearly all of them are.

Every check of the SDK is made here as well, and whatever does not pass every one of them, or asks
for more than a plain call, goes to the SDK untouched: a refusal is worded there and nowhere else.
So is each answer but a plain success: the call has run by then, and the SDK is told how it ended.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any, Literal

import mcp_types as types
import msgspec
from mcp.shared.inbound import X_MCP_HEADER_KEY, decode_header_value
from mcp_types import methods
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from pilotage.domain.call import Peer, Principal, ToolCall, ToolResult
from pilotage.domain.ids import new_id
from pilotage.server.described import KEY, META, plain
from pilotage.server.handshake import REMEMBERED, Handshake, acceptable
from pilotage.server.http import (
    DONE,
    Head,
    Receive,
    Scope,
    Send,
    encode,
    read_body,
    replay,
    send_ok,
)
from pilotage.server.protocol import Protocol
from pilotage.server.relay import LOG_KEY
from pilotage.server.watch import Left, Watch
from pilotage.tool.eager import resume
from pilotage.tool.gateway import Gateway
from pilotage.tool.registry import Entry, Registry

VERSION = "2026-07-28"
METHOD: Literal["tools/call"] = "tools/call"
COMMIT_AFTER = 15.0
"""Seconds after which an answer becomes an event stream, as the SDK has it."""
TASKS = "io.modelcontextprotocol/tasks"
_VERSION, _METHOD = VERSION.encode(), METHOD.encode()


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
    """Stands in front of `protocol` for POST /mcp; what is not of this era goes to `handshake`.
    `called` counts the calls that it made, `answered` those whose answer it worded itself."""

    def __init__(
        self, gateway: Gateway, registry: Registry, protocol: Protocol, handshake: Handshake
    ) -> None:
        self._gateway, self._registry, self._protocol = gateway, registry, protocol
        self._handshake, self._commit_after = handshake, COMMIT_AFTER
        self._end = b',"resultType":"complete","_meta":' + encode(protocol.stamp) + b"}}"
        self._metas: set[bytes] = set()
        self._peers: dict[bytes, Peer] = {}
        self._names: dict[str, tuple[Entry, bytes | None]] = {}
        self.called = self.answered = 0

    async def serve(
        self, scope: Scope, head: Head, by: Principal, receive: Receive, send: Send
    ) -> None:
        """Answer one request of `by`, whose address was checked."""
        if not self.wants(scope, head):
            await self._handshake.serve(scope, head, by, receive, send)
            return
        body = await read_body(head, receive)
        asked = self.read(head, body)
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
            and _acceptable(head.get(b"accept"), head.get(b"content-type"))
        )

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
        if not isinstance(done, ToolResult):
            return None
        if done.wire is not None:
            if done.kept is not None or not done.wire.startswith(b'"result":'):
                return None
            self.answered += 1
            return b"".join((b'{"jsonrpc":"2.0","id":', encode(id), b",", done.wire, b"}"))
        said = plain(done)
        if said is None:
            return None
        self.answered += 1
        return b"".join((b'{"jsonrpc":"2.0","id":', encode(id), b',"result":{', said, self._end))

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


_acceptable = functools.lru_cache(REMEMBERED)(acceptable)  # few are ever seen


class _Waiting(Watch):
    """A client of MCP that waits: like the SDK, its answer becomes an event stream when it takes
    long, so that whoever is between us does not hang up."""

    def __init__(self, receive: Receive, send: Send) -> None:
        super().__init__(receive, send, stream=False)
        self.kind, self.beat = b"text/event-stream", b": ping\r\n\r\n"

    async def finish(self, content: bytes) -> None:
        line = content.replace(b"\n", b" ").replace(b"\r", b" ")  # of another server, maybe
        await self._write(b"event: message\r\ndata: " + line + b"\r\n\r\n", more=False)


async def _never() -> Any:
    """The end of a connection that somebody else watches."""
    await asyncio.get_running_loop().create_future()


class FastCalls(Collector):
    """How many calls went past the SDK, for Prometheus."""

    def __init__(self, fast: Fast, handshake: Handshake) -> None:
        self._paths: dict[str, Fast | Handshake] = {"modern": fast, "handshake": handshake}

    def collect(self) -> Iterator[Metric]:
        made = CounterMetricFamily(
            "pilotage_mcp_fast_calls",
            "MCP calls that did not go through the SDK, by era and by who worded the answer",
            labels=("era", "worded"),
        )
        for era, path in self._paths.items():
            made.add_metric((era, "fast"), path.answered)
            made.add_metric((era, "sdk"), path.called - path.answered)
        yield made
