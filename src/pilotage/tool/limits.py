"""Fair use: how often one key may call and one tool may be called, how many calls at once, and how
large an answer may be.

A call that nobody limits passes with one comparison (`Limits.free`, see tool/gateway.py). A step of
a pipeline waits for its turn at a tool, where a caller is refused; its key's limits do not count
for it, since the run that it belongs to was let in.
"""

from __future__ import annotations

import asyncio
import fnmatch
import functools
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pilotage.domain.call import Outcome, ToolCall, ToolResult
from pilotage.domain.errors import Busy
from pilotage.domain.limit import Cap, wider
from pilotage.policy.roles import Role, Share
from pilotage.tool.size import size_of

BUSY_SECONDS = 1.0
"""When to come back where a place must become free: nobody knows when, so soon."""
REMEMBERED = 10_000
RESULT_BYTES = 8 << 20
STEP = "step"
_NOTHING = Cap()


@dataclass(frozen=True, slots=True)
class Caps:
    """What the settings say: for each key, for each tool, for each key at each tool, and for tools
    by name. `result` is in bytes."""

    key: Cap = _NOTHING
    tool: Cap = _NOTHING
    both: Cap = _NOTHING
    tools: Mapping[str, Cap] = field(default_factory=dict)
    result: int = RESULT_BYTES


Place = tuple[str, str]
"""What is counted: a key's name and a tool's; "" stands for every one."""
Terms = tuple[Cap, Cap, Cap]
"""Those of the key, of the tool, and of the key at the tool."""
_NAMES = ("key", "tool", "key_tool")


class Limits:
    """`free`: with no more calls than that in flight, none can be over a limit. `refused` counts
    by limit. `clock` is in seconds and never goes back."""

    def __init__(
        self,
        caps: Caps | None = None,
        roles: Mapping[str, Role] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._caps = caps or Caps()
        self._clock = clock
        self._held: Counter[Place] = Counter()
        self._full: dict[Place, float] = {}  # when each bucket will be full again
        self._waiting: deque[asyncio.Event] = deque()
        self.refused: Counter[str] = Counter()
        self.take(roles or {})

    def take(self, roles: Mapping[str, Role]) -> None:
        """From now on, these roles count."""
        self._roles = {name: role.limits for name, role in roles.items() if role.limits is not None}
        self._terms: dict[tuple[frozenset[str], str], Terms] = {}
        caps = [self._caps.key, self._caps.tool, self._caps.both, *self._caps.tools.values()]
        for limits in self._roles.values():
            caps += [limits.cap(), *(share.cap() for share in limits.tools.values())]
        at_once = min((cap.concurrency or sys.maxsize for cap in caps), default=sys.maxsize)
        self.free = at_once if all(cap.rate is None for cap in caps) else -1

    def admit(self, call: ToolCall) -> None:
        """Let a call in, or raise Busy, which says when to come back."""
        places = self._places(call)
        for name, cap, place in places:
            if cap.concurrency is not None and self._held[place] >= cap.concurrency:
                what = f"{_who(place)} has {cap.concurrency} calls running already"
                raise self._busy(f"{name}.concurrency", what, BUSY_SECONDS)
        now = self._clock()
        charged = {}
        for name, cap, place in places:
            if cap.rate is not None:
                full = max(self._full.get(place, now), now) + cap.rate.seconds / cap.rate.count
                wait = full - now - cap.rate.seconds
                if wait > 1e-9:
                    what = f"{_who(place)} is over its rate of {cap.rate}"
                    raise self._busy(f"{name}.rate", what, wait)
                charged[place] = full
        if charged:
            self._full.update(charged)
            if len(self._full) > REMEMBERED:
                self._full = {place: full for place, full in self._full.items() if full > now}

    async def let_in(self, call: ToolCall, seconds: float) -> bool:
        """The same; a step waits for its turn, so many seconds at most. Has it waited?"""
        give_up, waited = self._clock() + seconds, False
        while True:
            try:
                self.admit(call)
                return waited
            except Busy as busy:
                left = give_up - self._clock()
                if call.via != STEP or left <= 0:
                    raise
                waited = True
                await self._freed(min(busy.retry_after, left))

    async def _freed(self, seconds: float) -> None:
        bell = asyncio.Event()
        self._waiting.append(bell)
        try:
            async with asyncio.timeout(seconds):
                await bell.wait()
        except TimeoutError:
            pass
        finally:
            if bell in self._waiting:
                self._waiting.remove(bell)

    def hold(self, call: ToolCall) -> bool:
        """Count a call that waits, until it is released. True."""
        for place in _counted(call):
            self._held[place] += 1
        return True

    def release(self, call: ToolCall) -> None:
        """It has ended."""
        for place in _counted(call):
            self._held[place] -= 1
            if not self._held[place]:
                del self._held[place]
        if self._waiting:
            self._waiting.popleft().set()

    def fitting(self, tool: str, result: ToolResult) -> ToolResult:
        """The result, or a failure where it is larger than may be."""
        limit = self._caps.result
        if size_of(result, limit) <= limit:
            return result
        why = f"the answer of {tool} is larger than {limit} bytes"
        return ToolResult(Outcome.FAILED, error=why, hint="ask for less; see limits.result_bytes")

    def _busy(self, limit: str, what: str, seconds: float) -> Busy:
        self.refused[limit] += 1
        return Busy(what, f"try again in {max(1, -int(-seconds // 1))} s", seconds)

    def _places(self, call: ToolCall) -> list[tuple[str, Cap, Place]]:
        key = (call.by.roles, call.tool)
        terms = self._terms.get(key)
        if terms is None:
            if len(self._terms) >= REMEMBERED:
                self._terms.clear()
            terms = self._terms[key] = self._terms_of(*key)
        if call.via == STEP:
            return [("tool", terms[1], ("", call.tool))]
        return list(zip(_NAMES, terms, _counted(call), strict=True))

    def _terms_of(self, roles: frozenset[str], tool: str) -> Terms:
        mine = [self._roles[name] for name in sorted(roles) if name in self._roles]
        here = [
            share
            for limits in mine
            for glob, share in limits.tools.items()
            if fnmatch.fnmatchcase(tool, glob)
        ]
        own = self._caps.tools.get(tool, self._caps.tool)
        return _joined(mine, self._caps.key), own, _joined(here, self._caps.both)


def _joined(said: Sequence[Share], otherwise: Cap) -> Cap:
    """A role's word counts before the settings'; of two roles that say something, the one that
    lets more through."""
    caps = [share.cap() for share in said]
    rates = [cap.rate for cap, share in zip(caps, said, strict=True) if share.rate is not None]
    counts = [
        cap.concurrency for cap, one in zip(caps, said, strict=True) if one.concurrency is not None
    ]
    rate = functools.reduce(wider, rates) if rates else otherwise.rate
    most = otherwise.concurrency
    if counts:
        most = max(one or sys.maxsize for one in counts)
    return Cap(rate, None if most == sys.maxsize else most)


def _counted(call: ToolCall) -> tuple[Place, ...]:
    """The key, the tool, and both; a step counts for its tool alone."""
    name, tool = call.by.name, call.tool
    return (("", tool),) if call.via == STEP else ((name, ""), ("", tool), (name, tool))


def _who(place: Place) -> str:
    name, tool = place
    return f"{name} at {tool}" if name and tool else name or tool
