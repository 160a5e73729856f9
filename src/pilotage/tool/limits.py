"""Fair use: how often one key may call and one tool may be called, how many calls at once, and how
large an answer may be.

A call that nobody limits passes with one comparison (`Limits.free`, see tool/gateway.py). A step of
a pipeline is a call of whoever started the run, and waits for its turn where a caller is refused.

A tool that conducts (pipeline_orchestrator) waits for steps of the same key. Its calls count beside
the others, or it would wait for the place that it holds itself.

A call under another name (`Tool.behind`) counts under both, or a new name would be a fresh limit.
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
from pilotage.tool.tool import Tool

BUSY_SECONDS = 1.0
"""When to come back where a place must become free: nobody knows when, so soon."""
LOOK_SECONDS = 1.0
"""How often who waits looks whether it may still."""
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
Terms = tuple[Cap, ...]
"""Those of the key; then, for each name of the tool, of the tool and of the key at the tool."""
_NAMES = ("key", "tool", "key_tool", "tool", "key_tool")


@dataclass(frozen=True, slots=True)
class _Over:
    """A limit that a call is over. `place` has to become free; None: time has to pass."""

    limit: str
    what: str
    seconds: float
    place: Place | None = None

    def busy(self) -> Busy:
        hint = f"try again in {max(1, -int(-self.seconds // 1))} s"
        return Busy(self.what, hint, self.seconds)


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
        self._waiting: dict[Place, deque[asyncio.Event]] = {}
        self.refused: Counter[str] = Counter()
        self.take(roles or {})

    def take(self, roles: Mapping[str, Role]) -> None:
        """From now on, these roles count."""
        self._roles = {name: role.limits for name, role in roles.items() if role.limits is not None}
        self._terms: dict[tuple[frozenset[str], str, str], Terms] = {}
        caps = [self._caps.key, self._caps.tool, self._caps.both, *self._caps.tools.values()]
        for limits in self._roles.values():
            caps += [limits.cap(), *(share.cap() for share in limits.tools.values())]
        at_once = min((cap.concurrency or sys.maxsize for cap in caps), default=sys.maxsize)
        self.free = at_once if all(cap.rate is None for cap in caps) else -1

    def admit(self, call: ToolCall, *, conducts: bool = False, behind: str = "") -> None:
        """Let a call in, or raise Busy, which says when to come back."""
        over = self._over(call, conducts, behind)
        if over is not None:
            self.refused[over.limit] += 1
            raise over.busy()

    async def let_in(self, call: ToolCall, tool: Tool, waits: Callable[[str], object]) -> bool:
        """The same; a step waits for its turn, for as long as its run goes on. While it does,
        `waits` is told why, once a second at least, and may raise. Has it waited?"""
        if call.via != STEP:
            self.admit(call, conducts=tool.conducts, behind=tool.behind)
            return False
        waited = False
        while (over := self._over(call, tool.conducts, tool.behind)) is not None:
            waited = True
            waits(over.what)
            await self._freed(over.place, min(over.seconds, LOOK_SECONDS))
        return waited

    def _over(self, call: ToolCall, conducts: bool, behind: str) -> _Over | None:
        """The first limit that the call is over; None: it is let in, and counts for its rates."""
        terms, counted = self._terms_for(call, behind), _counted(call, behind)
        for name, cap, place in zip(_NAMES, terms, _taken(call, conducts, counted), strict=False):
            if cap.concurrency is not None and self._held[place] >= cap.concurrency:
                what = f"{_who(place)} has {cap.concurrency} calls running already"
                return _Over(f"{name}.concurrency", what, BUSY_SECONDS, place)
        now = self._clock()
        charged = {}
        for name, cap, place in zip(_NAMES, terms, counted, strict=False):
            if cap.rate is not None:
                full = max(self._full.get(place, now), now) + cap.rate.seconds / cap.rate.count
                wait = full - now - cap.rate.seconds
                if wait > 1e-9:
                    what = f"{_who(place)} is over its rate of {cap.rate}"
                    return _Over(f"{name}.rate", what, wait)
                charged[place] = full
        if charged:
            self._full.update(charged)
            if len(self._full) > REMEMBERED:
                self._full = {place: full for place, full in self._full.items() if full > now}
        return None

    async def _freed(self, place: Place | None, seconds: float) -> None:
        if place is None:
            await asyncio.sleep(seconds)
            return
        bell = asyncio.Event()
        bells = self._waiting.setdefault(place, deque())
        bells.append(bell)
        try:
            async with asyncio.timeout(seconds):
                await bell.wait()
        except TimeoutError:
            pass
        finally:
            if bell in bells:
                bells.remove(bell)
            if not bells and self._waiting.get(place) is bells:
                del self._waiting[place]

    def hold(self, call: ToolCall, tool: Tool) -> tuple[Place, ...]:
        """The places that a call that waits has, until they are released."""
        places = _taken(call, tool.conducts, _counted(call, tool.behind))
        if tool.conducts:
            places = tuple(dict.fromkeys(places))
        for place in places:
            self._held[place] += 1
        return places

    def release(self, places: tuple[Place, ...]) -> None:
        """It has ended."""
        for place in places:
            self._held[place] -= 1
            if not self._held[place]:
                del self._held[place]
            if bells := self._waiting.get(place):
                bells.popleft().set()

    def fitting(self, tool: str, result: ToolResult) -> ToolResult:
        """The result, or a failure where it is larger than may be."""
        limit = self._caps.result
        if size_of(result, limit) <= limit:
            return result
        why = f"the answer of {tool} is larger than {limit} bytes"
        return ToolResult(Outcome.FAILED, error=why, hint="ask for less; see limits.result_bytes")

    def _terms_for(self, call: ToolCall, behind: str) -> Terms:
        key = (call.by.roles, call.tool, behind)
        terms = self._terms.get(key)
        if terms is None:
            if len(self._terms) >= REMEMBERED:
                self._terms.clear()
            terms = self._terms[key] = self._terms_of(*key)
        return terms

    def _terms_of(self, roles: frozenset[str], tool: str, behind: str) -> Terms:
        mine = [self._roles[name] for name in sorted(roles) if name in self._roles]
        terms = [_joined(mine, self._caps.key)]
        for name in (tool, behind) if behind else (tool,):
            here = [
                share
                for limits in mine
                for glob, share in limits.tools.items()
                if fnmatch.fnmatchcase(name, glob)
            ]
            terms += [self._caps.tools.get(name, self._caps.tool), _joined(here, self._caps.both)]
        return tuple(terms)


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


def _counted(call: ToolCall, behind: str) -> tuple[Place, ...]:
    """The key; then, for each name of the tool, the tool and both."""
    key, tool = call.by.name, call.tool
    places = ((key, ""), ("", tool), (key, tool))
    return (*places, ("", behind), (key, behind)) if behind else places


def _taken(call: ToolCall, conducts: bool, counted: tuple[Place, ...]) -> tuple[Place, ...]:
    """Of which of those places a call takes one; in the same order, where it takes any.

    A call that conducts counts with its like alone, and one inside of a run takes none: the call
    that began it all has one, and what waits for places must end.
    """
    if not conducts:
        return counted
    return () if call.via == STEP else (counted[-1], *counted[1:])


def _who(place: Place) -> str:
    name, tool = place
    return f"{name} at {tool}" if name and tool else name or tool
