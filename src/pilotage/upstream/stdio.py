"""A server that is a program of this machine, spoken to over its standard input and output.

Started by process/attached.py, as every program is: a list of arguments, no shell, nothing of our
environment, a session of its own, and its whole tree killed in the end. Only the administrator's
settings file names such a server. The SDK's own stdio client starts programs itself, and hands them
our HOME and USER; so it is not used (decision 0019).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Mapping
from typing import Any

from pilotage.domain.errors import PilotageError, Unavailable
from pilotage.process.attached import Attached
from pilotage.process.run import Limits, Program
from pilotage.upstream import wire
from pilotage.upstream.classic import greeted, hello, travelling_params
from pilotage.upstream.link import NOBODY, Heard, Offer, Relay, Wanted, params_of
from pilotage.upstream.server import Upstream

logger = logging.getLogger(__name__)


class _Flight:
    """One request under way, and who waits for it."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.answer: asyncio.Future[wire.Message] = asyncio.get_running_loop().create_future()


class Stdio:
    """One process. `abilities` is what we say that our clients can do."""

    bound = True

    def __init__(
        self, upstream: Upstream, env: Mapping[str, str], abilities: Mapping[str, Any]
    ) -> None:
        self._who = f"the upstream {upstream.name}"
        limits = Limits(output=upstream.result_limit)
        self._program = Program(upstream.argv, environment=env, limits=limits)
        self._abilities = abilities
        self._ids = itertools.count(1)
        self._flights: dict[int, _Flight] = {}
        self._heard: Heard | None = None
        self._lost: asyncio.Future[str] | None = None
        self._opening, self._writing = asyncio.Lock(), asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._offer: Offer | None = None

    async def open(self) -> Offer:
        """Start the program and shake hands, unless that is done."""
        async with self._opening:
            if self._offer is None:
                self._process = Attached(self._program)
                try:
                    await self._process.start()
                except Unavailable as error:
                    raise wire.Lost(f"{self._who} cannot be started: {error.what}") from None
                self._lost = asyncio.get_running_loop().create_future()
                self._spawn(self._read(self._process))
                try:
                    raw = await self._exchange("initialize", hello(self._abilities), NOBODY)
                    self._offer = greeted(self._who, wire.document(self._who, raw))
                    await self._say("notifications/initialized", None)
                except BaseException:
                    await self.close()
                    raise
            return self._offer

    async def ask(self, method: str, params: Mapping[str, Any], relay: Relay) -> bytes:
        """One request; many may be under way."""
        await self.open()
        return await self._exchange(method, params, relay)

    async def _exchange(self, method: str, params: Mapping[str, Any], relay: Relay) -> bytes:
        id = next(self._ids)
        flight = self._flights[id] = _Flight(relay)
        sent = travelling_params(id, params, relay)
        try:
            await self._write({"jsonrpc": "2.0", "id": id, "method": method, "params": sent})
            answer = await flight.answer
        except asyncio.CancelledError:
            said = {"requestId": id, "reason": "the caller cancelled"}
            self._spawn(self._say("notifications/cancelled", said))
            raise
        finally:
            self._flights.pop(id, None)
        return wire.result(self._who, answer)

    async def _say(self, method: str, params: Mapping[str, Any] | None) -> None:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        with contextlib.suppress(wire.Lost):
            await self._write(message)

    async def _write(self, message: Mapping[str, Any] | bytes) -> None:
        line = message if isinstance(message, bytes) else wire.encode(message)
        async with self._writing:
            try:
                await self._process.write(line)
            except (ConnectionError, AssertionError):
                raise wire.Lost(self._why_gone(self._process)) from None

    async def _read(self, process: Attached) -> None:
        """Everything that it writes, until it ends; then everybody who waits is told, and the next
        who asks starts it anew."""
        why = ""
        try:
            async for line in process.lines():
                self._take(line)
        except PilotageError as error:
            why = f"{self._who}: {error.what}"
        why = why or self._why_gone(process)
        self._offer = None
        self._end(why)
        await process.close()

    def _end(self, why: str) -> None:
        """Tell everybody who waits."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(why)
        for flight in self._flights.values():
            if not flight.answer.done():
                flight.answer.set_exception(wire.Lost(why))

    def _why_gone(self, process: Attached) -> str:
        last = process.errors.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
        killed = process.killed
        reason = killed or (f"it last said: {last}" if last else "it said nothing")
        return f"{self._who} has ended: {reason}"

    def _take(self, line: bytes) -> None:
        try:
            message = wire.message(self._who, line)
        except wire.Lost:
            logger.info("%s wrote a line that is no JSON-RPC", self._who)
            return
        if message.method is None:
            flight = self._flights.get(message.id) if isinstance(message.id, int) else None
            if flight is not None and not flight.answer.done():
                flight.answer.set_result(message)
        elif message.id is not None:
            self._spawn(self._reply(message))
        elif message.method == "notifications/progress":
            token = params_of(message).get("progressToken")
            flight = self._flights.get(token) if isinstance(token, int) else None
            if flight is not None and isinstance(token, int):
                flight.relay.heard(token, message)
        elif message.method == "notifications/message":
            self._only().heard(0, message)
        elif self._heard is not None:
            self._heard(message.method, params_of(message))

    def _only(self) -> Relay:
        """Who a message is for that names no request: known only where one is under way. With more,
        it is nobody's, rather than another client's."""
        relays = [flight.relay for flight in self._flights.values()]
        return relays[0] if len(relays) == 1 else NOBODY

    async def _reply(self, message: wire.Message) -> None:
        with contextlib.suppress(wire.Lost):
            await self._write(await self._only().asked(message))

    async def listen(self, wanted: Wanted, heard: Heard) -> None:
        """What it announces, until it ends."""
        await self.open()
        self._heard = heard
        for uri in wanted.uris:
            await self.ask("resources/subscribe", {"uri": uri}, NOBODY)
        assert self._lost is not None
        raise wire.Lost(await asyncio.shield(self._lost))

    async def close(self) -> None:
        self._offer = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._end(f"{self._who} was let go")
        await self._process.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
