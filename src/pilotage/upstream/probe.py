"""Is a new version well? Asked of an address, or of Prometheus: a yes or no, and what was seen.
No answer is a no."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from pilotage.domain.errors import PilotageError
from pilotage.domain.text import counted, cut, visible
from pilotage.kubernetes.hosts import resolved
from pilotage.upstream.egress import Egress
from pilotage.upstream.session import Outgoing, system

if TYPE_CHECKING:
    import aiohttp

SECONDS = 10.0
BODY = 1 << 20
Seen = tuple[bool, str]


class Probe:
    """One way out, guarded by the egress guard, open until `close`. Names are those of a run of
    the namespace `tenant`; "": all are."""

    def __init__(self, allow: Iterable[str], authority: Path, tenant: str = "") -> None:
        async def resolve(host: str, port: int) -> list[str]:
            return await system(resolved(host, tenant) if tenant else host, port)

        self._outgoing = Outgoing(Egress(allow), authority=authority, resolve=resolve)

    async def close(self) -> None:
        await self._outgoing.close()

    async def answers(self, url: str, status: int, times: int) -> Seen:
        """Does a GET of it have that status, each of so many times?"""
        bad: list[str] = []
        for _ in range(times):
            try:
                async with self._outgoing.request("GET", url, timeout=_patience()) as answer:
                    if answer.status != status:
                        bad.append(f"answered {answer.status}")
            except PilotageError as error:
                bad.append(str(error))
        if bad:
            return False, visible(f"{len(bad)} of {times} were not {status}: {bad[-1]}")
        return True, f"{counted(times, 'answer')} with {status}"

    async def measured(self, server: str, query: str, low: float, high: float) -> Seen:
        """Is each value of this Prometheus query from `low` to `high`? No value at all is not."""
        url = f"{server.rstrip('/')}/api/v1/query?{urlencode({'query': query})}"
        try:
            async with self._outgoing.request("GET", url, timeout=_patience()) as answer:
                status, body = answer.status, await _start(answer)
        except PilotageError as error:
            return False, visible(str(error))
        values = _values(body)
        if isinstance(values, str):
            return False, visible(cut(f"Prometheus answered {status}: {values}", 300))
        if not values:
            return False, "Prometheus has no value for this query"
        bad = [one for one in values if not low <= one <= high]  # so is NaN
        told = ", ".join(f"{one:g}" for one in (bad or values)[:5])
        return not bad, f"{told} is {'not ' if bad else ''}{_words(low, high)}"


def _words(low: float, high: float) -> str:
    words = [f"at least {low:g}"] if low > -math.inf else []
    words += [f"at most {high:g}"] if high < math.inf else []
    return " and ".join(words)


async def _start(answer: aiohttp.ClientResponse) -> bytes:
    """The body, if it is not too long for a few values."""
    parts = bytearray()
    async for part in answer.content.iter_any():
        parts += part
        if len(parts) > BODY:
            break
    return bytes(parts)


def _values(body: bytes) -> list[float] | str:
    """Those of an instant query; else what Prometheus has against it. Of any other body nothing is
    told: it may be somebody else's."""
    try:
        told: Any = msgspec.json.decode(body)
        if told["status"] == "error" and isinstance(told["error"], str):
            return str(told["error"])
        result = told["data"]["result"]
        if told["data"]["resultType"] == "scalar":
            return [float(result[1])]
        return [float(one["value"][1]) for one in result]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, IndexError, TypeError, ValueError):
        return "that is not the JSON of Prometheus"


def _patience() -> Any:
    import aiohttp  # here: a start that calls nobody saves its 100 ms

    return aiohttp.ClientTimeout(total=SECONDS)
