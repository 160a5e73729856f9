"""tools/call in a session of the handshake eras without the SDK, where it is a plain one.

These are 2024-11-05 to 2025-11-25, in which nearly all clients speak. As in server/fast.py, every
check of the SDK is made here as well, whatever else goes to it untouched, and so does each end of a
call but a plain success. The answer is a stream of events, as the SDK gives it, in one write where
the call does not wait. See server/sessions.py for what a session must know of such a call.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Coroutine
from typing import Any, Literal

import msgspec
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from pilotage.domain.call import Principal, Progress, Report, ToolCall, ToolResult, silent
from pilotage.domain.ids import new_id
from pilotage.server.described import plain
from pilotage.server.http import (
    DONE,
    JSON,
    Head,
    Message,
    Receive,
    Scope,
    Send,
    encode,
    read_body,
    replay,
    send_whole,
)
from pilotage.server.protocol import Protocol
from pilotage.server.sessions import ID, End, Id, Session
from pilotage.server.watch import WATCH_AFTER, Watch
from pilotage.tool.eager import resume
from pilotage.tool.gateway import Gateway
from pilotage.tool.registry import Registry

REMEMBERED = 256
_VERSIONS = (None, *(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS))


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: dict[str, Any] | None = None
    meta: msgspec.Raw = msgspec.field(name="_meta", default=msgspec.Raw())


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    """`id` takes a float too, so that 1.0 is not read as 1; it is refused then."""

    jsonrpc: Literal["2.0"]
    id: int | float | str
    method: Literal["tools/call"]
    params: _Params


class _Meta(msgspec.Struct):
    token: int | float | str | msgspec.UnsetType | None = msgspec.field(
        name="progressToken", default=msgspec.UNSET
    )


_request = msgspec.json.Decoder(_Request).decode
_meta = msgspec.json.Decoder(_Meta).decode
Asked = tuple[Id, str, dict[str, Any], Id | None]
"""What a request asks for: its id, the tool, the arguments; the token for its progress, if any."""


class Handshake:
    """Stands in front of `protocol` for POST /mcp. `called` counts the calls that it made,
    `answered` those of them whose answer it worded itself."""

    def __init__(self, gateway: Gateway, registry: Registry, protocol: Protocol) -> None:
        self._gateway, self._registry, self._protocol = gateway, registry, protocol
        self._sessions = protocol.sessions
        self.called = self.answered = 0

    async def serve(
        self, scope: Scope, head: Head, by: Principal, receive: Receive, send: Send
    ) -> None:
        """Answer one request of `by`, whose address was checked."""
        if not self.wants(scope, head):
            await self._protocol.serve(scope, head, by, receive, send)
            return
        body = await read_body(head, receive)
        session = self._sessions.of(head, by)
        asked = self.read(body) if session is not None and session.ready else None
        if session is None or asked is None:
            await self._protocol.serve(scope, head, by, replay(body, receive), send)
            return
        stream = None if asked[3] is None else _Stream(send, session, asked[3])
        running = self._begin(asked, by, silent if stream is None else stream.report)
        done: ToolResult | Exception | End
        try:
            wants = running.send(None)
        except StopIteration as end:
            done = end.value
            session.used = time.monotonic()
        except Exception as error:
            done = error
        else:
            stream = stream or _Stream(send, session)
            done = await stream.over(session.run(asked[0], resume(running, wants)), WATCH_AFTER)
        said = self.said(asked[0], done)
        if said is None:
            scope[DONE] = done
            send = send if stream is None else await stream.handed_on()
            await self._protocol.serve(scope, head, by, replay(body, receive), send)
        elif stream is None:
            await send_whole(send, session.start(len(said)), said)
        else:
            await stream.finish(said)

    def _begin(
        self, asked: Asked, by: Principal, report: Report
    ) -> Coroutine[Any, Any, ToolResult]:
        self.called += 1
        call = ToolCall(new_id(), asked[1], asked[2], by, "mcp")
        return self._gateway.call(call, report)

    def wants(self, scope: Scope, head: Head) -> bool:
        """Do the headers say that this may be a call in a session, and nothing else of note? No
        header came twice then."""
        return (
            ID in head
            and head.get(b"mcp-protocol-version") in _VERSIONS
            and scope["method"] == "POST"
            and len(head) == len(scope["headers"])
            and _acceptable(head.get(b"accept"), head.get(b"content-type"))
        )

    def read(self, body: bytes) -> Asked | None:
        """What the body asks for; None where the SDK must look at it: at a call of another server's
        tool, too, which may have questions for this client."""
        try:
            request = _request(body)
            id, params = request.id, request.params
            token = _token(params.meta)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if isinstance(id, float):
            return None
        entry = self._registry.entries.get(params.name)
        if entry is None or entry.tool.wire is not None or entry.tool.tasks == "required":
            return None
        return id, params.name, params.arguments or {}, token

    def said(self, id: Id, done: ToolResult | Exception | End) -> bytes | None:
        """The events that end an answer: a plain success, or that the call was ended; None where
        the SDK has the words."""
        if isinstance(done, bytes):
            self.answered += 1
            return done and _event(b'{"jsonrpc":"2.0","id":%b,%b}' % (encode(id), done))
        members = plain(done) if isinstance(done, ToolResult) else None
        if members is None:
            return None
        self.answered += 1
        return b"".join((_START, encode(id), _RESULT, members, _END))


class _Stream(Watch):
    """The answer of a call that waits, or tells of its progress. A client of these eras that goes
    away ends nothing."""

    def __init__(self, send: Send, session: Session, token: Id | None = None) -> None:
        super().__init__(_never, send, stream=token is not None)
        self.beat = b": ping\r\n\r\n"
        self._session, self._token = session, token

    async def _see_it_leave(self) -> None: ...

    async def _commit(self) -> None:
        if not self.committed:
            self.committed = True
            await self._send(self._session.start())

    def _told(self) -> bytes:
        """What there is to tell, which is then told."""
        if not self._news:
            return b""
        told = b"".join([_event(self._worded(news)) for news in self._news])
        self._news.clear()
        return told

    def _worded(self, news: Progress) -> bytes:
        params = {"progressToken": self._token, "progress": news.done}
        if news.total is not None:
            params["total"] = news.total
        if news.message:
            params["message"] = news.message
        method = "notifications/progress"
        return encode({"jsonrpc": "2.0", "method": method, "params": params})

    async def _tell(self) -> None:
        if self._news:
            await self._commit()
            await self._write(self._told())

    async def finish(self, content: bytes) -> None:
        """The end, after what was told before it."""
        content = self._told() + content
        if self.committed:
            await self._write(content, more=False)
        else:
            await send_whole(self._send, self._session.start(len(content)), content)

    async def handed_on(self) -> Send:
        """Where the SDK words the end."""
        await self._tell()
        if not self.committed:
            return self._send

        async def rest(message: Message) -> None:
            if message["type"] != "http.response.start":
                await self._send(message)

        return rest


async def _never() -> Any:
    raise AssertionError("the body was read, and nobody watches the connection")


_START = b'event: message\r\ndata: {"jsonrpc":"2.0","id":'
_RESULT, _END = b',"result":{', b"}}\r\n\r\n"


def _event(message: bytes) -> bytes:
    return b"event: message\r\ndata: %b\r\n\r\n" % message


def _token(raw: msgspec.Raw) -> Id | None:
    """The token for progress in `_meta`; ValueError where that has something for the SDK."""
    meta = bytes(raw)
    if not meta:
        return None
    if b"io.modelcontextprotocol" in meta or b"io.pilotage" in meta or b"\\" in meta:
        raise ValueError  # the last could hide the others
    token = _meta(meta).token
    if token is msgspec.UNSET:
        return None
    if token is None or isinstance(token, float):
        raise ValueError
    return token


def acceptable(accept: bytes | None, kind: bytes | None) -> bool:
    """Are both headers as the SDK wants them?"""
    if accept is None or kind is None or not kind.lower().startswith(JSON):
        return False
    ranges = {one.strip().split(b";")[0].strip().lower() for one in accept.split(b",")}
    return b"*/*" in ranges or bool(
        ranges & {JSON, b"application/*"} and ranges & {b"text/event-stream", b"text/*"}
    )


@functools.lru_cache(REMEMBERED)
def _acceptable(accept: bytes | None, kind: bytes | None) -> bool:
    """As these eras are stricter about the type of the body. Few are ever seen."""
    given = b"" if kind is None else kind.partition(b";")[0].strip()
    return given == JSON and acceptable(accept, kind)
