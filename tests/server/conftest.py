"""A server in the test's own loop, real in every part, on a free port of loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import uvicorn

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.domain.call import Principal
from pilotage.server.access import LOOPBACK, Access
from pilotage.server.front import Front
from pilotage.server.known import Knowing
from pilotage.tool.roots import roots
from server.tools import TOOLS


@dataclass(frozen=True)
class House:
    """A running server: its parts, its address, a session without a key."""

    app: App
    front: Front
    url: str
    session: aiohttp.ClientSession

    def key(self, *roles: str, tools: tuple[str, ...] = ("*",), name: str = "") -> str:
        name = name or f"k{len(self.app.keys.list())}"
        return self.app.keys.create(name, roles, tools, by=local_principal())[1]

    def headers(self, *roles: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key(*roles)}"}


def make_app(home: Path, root: Path) -> App:
    settings = config.read(environment={"PILOTAGE_HOME": str(home), "HOME": str(home)})
    return App(settings, roots(root), TOOLS)


@asynccontextmanager
async def running(app: App, local: Principal | None = None) -> AsyncIterator[House]:
    front = Front(app, Access(app.keys, app.audit, LOOPBACK, local), local)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as uvloop has it
    settings = uvicorn.Config(
        front,
        http=Knowing,
        access_log=False,
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(settings)
    server.capture_signals = _NoSignals  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
        assert not task.done()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with aiohttp.ClientSession() as session:
            yield House(app, front, url, session)
    finally:
        await front.drain(1)
        server.should_exit = True
        await task


class _NoSignals:
    """The test runner keeps its signals."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    root = tmp_path / "root"
    root.mkdir()
    app = make_app(tmp_path / "home", root)
    try:
        async with running(app) as running_house:
            yield running_house
    finally:
        app.close()
