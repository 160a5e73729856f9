"""Calls under an idempotency key: the same key with the same arguments runs once, and its answer is
given again to whoever sends the call again.

A key belongs to one principal at one tool. Of a tool that is idempotent, a call that did not
succeed or was cut off runs again, and one that runs is joined. Of any other, nothing runs twice:
every answer is kept, and where a call was cut off nobody knows what it did, so that is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from pilotage.domain.call import Kept, Outcome, Report, ToolCall, ToolResult
from pilotage.domain.errors import BadInput, Busy, Conflict, PilotageError
from pilotage.domain.ids import new_id
from pilotage.store import attempts as rows
from pilotage.store.attempts import ROWS_LIMIT, Attempt, Place
from pilotage.store.database import Database
from pilotage.tool.canonical import digest
from pilotage.tool.failure import failed
from pilotage.tool.flight import Flight
from pilotage.tool.redact import Redactor
from pilotage.tool.tool import Tool

logger = logging.getLogger(__name__)
KEEP_SECONDS = 86_400
KEEP_BYTES = 64 << 20
ANSWER_LIMIT = 1 << 20
SWEEP_SECONDS = 60.0
_REPLAYED = "replayed"
_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder(ToolResult).decode
Run = Callable[[ToolCall, Report], Coroutine[Any, Any, ToolResult]]


class Attempts:
    """Answers are kept `keep` seconds, in `size` bytes at most: the oldest leave first, and then it
    is only known that they were given."""

    def __init__(
        self,
        database: Database,
        redactor: Redactor,
        *,
        keep: float = KEEP_SECONDS,
        size: int = KEEP_BYTES,
    ) -> None:
        self._database, self._redactor = database, redactor
        self._keep, self._size = keep, size
        self._owner = f"{os.getpid()}:{_started(os.getpid())}:{new_id()}"
        self._flights: dict[Place, Flight] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._swept, self._written = -SWEEP_SECONDS, 0

    async def begin(
        self,
        tool: Tool,
        call: ToolCall,
        run: Run,
        report: Report,
        settle: Callable[[], Awaitable[None]],
    ) -> Coroutine[Any, Any, ToolResult]:
        """What runs the call, or gives the answer that is kept. Conflict where neither may be.
        `settle` is awaited before anything runs, and raises where it must not."""
        place = (call.by.name, call.tool, call.idempotency_key or "")
        try:
            wanted = digest(call.arguments)
        except ValueError as error:
            raise BadInput(f"{tool.name}: no key for this call: {error}") from None
        while (flight := self._flights.get(place)) is not None:
            if flight.digest != wanted:
                raise _other_arguments()
            if not (tool.idempotent or flight.ended):
                raise Conflict("a call with this Idempotency-Key is running", "wait for its answer")
            joined = await flight.joined(report)
            if joined is not None:
                return _given(replace(joined, kept=Kept(_REPLAYED, 0.0)))
        kept = self._judged(tool, wanted, rows.find(self._database, place))
        if kept is not None:
            return _given(kept)
        flight = self._flights[place] = Flight(wanted)
        flight.hear(report)
        try:
            await settle()
            kept = await self._claim(tool, call, place, wanted)
        except BaseException:
            self._let_go(place, flight)
            raise
        if kept is not None:
            self._let_go(place, flight)
            return _given(kept)
        return self._fly(place, flight, run, call)

    async def _claim(
        self, tool: Tool, call: ToolCall, place: Place, wanted: str
    ) -> ToolResult | None:
        """Put down that it is about to run, unless another process was faster."""

        def claim(connection: sqlite3.Connection) -> ToolResult | PilotageError | None:
            self._sweep(connection)
            try:
                kept = self._judged(tool, wanted, rows.find_within(connection, place))
            except PilotageError as refused:
                return refused
            if kept is None:
                now = time.time_ns() // 1000
                rows.begin(connection, place, wanted, call.id, self._owner, now)
            return kept

        found = await self._database.write(claim)
        if isinstance(found, PilotageError):
            raise found
        return found

    def _judged(self, tool: Tool, wanted: str, found: Attempt | None) -> ToolResult | None:
        """The answer that is kept, None where the call is to run; Conflict where it must not."""
        if found is None or found.created < time.time_ns() // 1000 - self._keep * 1e6:
            return None
        if found.digest != wanted:
            raise _other_arguments()
        if not found.outcome and self._runs(found.owner):
            raise Conflict("a call with this Idempotency-Key is running", "wait for its answer")
        if tool.idempotent and found.outcome != Outcome.SUCCEEDED.value:
            return None
        if found.answer is not None:
            age = max(0.0, time.time() - found.created / 1e6)
            return replace(_decode(found.answer), kept=Kept(_REPLAYED, age))
        if tool.idempotent:
            return None
        row = rows.row_of(self._database, found)
        where = f"call {found.call}" + (f", audit row {row}" if row is not None else "")
        if found.outcome:
            what = f"a call with this Idempotency-Key {found.outcome}; its answer is not kept"
        else:
            what = "a call with this Idempotency-Key was cut off: its outcome is unknown"
        raise Conflict(f"{what} ({where})", "see what it did, then call under another key")

    def _runs(self, owner: str) -> bool:
        """Does a process that is not this one run it? What this one runs is among its flights."""
        pid, _, rest = owner.partition(":")
        started = rest.partition(":")[0]
        return pid != str(os.getpid()) and bool(started) and _started(int(pid)) == started

    async def _fly(self, place: Place, flight: Flight, run: Run, call: ToolCall) -> ToolResult:
        result = None
        try:
            result = await run(call, flight.tell)
        except Exception as error:
            result = failed(call, error)
        finally:
            if result is None:  # cut off: nobody knows what it did
                self._let_go(place, flight)
        task = asyncio.ensure_future(self._end(place, flight, call.id, result))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return result

    async def _end(self, place: Place, flight: Flight, call: str, result: ToolResult) -> None:
        """Keep the answer, without known secrets. Until it is on disk, it is given from memory."""
        flight.end(result)
        try:
            answer: bytes | None = _encode(self._redactor.whole(result))
            if len(answer or b"") > ANSWER_LIMIT:
                answer = None
            self._written += len(answer or b"")
            await self._database.write(lambda c: rows.end(c, call, result.outcome.value, answer))
        except PilotageError as error:
            logger.error("the answer of call %s is not kept: %s", call, error)
        finally:
            self._let_go(place, flight)

    def _let_go(self, place: Place, flight: Flight) -> None:
        if self._flights.get(place) is flight:
            del self._flights[place]
        flight.end(None)

    async def close(self) -> None:
        """Return once the answers that were given are kept."""
        if self._ending:
            await asyncio.wait(set(self._ending))

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Once a minute, and when much was written."""
        if time.monotonic() < self._swept + SWEEP_SECONDS and self._written < self._size // 8:
            return
        before = time.time_ns() // 1000 - int(self._keep * 1e6)
        left = rows.sweep(connection, before, self._size)
        if left >= ROWS_LIMIT:
            raise Busy(f"{left} idempotency keys are kept", "idempotency.keep shortens it", 60)
        self._swept, self._written = time.monotonic(), 0


async def _given(kept: ToolResult) -> ToolResult:
    return kept


def _other_arguments() -> Conflict:
    what = "this Idempotency-Key was used with other arguments"
    return Conflict(what, "a key stands for one piece of work: use another")


def _started(pid: int) -> str:
    """When a process began, in clock ticks since the machine did; "" if there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rsplit(")", 1)[1].split()[19]
    return ""
