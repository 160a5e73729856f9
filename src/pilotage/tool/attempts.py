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
from pilotage.store.attempts import ROWS_LIMIT, Attempt, Held, Place
from pilotage.store.database import Database
from pilotage.tool.beside import beside, is_large
from pilotage.tool.canonical import digest
from pilotage.tool.failure import failed
from pilotage.tool.flight import Flight
from pilotage.tool.redact import Redactor
from pilotage.tool.size import size_of
from pilotage.tool.tool import Tool

logger = logging.getLogger(__name__)
KEEP_SECONDS = 86_400
KEEP_BYTES = 64 << 20
EACH = 100_000
ANSWER_LIMIT = 1 << 20
SWEEP_SECONDS = 60.0
_REPLAYED = "replayed"
_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder(ToolResult).decode
Run = Callable[[ToolCall, Report], Coroutine[Any, Any, ToolResult]]


class Attempts:
    """Answers are kept `keep` seconds, in `size` bytes at most: the oldest of who has most leave
    first, and then it is only known that they were given. One principal has `each` keys at most."""

    def __init__(
        self,
        database: Database,
        redactor: Redactor,
        *,
        keep: float = KEEP_SECONDS,
        size: int = KEEP_BYTES,
        each: int = EACH,
    ) -> None:
        self._database, self._redactor = database, redactor
        self._keep, self._size, self._each = keep, size, each
        self._owner = f"{os.getpid()}:{_started(os.getpid())}:{new_id()}"
        self._flights: dict[Place, Flight] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._swept, self._written = -SWEEP_SECONDS, 0
        self._held: dict[str, Held] = {}  # at the last sweep, and what was begun here since

    async def begin(
        self,
        tool: Tool,
        call: ToolCall,
        run: Run,
        report: Report,
        settle: Callable[[], Awaitable[None]],
        still: Callable[[], object],
    ) -> Coroutine[Any, Any, ToolResult]:
        """What runs the call, or gives the answer that is kept. Conflict where neither may be.
        `settle` is awaited before anything runs, and raises where it must not; so does `still`,
        asked once the call has waited for another's."""
        place = (call.by.name, call.tool, call.idempotency_key or "")
        try:
            wanted = digest(call.arguments)
        except ValueError as error:
            raise BadInput(f"{tool.name}: no key for this call: {error}") from None
        joined = await self._joined(tool, place, wanted, report, still)
        if joined is not None:
            return _given(replace(joined, kept=Kept(_REPLAYED, 0.0)))
        found = rows.find(self._database, place)
        kept = self._judged(tool, wanted, found)
        if kept is not None:
            return _given(kept)
        flight = self._flights[place] = Flight(wanted)
        flight.hear(report)
        try:
            if found is None:  # else it has its row
                await self._room(call.by.name)
            await settle()
            kept = await self._claim(tool, call, place, wanted, fresh=found is None)
        except BaseException:
            self._let_go(place, flight)
            raise
        if kept is not None:
            self._let_go(place, flight)
            return _given(kept)
        return self._fly(place, flight, run, call)

    async def _joined(
        self,
        tool: Tool,
        place: Place,
        wanted: str,
        report: Report,
        still: Callable[[], object],
    ) -> ToolResult | None:
        """The answer of the same call that runs here; None: none does."""
        while (flight := self._flights.get(place)) is not None:
            if flight.digest != wanted:
                raise _other_arguments()
            if not (tool.idempotent or flight.ended):
                raise Conflict("a call with this Idempotency-Key is running", "wait for its answer")
            joined = await flight.joined(report)
            if joined is not None:
                return joined
            still()
        return None

    async def _claim(
        self, tool: Tool, call: ToolCall, place: Place, wanted: str, *, fresh: bool
    ) -> ToolResult | None:
        """Put down that it is about to run, unless another process was faster."""

        now = time.time_ns() // 1000

        def claim(connection: sqlite3.Connection) -> ToolResult | PilotageError | None:
            try:
                kept = self._judged(tool, wanted, rows.find_within(connection, place))
            except PilotageError as refused:
                return refused
            if kept is None:
                rows.begin(connection, place, wanted, call.id, self._owner, now)
            return kept

        found = await self._database.write(claim)
        if found is None and fresh:
            held = self._held.get(call.by.name, Held(0, now))
            self._held[call.by.name] = Held(held.rows + 1, held.oldest)
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
            large = is_large(result)
            answer = await beside(self._kept, result) if large else self._kept(result)
            self._written += len(answer or b"")
            await self._database.write(lambda c: rows.end(c, call, result.outcome.value, answer))
        except PilotageError as error:
            logger.error("the answer of call %s is not kept: %s", call, error)
        finally:
            self._let_go(place, flight)

    def _kept(self, result: ToolResult) -> bytes | None:
        """As it is stored; None: it is too large for that."""
        if size_of(result, ANSWER_LIMIT) > ANSWER_LIMIT:
            return None
        answer = _encode(self._redactor.whole(result))
        return answer if len(answer) <= ANSWER_LIMIT else None

    def _let_go(self, place: Place, flight: Flight) -> None:
        if self._flights.get(place) is flight:
            del self._flights[place]
        flight.end(None)

    async def close(self) -> None:
        """Return once the answers that were given are kept."""
        if self._ending:
            await asyncio.wait(set(self._ending))

    async def _room(self, who: str) -> None:
        """Raises Busy where `who` has its share of keys, or all have. Swept once a minute, and when
        much was written; asked before a person is, whose approval would be used up."""
        if time.monotonic() >= self._swept + SWEEP_SECONDS or self._written >= self._size // 8:
            before = time.time_ns() // 1000 - int(self._keep * 1e6)
            self._held = await self._database.write(lambda c: rows.sweep(c, before, self._size))
            self._swept, self._written = time.monotonic(), 0
        mine = self._held.get(who)
        total = sum(held.rows for held in self._held.values())
        if mine is not None and mine.rows >= self._each:
            what, oldest = f"{who} has {mine.rows} idempotency keys, its share", mine.oldest
            hint = "idempotency.keys"
        elif total >= ROWS_LIMIT:
            what = f"{total} idempotency keys are kept"
            oldest = min(held.oldest for held in self._held.values())
            hint = "idempotency.keep shortens it"
        else:
            return
        left = oldest / 1e6 + self._keep - time.time()
        raise Busy(what, f"each is kept {self._keep:g} s: {hint}", max(SWEEP_SECONDS, left))


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
