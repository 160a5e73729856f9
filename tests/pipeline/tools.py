"""Tools whose effects can be counted: each writes what it does into a file before and after."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from pilotage.domain.call import Effect, Outcome, ToolResult
from pilotage.domain.errors import PilotageError
from pilotage.tool.tool import Call, tool
from pilotage.tools.pipeline_orchestrator import pipeline_orchestrator
from waiting import until


def mark(file: Path, word: str, call: Call) -> None:
    """One line: word, step, idempotency key, process. Appended at once, so no line is torn."""
    step = call.call.step or "-"
    line = f"{word} {step} {call.call.idempotency_key} {os.getpid()}\n"
    with open(os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "a") as opened:
        opened.write(line)


async def _work(file: Path, seconds: float, end: Path | None, here: Call) -> dict[str, Any]:
    mark(file, "begin", here)
    try:
        await asyncio.sleep(seconds)
        if end is not None:
            await until(end.exists)
    except asyncio.CancelledError:
        mark(file, "cancelled", here)
        raise
    mark(file, "end", here)
    return {"step": here.call.step, "seconds": seconds}


@tool(Effect.WRITE, idempotent=True)
async def work(
    file: Path, seconds: float = 0, end: Path | None = None, *, here: Call
) -> dict[str, Any]:
    """Work for so long, and until the file `end` is there; running it again does no harm."""
    return await _work(file, seconds, end, here)


@tool(Effect.WRITE)
async def work_once(file: Path, seconds: float = 0, *, here: Call) -> dict[str, Any]:
    """Work for so long; running it again may do harm."""
    return await _work(file, seconds, None, here)


@tool(Effect.READ, idempotent=True)
async def echo(value: Any = None, *, here: Call) -> dict[str, Any]:
    """Answer what was given."""
    here.tell(f"echo {value}")
    return {"value": value}


@tool(Effect.READ, idempotent=True)
async def fail(file: Path, times: int = 1, *, here: Call) -> dict[str, Any]:
    """Fail so many times, then succeed."""
    mark(file, "fail", here)
    tries = file.read_text().count(f"fail {here.call.step} ")
    if tries <= times:
        raise PilotageError(f"failure {tries}", "try again")
    return {"tries": tries, "variables": {"tries": tries}}


@tool(Effect.DESTROY)
async def destroy() -> None:
    """Something that nobody may do unasked."""


@tool(Effect.READ)
async def give(answer: dict[str, Any], outcome: str = "succeeded") -> ToolResult:
    """Answer exactly this."""
    return ToolResult(Outcome(outcome), answer)


TOOLS = (work, work_once, echo, fail, destroy, give, pipeline_orchestrator)
