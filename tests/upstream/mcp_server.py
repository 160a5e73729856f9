"""A small MCP server on loopback, of either era, that does what a test wants of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

MODERN = "2026-07-28"
CLASSIC = "2025-11-25"
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"does {name}", "inputSchema": TEXT, **more}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], **more}


@dataclass
class Asked:
    """One request to answer: `tell` sends a message on the stream of its answer before that."""

    message: dict[str, Any]
    headers: dict[str, str]
    tell: Callable[[dict[str, Any]], Awaitable[None]]

    @property
    def name(self) -> str:
        return str(self.message["params"]["name"])

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.message["params"].get("arguments") or {})

    @property
    def meta(self) -> dict[str, Any]:
        return dict(self.message["params"].get("_meta") or {})


Answer = Callable[[Asked], Awaitable[Any]]


async def echo(asked: Asked) -> Any:
    return said(asked.arguments.get("text", ""), structuredContent=asked.arguments)


@dataclass
class Server:
    """`eras` it speaks. `answer` makes the result of tools/call: a dict, {"error": ...} for an
    error of the protocol, a web.Response to send as it is, or None to end the stream without."""

    eras: tuple[str, ...] = (MODERN,)
    tools: list[dict[str, Any]] = field(default_factory=lambda: [tool("echo")])
    answer: Answer = echo
    extra: dict[str, Answer] = field(default_factory=dict)
    port: int = 0
    listens: bool = True
    lists: int = 0
    seen: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    cancelled: int = 0
    streams: list[web.StreamResponse] = field(default_factory=list)
    replies: dict[Any, asyncio.Future[Any]] = field(default_factory=dict)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername")[1])
        if request.method == "GET":
            return await self._stream(request)
        if request.method == "DELETE":
            self.sessions.discard(headers.get("mcp-session-id", ""))
            return web.Response(status=204)
        message = json.loads(await request.read())
        self.seen.append((headers, message))
        modern = headers.get("mcp-protocol-version") == MODERN
        if modern and MODERN not in self.eras:
            return _error(message, -32601, "Method not found", 404)
        if not modern and CLASSIC not in self.eras:
            return _error(message, -32022, "no handshake here", 400)
        if "method" not in message:
            self.replies.pop(message["id"]).set_result(message)
            return web.Response(status=202)
        known = modern or message["method"] == "initialize"
        if not known and headers.get("mcp-session-id") not in self.sessions:
            return web.Response(status=404)
        if "id" not in message:
            return web.Response(status=202)
        return await self._answer(request, message, headers)

    async def _answer(
        self, request: web.Request, message: dict[str, Any], headers: dict[str, str]
    ) -> web.StreamResponse:
        stream: web.StreamResponse | None = None

        async def tell(told: dict[str, Any]) -> None:
            nonlocal stream
            if stream is None:
                stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await stream.prepare(request)
            await stream.write(b"data: " + json.dumps(told).encode() + b"\n\n")

        asked = Asked(message, headers, tell)
        if message["method"] == "subscriptions/listen":
            return await self._stream(request)
        try:
            result = await self._result(asked)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(result, web.StreamResponse):
            return result
        if result is None:
            assert stream is not None
            return stream
        if set(result) == {"error"}:
            answer = {"jsonrpc": "2.0", "id": message["id"], "error": result["error"]}
        else:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        if stream is not None:
            await tell(answer)
            return stream
        more = {}
        if message["method"] == "initialize":
            session = f"s{len(self.seen)}"
            self.sessions.add(session)
            more = {"Mcp-Session-Id": session}
        return web.json_response(answer, headers=more)

    async def _result(self, asked: Asked) -> Any:
        method = asked.message["method"]
        if method in self.extra:
            return await self.extra[method](asked)
        if method == "server/discover":
            return {"supportedVersions": [MODERN], "capabilities": {"tools": {"listChanged": True}}}
        if method == "initialize":
            return {
                "protocolVersion": CLASSIC,
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "small", "version": "1"},
            }
        if method == "tools/list":
            self.lists += 1
            return {"tools": self.tools}
        if method == "tools/call":
            return await self.answer(asked)
        return {}

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if not self.listens:
            return web.Response(status=405)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        self.streams.append(stream)
        try:
            await self.hung_up.wait()
        finally:
            self.streams.remove(stream)
        return stream

    async def announce(self, method: str, **params: Any) -> None:
        """Tell a change to whoever listens."""
        told = json.dumps({"jsonrpc": "2.0", "method": method, "params": params})
        for stream in self.streams:
            await stream.write(f"data: {told}\n\n".encode())

    def cut(self) -> None:
        """Cut off the streams of whoever listens, in the middle, as the end of a process does."""
        for stream in self.streams:
            request = stream._req
            assert request is not None
            assert request.transport is not None
            request.transport.close()

    def hang_up(self) -> None:
        """End the streams of whoever listens."""
        ending, self.hung_up = self.hung_up, asyncio.Event()
        ending.set()

    async def ask(self, asked: Asked, method: str, params: dict[str, Any]) -> Any:
        """Ask the client something in the middle of a call (handshake era)."""
        id = f"q{len(self.seen)}"
        reply = self.replies[id] = asyncio.get_running_loop().create_future()
        await asked.tell({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        return await reply

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/mcp", self.handle)
        self.runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.05)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", port).start()
        self.port = self.runner.addresses[0][1]

    async def stop(self) -> None:
        if self.runner is not None:
            runner, self.runner = self.runner, None
            await runner.cleanup()


def _error(message: Any, code: int, text: str, status: int) -> web.Response:
    error = {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": code, "message": text}}
    return web.json_response(error, status=status)


@asynccontextmanager
async def serving(**given: Any) -> AsyncIterator[Server]:
    """It runs while this is open, unless it is stopped before."""
    server = Server(**given)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
