"""Tools of runs over the network, and a house with them. As a program: that house's server."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Effect, Outcome, ToolResult
from pilotage.process.run import Program
from pilotage.process.run import run as run_program
from pilotage.server import serve
from pilotage.tool.roots import roots
from pilotage.tool.tool import Call, tool
from server.conftest import House, running
from waiting import until


@tool(Effect.WRITE, idempotent=True)
async def work(mark: Path, end: Path | None = None, *, here: Call) -> dict[str, Any]:
    """Write a line when it begins and one when it has ended, which is once `end` is there."""
    note(mark, f"begin {here.call.step}")
    here.tell(f"{here.call.step} begins")
    if end is not None:
        await until(end.exists)
    note(mark, f"end {here.call.step}")
    return {"step": here.call.step}


@tool(Effect.READ, idempotent=True)
async def say(lines: int = 1, text: str = "said", *, here: Call) -> dict[str, Any]:
    """Tell so many lines."""
    for number in range(lines):
        here.tell(f"{text} {number}")
        if number % 100 == 99:
            await asyncio.sleep(0.21)
    return {"lines": lines}


@tool(Effect.READ)
async def gives(answer: dict[str, Any], outcome: str = "succeeded") -> ToolResult:
    """Answer exactly this."""
    return ToolResult(Outcome(outcome), answer, None if outcome == "succeeded" else "as asked")


TREE = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
open(os.path.join(sys.argv[1], str(os.getpid())), "w").write(str(os.getpid()))
time.sleep(600)
"""


@tool(Effect.WRITE)
async def tree(folder: Path) -> dict[str, Any]:
    """Two processes that end when they are ended; each leaves its number in `folder`."""
    await run_program(Program((sys.executable, "-c", TREE, str(folder))))
    return {}


@tool(Effect.READ, tasks="optional", timeout=600)
async def long_work(end: Path) -> dict[str, Any]:
    """Ends once that file is there."""
    await until(end.exists)
    return {}


@tool(Effect.READ, tasks="optional", timeout=600)
async def asks(*, here: Call) -> dict[str, Any]:
    """Asks whoever sits at the client."""
    peer = here.call.peer
    assert peer is not None
    assert peer.ask is not None
    form = {"mode": "form", "message": "Sure?", "requestedSchema": {"type": "object"}}
    return {"said": dict(await peer.ask("elicitation/create", form))}


TOOLS = (work, say, gives, tree, long_work, asks)


def note(mark: Path, line: str) -> None:
    with open(os.open(mark, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "a") as opened:
        opened.write(line + "\n")


def run_app(home: Path, root: Path) -> App:
    settings = config.read(environment={"PILOTAGE_HOME": str(home), "HOME": str(home)})
    return App(settings, roots(root), [*TOOLS, *_shelf()])


def _shelf() -> list[Any]:
    from pilotage import shelf
    from pilotage.tool.tool import Definition

    parts = shelf.parts("pilotage.tools", Definition)
    return [one for name, one in parts.items() if name.startswith(("run_", "pipeline_"))]


@asynccontextmanager
async def run_house(folder: Path) -> AsyncIterator[House]:
    """Its root is folder/root, its state folder/home."""
    (folder / "root").mkdir(exist_ok=True)
    app = run_app(folder / "home", folder / "root")
    try:
        async with running(app) as house:
            yield house
    finally:
        app.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--grace", type=float, default=serve.GRACE_SECONDS)
    given = parser.parse_args()
    app = run_app(Path(os.environ["PILOTAGE_HOME"]), given.root)
    options = serve.Options(port=given.port, grace=given.grace)
    try:
        serve.serve(app, options, lambda address, _: print(address, flush=True))
    finally:
        app.close()


if __name__ == "__main__":
    main()
