"""2026-07-28: every request stands for itself, and its answer is passed on as it came."""

from __future__ import annotations

import base64
import functools
import itertools
import re
from collections.abc import Mapping
from typing import Any

from pilotage.domain import trace
from pilotage.domain.call import Peer, silent
from pilotage.upstream import wire
from pilotage.upstream.exchange import Broken, Http
from pilotage.upstream.link import NOBODY, Heard, Offer, Relay, Wanted, params_of

REMEMBERED = 256
id_of = id  # `id` is what JSON-RPC calls its numbers here
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_SAFE = re.compile(r"[\x20-\x7E]*")


class Modern:
    """A link without a session: nothing is kept but the pool of connections."""

    bound = False

    def __init__(self, http: Http) -> None:
        self._http = http
        self._ids = itertools.count(1)
        self._metas: dict[int, tuple[Peer, dict[str, Any]]] = {}

    async def open(self) -> Offer:
        """Ask what the server is. RpcError or Refused: it does not speak this era."""
        said = wire.document(self._http.who, await self.ask("server/discover", {}, NOBODY))
        if wire.MODERN not in (said.get("supportedVersions") or ()):
            raise wire.RpcError(
                self._http.who, b'{"code":-32022,"message":"it does not speak 2026-07-28"}'
            )
        meta = said.get("_meta") or {}
        return Offer(
            wire.MODERN,
            said.get("capabilities") or {},
            meta.get(wire.SERVER_KEY) or {},
            str(said.get("instructions") or ""),
        )

    async def ask(self, method: str, params: Mapping[str, Any], relay: Relay) -> bytes:
        """One exchange. Cancelling closes its connection, which is how this era cancels."""
        id = next(self._ids)
        sent = {**params, "_meta": self._meta(id, relay)}
        body = wire.encode({"jsonrpc": "2.0", "id": id, "method": method, "params": sent})
        headers = {**_headers(method, params), **relay.headers}
        try:
            answer, _ = await self._http.post(
                body, headers, lambda message: relay.heard(id, message), id
            )
        except Broken:
            answer = None
        if answer is None:
            raise wire.Lost(f"{self._http.who} broke off before its answer")
        return wire.result(self._http.who, answer)

    def _meta(self, id: int, relay: Relay) -> dict[str, Any]:
        """The envelope. Clients send the same again and again, so the last ones are remembered."""
        peer = relay.peer
        if peer is None or relay.report is not silent:
            return _envelope(id, relay)
        known = self._metas.get(id_of(peer))
        if known is None or known[0] is not peer:
            if len(self._metas) >= REMEMBERED:
                self._metas.clear()
            known = self._metas[id_of(peer)] = (peer, _envelope(id, relay))
        return known[1]

    async def listen(self, wanted: Wanted, heard: Heard) -> None:
        """subscriptions/listen, whose response is the stream."""
        given: dict[str, Any] = {
            "toolsListChanged": wanted.tools,
            "promptsListChanged": wanted.prompts,
            "resourcesListChanged": wanted.resources,
        }
        notifications = {name: True for name, wants in given.items() if wants}
        if wanted.uris:
            notifications["resourceSubscriptions"] = sorted(wanted.uris)  # type: ignore[assignment]
        id, method = f"listen-{next(self._ids)}", "subscriptions/listen"
        params = {"notifications": notifications, "_meta": _envelope(id, NOBODY)}
        body = wire.encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        stream = await self._http.listen("POST", _headers(method, {}), body)
        try:
            async for message in stream:
                if message.error:
                    raise wire.RpcError(self._http.who, bytes(message.error))
                if message.method is None:
                    return
                heard(message.method, params_of(message))
        finally:
            await stream.close()

    async def close(self) -> None:
        """There is nothing to close: connections are the pool's."""


def _envelope(id: int | str, relay: Relay) -> dict[str, Any]:
    """What this era has in `_meta`: who asks is us, able to do what the client is."""
    meta = wire.travelling(relay.peer.meta) if relay.peer is not None else {}
    trace.carry(meta)
    meta[wire.VERSION_KEY] = wire.MODERN
    meta[wire.INFO_KEY] = wire.INFO
    meta[wire.CAPABILITIES_KEY] = relay.capabilities
    if relay.report is not silent:
        meta["progressToken"] = id
    return meta


def _headers(method: str, params: Mapping[str, Any]) -> dict[str, str]:
    headers = {"MCP-Protocol-Version": wire.MODERN, "Mcp-Method": method}
    key = _NAMED.get(method)
    if key is not None:
        headers["Mcp-Name"] = header_value(str(params.get(key, "")))
    return headers


@functools.lru_cache(1024)
def header_value(text: str) -> str:
    """A text as a header has it: as it is where that is safe, else in base64 (spec 2026-07-28,
    transports, "Mcp-Name")."""
    if _SAFE.fullmatch(text) and text == text.strip() and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="
