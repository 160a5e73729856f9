"""Answers of tools that say how long theirs hold: kept in memory, for who asked, while the tool,
the policy and the arguments are the same. Identical calls at once run once.

Only tools that read and are idempotent are kept, and only answers that succeeded. A call comes here
after its policy, its limits and its approvals, and is audited as any other.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from pilotage.domain import trace
from pilotage.domain.call import Effect, Kept, Report, ToolCall, ToolResult
from pilotage.tool.canonical import digest
from pilotage.tool.failure import failed
from pilotage.tool.flight import Flight
from pilotage.tool.size import size_of
from pilotage.tool.tool import Runner, Tool

BYTES = 32 << 20
ENTRIES = 4_096
MOST_SECONDS = 86_400
"""No answer may be said to hold longer."""
ROW = 512
"""What an entry takes beside its answer, about, in bytes."""
_CACHED = "cached"
_OF_ONE_REQUEST = frozenset((*trace.NAMES, "progressToken", "progress_token"))
"""What `_meta` says of this request alone; what else stands there, such as for whom an agent asks,
goes to the server, whose answer may depend on it."""


@dataclass(frozen=True, slots=True)
class _Answer:
    tool: Tool
    at: float
    size: int
    result: ToolResult


class Cache:
    """So many answers and bytes at most; what was not asked for longest leaves first. `clock` is in
    seconds and never goes back."""

    def __init__(
        self,
        size: int = BYTES,
        entries: int = ENTRIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size, self._entries, self._clock = size, entries, clock
        self._kept: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._flights: dict[Hashable, Flight] = {}
        self.bytes = 0

    async def run(
        self,
        tool: Tool,
        policy: str,
        run: Runner,
        still: Callable[[], object],
        call: ToolCall,
        report: Report,
    ) -> ToolResult:
        """What `run` answers, or the answer that is kept. `policy` is the version that let it in;
        `still` raises where a call that has waited may not run any more."""
        key = _key(tool, call, policy)
        if key is None:
            return await run(call, report)
        while True:
            found = self._fresh(key, tool)
            if found is not None:
                return found
            flight = self._flights.get(key)
            if flight is None:
                return await self._fly(key, tool, run, call, report)
            joined = await flight.joined(report)
            if joined is not None:
                return replace(joined, kept=Kept(_CACHED, 0.0)) if joined.succeeded else joined
            still()

    def _fresh(self, key: Hashable, tool: Tool) -> ToolResult | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = self._clock() - kept.at
        if kept.tool is not tool or age >= tool.cache_seconds:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return replace(kept.result, kept=Kept(_CACHED, age))

    async def _fly(
        self, key: Hashable, tool: Tool, run: Runner, call: ToolCall, report: Report
    ) -> ToolResult:
        flight = self._flights[key] = Flight()
        flight.hear(report)
        result = None
        try:
            result = await run(call, flight.tell)
        except Exception as error:
            result = failed(call, error)
        finally:
            del self._flights[key]
            if result is not None and result.succeeded:
                self._keep(key, _Answer(tool, self._clock(), size_of(result, self._size), result))
            flight.end(result)
        return result

    def _keep(self, key: Hashable, answer: _Answer) -> None:
        self._drop(key)
        if answer.size + ROW > self._size // 4:
            return
        self._kept[key] = answer
        self.bytes += answer.size + ROW
        while self.bytes > self._size or len(self._kept) > self._entries:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self.bytes -= gone.size + ROW


def _key(tool: Tool, call: ToolCall, policy: str) -> Hashable | None:
    """All that an answer depends on; None: it is not kept. The tool itself is compared beside."""
    by, peer = call.by, call.peer
    if tool.effect is not Effect.READ or not tool.idempotent:
        return None
    client: Hashable = None
    if peer is not None:
        if peer.answers is not None or peer.state is not None:
            return None
        meta = {k: v for k, v in peer.meta.items() if k not in _OF_ONE_REQUEST}
        client = (peer.modern, msgspec.json.encode([peer.capabilities, meta], order="sorted"))
    try:
        arguments = digest(call.arguments)
    except ValueError:
        return None
    return (by.name, by.roles, by.tools, tool.name, policy, arguments, client)
