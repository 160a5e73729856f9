"""Tools of the tests: each does one thing that a door must carry."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.domain.call import Effect, Outcome, ToolResult
from pilotage.domain.errors import Unavailable
from pilotage.tool.tool import Call, tool
from waiting import until


@dataclass(frozen=True, slots=True)
class Said:
    """What echo answers."""

    said: str


@tool(Effect.READ)
async def echo(text: str, times: int = 1) -> Said:
    """Say it again."""
    return Said(" ".join([text] * times))


@tool(Effect.READ, open=True)
async def lenient(text: str) -> Said:
    """Takes more arguments than it names."""
    return Said(text)


@tool(Effect.WRITE)
async def note(text: str) -> Said:
    """Changes something, they say."""
    return Said(text)


@tool(Effect.DESTROY)
async def wreck(text: str) -> Said:
    """Destroys something, they say."""
    raise AssertionError("no test may come here")


@tool(Effect.READ)
async def fails(how: str) -> ToolResult:
    """Ends badly, in the way asked for."""
    if how == "answer":
        return ToolResult(Outcome.FAILED, {"checked": 3}, "it did not work", "try harder")
    if how == "unavailable":
        raise Unavailable("the part is not there", "install it")
    if how == "timeout":
        await asyncio.sleep(60)
    raise ZeroDivisionError("no such number")


fails_quickly = fails.__class__(
    "fails_quickly", Effect.READ, fails.function, idempotent=False, open=False, timeout=0.2
)


@tool(Effect.READ)
async def reads(path: Path) -> dict[str, Any]:
    """Reads a file inside the roots."""
    return {"text": path.read_text("utf-8")}


@tool(Effect.READ, timeout=120)
async def waits(file: str) -> Said:
    """End once that file is there."""
    await until(Path(file).exists)
    return Said("done")


@tool(Effect.READ, timeout=120)
async def slow(seconds: float, mark: str = "", *, here: Call) -> Said:
    """Take a while and tell how far it is. Cancelled, it needs a moment to clean up. How it stands
    is written into the file `mark`."""
    steps = 5
    if mark:
        Path(mark).write_text("begun", "utf-8")
    try:
        for step in range(steps):
            here.tell(f"step {step + 1}", step + 1, steps)
            await asyncio.sleep(seconds / steps)
    except asyncio.CancelledError:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
        if mark:
            Path(mark).write_text("cleaned up", "utf-8")
        raise
    return Said("done")


TOOLS = (echo, lenient, note, wreck, fails, fails_quickly, reads, slow, waits)
