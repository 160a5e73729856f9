"""What of a server's tools may be asked twice, or not at all: which are idempotent, how often one
is tried again, how long its answers hold."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec.structs import replace

from pilotage.domain.call import Effect, Report, ToolCall, ToolResult
from pilotage.domain.errors import BadInput, PilotageError, Unavailable
from pilotage.tool.cache import MOST_SECONDS
from pilotage.tool.retry import MOST
from pilotage.tool.tool import Runner

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Repeated:
    """What was found for one tool."""

    idempotent: bool = False
    cache_seconds: float = 0.0
    retries: int = 0
    words: str = ""
    """The same for a person who approves the tool: "; tried again 2 times"."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """`idempotent` are globs of the server's own names of its tools. The other two are a number,
    which is for each tool that it is possible for, or globs with their numbers, and then a tool
    that is named so and does not allow it is an error."""

    idempotent: tuple[str, ...] = ()
    cache_seconds: float | Mapping[str, float] = field(default=0.0)
    retries: int | Mapping[str, int] = field(default=0)

    def check(self, where: str) -> None:
        """Raises BadInput for numbers that are out of bounds."""
        for name, said, most in (
            ("cache_seconds", self.cache_seconds, MOST_SECONDS),
            ("retries", self.retries, MOST),
        ):
            for value in said.values() if isinstance(said, Mapping) else (said,):
                if not 0 <= value <= most:
                    raise BadInput(f"{where}: {name} is {value:g}", f"0 to {most}")

    def of(self, tool: str, effect: Effect, hinted: bool) -> Repeated:
        """For this tool; `hinted`: a server that is believed says that it is idempotent. Raises
        BadInput where it is named for what it does not allow."""
        declared = any(fnmatch.fnmatchcase(tool, glob) for glob in self.idempotent)
        idempotent = declared or hinted
        reads = idempotent and effect is Effect.READ
        holds = _said(self.cache_seconds, tool, reads, "cache_seconds", "that read and are")
        again = _said(self.retries, tool, idempotent, "retries", "that are")
        words = "; may be repeated" if declared else ""
        words += f"; tried again {again} times" if again else ""
        words += f"; answers hold {holds:g} s" if holds else ""
        return Repeated(idempotent, holds, again, words)


def _said(
    said: Number | Mapping[str, Number], tool: str, possible: bool, name: str, which: str
) -> Number:
    if not isinstance(said, Mapping):
        return said if possible else type(said)(0)
    for glob, value in said.items():
        if fnmatch.fnmatchcase(tool, glob):
            if value and not possible:
                raise BadInput(
                    f"{name} is for tools {which} idempotent",
                    "say so in effects and idempotent of the upstream, or leave it out",
                )
            return value
    return type(next(iter(said.values()), 0))(0)


class _Asked(PilotageError):
    """The way to the server broke after the client was asked, so the call is not tried again."""

    status = 503
    exit = 3


def once_asked(run: Runner) -> Runner:
    """The same, for a tool whose calls are tried again: not one for which the client was asked,
    which would be asked the same twice, nor one that comes with its answers."""

    async def runs(call: ToolCall, report: Report) -> ToolResult:
        peer = call.peer
        if peer is None:
            return await run(call, report)
        final = peer.answers is not None or peer.state is not None
        if (ask := peer.ask) is not None:

            async def asking(method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
                nonlocal final
                final = True
                return await ask(method, params)

            call = replace(call, peer=replace(peer, ask=asking))
        try:
            return await run(call, report)
        except Unavailable as error:
            if final:
                raise _Asked(error.what, error.hint) from None
            raise

    return runs
