"""What others ask the process: /healthz, /readyz and /metrics, plain HTTP without secrets.

A check gives "" where all is well, else what is wrong. Nothing answers while the event loop is
stuck, so that a probe times out: which is how a stuck loop is found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pilotage.domain.errors import BadInput

if TYPE_CHECKING:
    from aiohttp import web

Check = Callable[[], str]


class Endpoints:
    """Servers on the addresses that were given; "0" or "" is none, as for controller-runtime."""

    def __init__(self, metrics: Callable[[], bytes], content_type: str) -> None:
        self.health: dict[str, Check] = {"ping": lambda: ""}
        self.ready: dict[str, Check] = {}
        self.bound: dict[str, tuple[str, int]] = {}
        """Where each address that was asked for ended up: ":0" takes a free port."""
        self._metrics, self._content_type = metrics, content_type
        self._runners: list[web.AppRunner] = []

    async def open(self, metrics: str, health: str) -> None:
        """Listen. BadInput: an address cannot be used."""
        from aiohttp import web

        checks = {"/healthz": self.health, "/readyz": self.ready}
        probes = [web.get(path, _checked(found)) for path, found in checks.items()]
        wanted: dict[str, list[web.RouteDef]] = {}
        for address, routes in ((health, probes), (metrics, [web.get("/metrics", self._shown)])):
            if address not in ("", "0"):
                wanted.setdefault(address, []).extend(routes)
        for address, routes in wanted.items():
            await self._listen(address, routes)

    async def close(self) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def _listen(self, address: str, routes: list[web.RouteDef]) -> None:
        from aiohttp import web

        host, port = _parted(address)
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, host or None, port).start()
        except OSError as error:
            why = f"{address} cannot be listened on: {error.strerror}"
            raise BadInput(why, "take another port, or 0 for none") from None
        self.bound[address] = runner.addresses[0][:2]

    async def _shown(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(body=self._metrics(), headers={"Content-Type": self._content_type})


def _checked(checks: dict[str, Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        from aiohttp import web

        found = {name: check() for name, check in checks.items()}
        wrong = any(found.values())
        lines = [f"[-]{name}: {why}" if why else f"[+]{name} ok" for name, why in found.items()]
        whole = wrong or "verbose" in request.query
        return web.Response(
            status=500 if wrong else 200, text="\n".join(lines) + "\n" if whole else "ok"
        )

    return answer


def _parted(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise BadInput(f"{address!r} is no address", 'write ":8080" or "127.0.0.1:8080"')
    return host.strip("[]"), int(port)
