"""Is a new version well? Asked of an address, or of Prometheus: a yes or no, and what was seen.
No answer is a no."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec

from pilotage.domain.errors import BadInput, PilotageError
from pilotage.domain.text import counted, cut, visible
from pilotage.upstream.session import Outgoing

SECONDS = 10.0
BODY = 1 << 20
Seen = tuple[bool, str]


async def answers(outgoing: Outgoing, url: str, status: int, times: int) -> Seen:
    """Does a GET of it have that status, each of so many times? Its guard says where one may go."""
    found: list[str] = []
    for _ in range(times):
        try:
            async with outgoing.request("GET", url, timeout=_patience()) as answer:
                said = f"answered {answer.status}"
                good = answer.status == status
        except PilotageError as error:
            good, said = False, str(error)
        if not good:
            found.append(said)
    if found:
        return False, visible(f"{len(found)} of {times} were not {status}: {found[-1]}")
    return True, f"{counted(times, 'answer')} with {status}"


async def measured(
    outgoing: Outgoing, server: str, query: str, holds: Callable[[float], bool], bound: str
) -> Seen:
    """Does each value of this Prometheus query hold? No value at all does not."""
    url = f"{server.rstrip('/')}/api/v1/query?{urlencode({'query': query})}"
    try:
        async with outgoing.request("GET", url, timeout=_patience()) as answer:
            body = await answer.content.read(BODY)
            status = answer.status
        values = _values(body)
    except PilotageError as error:
        return False, visible(str(error))
    if values is None:
        text = body.decode("utf-8", "replace")
        return False, visible(cut(f"Prometheus answered {status}: {text}", 300))
    if not values:
        return False, "Prometheus has no value for this query"
    bad = [one for one in values if math.isnan(one) or not holds(one)]
    told = ", ".join(f"{one:g}" for one in (bad or values)[:5])
    return not bad, f"{told} is {'not ' if bad else ''}{bound}"


def bounds(at_most: float | None, at_least: float | None) -> tuple[Callable[[float], bool], str]:
    """A test of a value, and the test in words."""
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    words = [f"at least {low:g}"] if at_least is not None else []
    words += [f"at most {high:g}"] if at_most is not None else []
    if not words:
        raise BadInput("a Prometheus query without a threshold", "at_most, at_least, or both")
    return lambda value: low <= value <= high, " and ".join(words)


def _values(body: bytes) -> list[float] | None:
    """Those of an instant query; None: it is no answer of Prometheus."""
    try:
        told: Any = msgspec.json.decode(body)
        if told["status"] != "success":
            return None
        result = told["data"]["result"]
        if told["data"]["resultType"] == "scalar":
            return [float(result[1])]
        return [float(one["value"][1]) for one in result]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, IndexError, TypeError, ValueError):
        return None


def _patience() -> Any:
    import aiohttp  # here: a start that calls nobody saves its 100 ms

    return aiohttp.ClientTimeout(total=SECONDS)
