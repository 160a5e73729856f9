"""The handshake eras over HTTP: a session that is kept, and opened anew when the server drops it.

Our own, and not the SDK's client: results pass as the bytes they are, the session and the guard of
outgoing calls are those of every other call, and what a server asks in mid-call comes to us on the
stream of that call, so that it is put to the client whose call it is (decision 0019).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Mapping
from typing import Any

from pilotage.domain import trace
from pilotage.domain.call import silent
from pilotage.domain.errors import PilotageError
from pilotage.upstream import wire
from pilotage.upstream.exchange import Broken, Http, Refused
from pilotage.upstream.link import NOBODY, Heard, Offer, Relay, Wanted, params_of

RESUMES = 5
RETRY_SECONDS = 1.0
GOODBYE_SECONDS = 2.0


class Classic:
    """One session. `abilities` is what we say that our clients can do; who calls must have it."""

    bound = False

    def __init__(self, http: Http, abilities: Mapping[str, Any]) -> None:
        self._http, self._abilities = http, abilities
        self._ids = itertools.count(1)
        self._headers: dict[str, str] = {}
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.offer: Offer | None = None

    async def open(self) -> Offer:
        """Shake hands, unless somebody did while we waited."""
        async with self._opening:
            if self.offer is None:
                self.offer = await self._shake_hands()
            return self.offer

    async def _shake_hands(self) -> Offer:
        params = hello(self._abilities)
        id = next(self._ids)
        self._headers = {}
        request = _request(id, "initialize", params)
        answer, headers = await self._http.post(request, {}, None, id)
        if answer is None:
            raise wire.Lost(f"{self._http.who} took initialize and said nothing")
        said = wire.document(self._http.who, wire.result(self._http.who, answer))
        offer = greeted(self._http.who, said)
        session = headers.get("Mcp-Session-Id")
        self._headers = {"MCP-Protocol-Version": offer.version}
        if session:
            self._headers["Mcp-Session-Id"] = session
        await self._http.post(
            wire.encode({"jsonrpc": "2.0", "method": "notifications/initialized"}), self._headers
        )
        return offer

    async def ask(self, method: str, params: Mapping[str, Any], relay: Relay) -> bytes:
        """One request. Raises Forgotten where the server has dropped the session: it may be another
        server, so whoever asks decides whether it is asked again, in a session that is new then."""
        await self.open()
        headers = self._headers
        try:
            return await self._exchange(method, params, relay)
        except Refused as refused:
            raise self._meant(refused, headers) from None

    def _meant(self, refused: Refused, headers: Mapping[str, str]) -> PilotageError:
        """What a refusal means to a session of these headers."""
        if refused.code != 404 or "Mcp-Session-Id" not in headers:
            return refused
        if self._headers is headers:
            self.offer = None
        return wire.Forgotten(f"{self._http.who} has forgotten our session", "try again")

    async def _exchange(self, method: str, params: Mapping[str, Any], relay: Relay) -> bytes:
        id = next(self._ids)
        sent = travelling_params(id, params, relay)
        headers = {**self._headers, **relay.headers}
        asked: set[asyncio.Task[None]] = set()

        def taken(message: wire.Message) -> None:
            if message.id is None:
                relay.heard(id, message)
            else:
                task = asyncio.create_task(self._reply(relay, message))
                asked.add(task)
                task.add_done_callback(asked.discard)

        try:
            try:
                answer, _ = await self._http.post(_request(id, method, sent), headers, taken, id)
            except Broken as broken:
                answer = await self._resumed(broken, taken, id)
        except asyncio.CancelledError:
            self._say_cancelled(id)
            raise
        finally:
            for task in asked:
                task.cancel()
        if answer is None:
            raise wire.Lost(f"{self._http.who} took {method} and said nothing")
        return wire.result(self._http.who, answer)

    async def _resumed(self, broken: Broken, taken: Any, id: int) -> wire.Message:
        """The server may close a stream in mid-call and be asked for the rest of it later."""
        for _ in range(RESUMES):
            if broken.last is None:
                break
            await asyncio.sleep(broken.retry if broken.retry is not None else RETRY_SECONDS)
            headers = {**self._headers, "Last-Event-ID": broken.last}
            try:
                return await self._http.resume(headers, taken, id)
            except Broken as again:
                broken = Broken(again.last or broken.last, again.retry or broken.retry)
        raise wire.Lost(f"{self._http.who} broke off before its answer")

    async def _reply(self, relay: Relay, message: wire.Message) -> None:
        """Put a question of the server's to whoever called, and send what comes of it."""
        with contextlib.suppress(wire.Lost, Refused, Broken):
            await self._http.post(await relay.asked(message), self._headers)

    def _say_cancelled(self, id: int) -> None:
        """In this era a closed connection cancels nothing; the call is told, and not waited for."""

        async def say() -> None:
            params = {"requestId": id, "reason": "the caller cancelled"}
            body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            with contextlib.suppress(Exception):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._http.post(wire.encode(body), self._headers)

        task = asyncio.create_task(say())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def listen(self, wanted: Wanted, heard: Heard) -> None:
        """The stream of what belongs to no call. Raises Refused where the server has none."""
        await self.open()
        for uri in wanted.uris:
            await self.ask("resources/subscribe", {"uri": uri}, NOBODY)
        headers = self._headers
        try:
            stream = await self._http.listen("GET", headers, None)
        except Refused as refused:
            raise self._meant(refused, headers) from None
        try:
            async for message in stream:
                if message.method is None:
                    continue
                if message.id is None:
                    heard(message.method, params_of(message))
                else:
                    await self._reply(NOBODY, message)
        finally:
            await stream.close()

    async def close(self) -> None:
        """End the session at the server, if it still listens."""
        for task in self._tasks:
            task.cancel()
        if self.offer is not None and "Mcp-Session-Id" in self._headers:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._http.delete(self._headers)
        self.offer = None


def hello(abilities: Mapping[str, Any]) -> dict[str, Any]:
    """The params of `initialize`."""
    return {
        "protocolVersion": wire.HANDSHAKES[0],
        "capabilities": dict(abilities),
        "clientInfo": wire.INFO,
    }


def greeted(who: str, said: Mapping[str, Any]) -> Offer:
    """What `initialize` was answered with."""
    version = said.get("protocolVersion")
    if version not in wire.HANDSHAKES:
        raise wire.Lost(f"{who} speaks {str(version)[:40]!r}, which we do not")
    return Offer(
        version,
        said.get("capabilities") or {},
        said.get("serverInfo") or {},
        str(said.get("instructions") or ""),
    )


def travelling_params(id: int, params: Mapping[str, Any], relay: Relay) -> dict[str, Any]:
    """The params with what goes on of the client's `_meta`; the era's own keys are not for here."""
    meta = wire.travelling(relay.peer.meta) if relay.peer is not None else {}
    trace.carry(meta)
    meta.pop(wire.LOG_KEY, None)
    if relay.report is not silent:
        meta["progressToken"] = id
    return {**params, "_meta": meta} if meta else dict(params)


def _request(id: int, method: str, params: Mapping[str, Any]) -> bytes:
    return wire.encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
