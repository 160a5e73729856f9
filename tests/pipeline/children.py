"""Start processes that drive runs, and end them by number."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import LONG

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Child:
    """A process.py at work."""

    process: asyncio.subprocess.Process

    async def run(self) -> str:
        """The id of its run, once that is on disk."""
        assert self.process.stdout is not None
        async with asyncio.timeout(LONG):
            return (await self.process.stdout.readline()).decode().strip()

    async def stands(self) -> dict[str, Any]:
        """How the run stood when it ended or waited."""
        assert self.process.stdout is not None
        async with asyncio.timeout(2 * LONG):
            said: dict[str, Any] = json.loads(await self.process.stdout.readline())
            await self.process.wait()
        return said

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        """The way a machine dies."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def write(folder: Path, steps: Iterable[str], name: str = "p.yaml") -> Path:
    """A pipeline file of steps in flow style."""
    file = folder / name
    file.write_text("\n".join(["name: p", "steps:", *(f"  - {{{step}}}" for step in steps)]))
    return file


async def start(folder: Path, key: str, file: Path) -> Child:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    environment.pop("PILOTAGE_HOME", None)
    log = open(folder / "children.log", "ab")  # noqa: SIM115, ASYNC230
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "process.py"), str(folder), key, str(file),
        stdout=asyncio.subprocess.PIPE, stderr=log, env=environment,
    )  # fmt: skip
    log.close()
    return Child(process)
