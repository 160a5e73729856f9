"""An HTTP server on loopback that tells what reached it, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Echo:
    """What was asked, the newest last; `port` on 127.0.0.1."""

    port: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        assert request.transport is not None
        self.connections.add(request.transport.get_extra_info("peername")[1])
        told = {
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": body.decode("utf-8", "replace"),
        }
        self.seen.append(told)
        how = request.headers.get("X-How", "") or request.path.removeprefix("/how/")
        return await self._as(how, told, request)

    async def _as(self, how: str, told: dict[str, Any], request: web.Request) -> web.StreamResponse:
        what, _, rest = how.partition(":")
        if what == "status":
            return web.Response(status=int(rest), text="it is not\x1b[31m here " + "x" * 5_000)
        if what == "to":
            return web.Response(
                status=307, headers={"Location": request.query.get("where", "/how/to")}
            )
        if what == "text":
            return web.Response(text="<p>hello</p>", content_type="text/html")
        if what == "json":
            return web.Response(text=request.query["text"], content_type="application/json")
        if what == "nested":
            return web.Response(text="[" * int(rest), content_type="application/json")
        if what == "large":
            return web.json_response({"text": "x" * int(rest)})
        if what == "zipped":
            answer = web.json_response({"text": "x" * 100_000})
            answer.enable_compression(web.ContentCoding.gzip)
            answer.headers["Content-Encoding"] = "gzip"
            return answer
        if what == "hang":
            await asyncio.Event().wait()
        if what == "cut":
            cut = web.StreamResponse(headers={"Content-Length": "100"})
            await cut.prepare(request)
            await cut.write(b'{"half": ')
            assert request.transport is not None
            request.transport.close()
            return cut
        if what == "empty":
            return web.Response(status=204)
        return web.Response(text=json.dumps(told), content_type="application/json")


@asynccontextmanager
async def echoing(ssl_context: Any = None) -> AsyncIterator[Echo]:
    """It runs while this is open."""
    echo = Echo()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{tail:.*}", echo.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
    await site.start()
    echo.port = runner.addresses[0][1]
    try:
        yield echo
    finally:
        await runner.cleanup()
