"""Run the server: over HTTP until it is asked to stop, or over stdio until its client leaves."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import uvicorn

from pilotage.app import App, local_principal
from pilotage.domain.call import Principal
from pilotage.domain.errors import BadInput, Unavailable
from pilotage.server import tls
from pilotage.server.access import LOOPBACK, Access
from pilotage.server.connection import (
    PATIENCE,
    Connection,
    Patience,
    Watchman,
    connections_at_most,
)
from pilotage.server.front import Front
from pilotage.server.known import Knowing
from pilotage.server.protocol import Protocol

logger = logging.getLogger(__name__)
GRACE_SECONDS = 30.0
LAST_SECONDS = 5
LOCAL_ROLE = "developer"


@dataclass(frozen=True, slots=True)
class Options:
    """How to listen. `names` are more host names under which clients reach this server.

    `insecure_local`: whoever reaches the port needs no key. `plain`: no TLS on a network.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    names: tuple[str, ...] = ()
    tls_auto: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    insecure_local: bool = False
    plain: bool = False
    grace: float = GRACE_SECONDS
    patience: Patience = PATIENCE


def serve(app: App, options: Options, ready: Callable[[str, tls.Files | None], None]) -> None:
    """Listen until SIGTERM or SIGINT; `ready` is told the address and the TLS files."""
    _check(options)
    names = _names(options)
    local = _anybody() if options.insecure_local else None
    files = _tls(app, options, names)
    front = Front(app, Access(app.keys, app.audit, names, local), local)
    listener = _bind(options)
    config = uvicorn.Config(
        front,
        loop="uvloop",
        http=_connection(options),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,  # its records are ours: see log.py
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=LAST_SECONDS,
        ssl_certfile=str(files.certificate) if files else None,
        ssl_keyfile=str(files.key) if files else None,
    )
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else "localhost" if host == "127.0.0.1" else host
    address = f"{'https' if files else 'http'}://{shown}:{port}"
    server = _Server(config, front, options, lambda: ready(address, files))
    server.run(sockets=[listener])


def serve_stdio(app: App) -> None:
    """Serve one MCP client on standard input and output, as whoever started this program."""
    asyncio.run(_stdio(app))


class _Server(uvicorn.Server):
    """uvicorn, which stops in two steps: refuse what is new and finish what runs, then close."""

    def __init__(
        self, config: uvicorn.Config, front: Front, options: Options, ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._front, self._grace, self._ready = front, options.grace, ready
        self._watchman = Watchman(options.patience)
        self._drain: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._loop = asyncio.get_running_loop()
            gc.collect()
            gc.freeze()  # what a server starts with is never garbage: do not look at it again
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if counter % 10 == 0:
            self._watchman.look(self.server_state.connections)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal asks, the second insists."""
        if self._front.stopping or not self.started:
            self.should_exit = self.force_exit = True
        else:
            self._front.stopping = True
            self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        logger.info(
            "stopping: calls that run have %g s to end; a second signal ends them", self._grace
        )
        self._drain = self._loop.create_task(self._finish())

    async def _finish(self) -> None:
        try:
            await self._front.drain(self._grace)
        finally:
            self.should_exit = True


def _connection(options: Options) -> type[Connection]:
    most = connections_at_most(options.patience.connections)
    return type("Connection", (Knowing,), {"most": most, "heads": {}})


def _check(options: Options) -> None:
    if bool(options.tls_certificate) != bool(options.tls_key):
        raise BadInput("--tls-cert and --tls-key belong together")
    if options.tls_auto and options.tls_certificate:
        raise BadInput("--tls auto and --tls-cert exclude each other")
    secure = options.tls_auto or options.tls_certificate
    if not _is_loopback(options.host):
        if options.insecure_local:
            raise BadInput(
                f"--insecure-local lets in whoever reaches {options.host} without a key",
                "give it with a loopback address only",
            )
        if not secure and not options.plain:
            raise BadInput(
                f"without TLS, keys would cross the network to {options.host} readable by all",
                "--tls auto, or --tls-cert and --tls-key; behind a proxy that speaks TLS: "
                "--dangerously-serve-plain-http",
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _names(options: Options) -> tuple[str, ...]:
    names = {*LOOPBACK, *options.names}
    host = options.host.strip("[]")
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = False
    names.add(socket.gethostname().lower() if everywhere else host)
    return tuple(sorted(names))


def _tls(app: App, options: Options, names: tuple[str, ...]) -> tls.Files | None:
    if options.tls_auto:
        return tls.automatic(app.settings.authority, names)
    if options.tls_certificate:
        return tls.given(options.tls_certificate, options.tls_key)
    return None


def _bind(options: Options) -> socket.socket:
    host = options.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, options.port), family=family, backlog=2048)
    except OSError as error:
        raise Unavailable(
            f"{options.host}:{options.port} cannot be listened on: {error.strerror}",
            "choose another --port",
        ) from None


def _anybody() -> Principal:
    """Who comes to loopback without a key: any program of any user of this machine, so a
    developer at most, not who owns the state folder."""
    return Principal("local:anybody", frozenset({LOCAL_ROLE}))


async def _stdio(app: App) -> None:
    protocol = Protocol(app, local_principal())
    loop = asyncio.get_running_loop()
    leaving: list[asyncio.Task[None]] = []

    async def leave() -> None:
        """The thread that reads standard input cannot be interrupted, so leave without it."""
        await protocol.stop()
        await app.leave()
        app.close()
        sys.stderr.flush()
        os._exit(0)

    def asked() -> None:
        leaving.append(loop.create_task(leave()))

    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, asked)
    with contextlib.suppress(BrokenPipeError):
        await protocol.serve_stdio()
    await protocol.stop()
    await app.leave()
