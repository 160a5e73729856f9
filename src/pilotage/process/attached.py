"""A program that is kept and talked to, line by line: the same scrubbed start, and the same death,
as a program that `run` runs to its end."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

from pilotage.domain.errors import TooLarge, Unavailable
from pilotage.domain.ids import new_id
from pilotage.process.run import Limits, Program, environment
from pilotage.process.tree import MARK, Tree

WATCH_SECONDS = 1.0
LEAVE_SECONDS = 2.0
LAST_SECONDS = 1.0
ERRORS_KEPT = 8_000


class Attached:
    """A running program. `errors` is the end of what it wrote to standard error; `limits.output` is
    the longest line that is read, `limits.seconds` does not count."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._place = tempfile.TemporaryDirectory(prefix="pilotage-", ignore_cleanup_errors=True)
        self._process: Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.Future[None] | None = None
        self.errors = b""
        self.killed = ""

    async def start(self) -> None:
        """Raises Unavailable where it cannot be started."""
        mark, home = new_id(), Path(self._place.name)
        env = {**environment(home, self._program.environment), MARK: mark}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._program.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=self._program.folder or home,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            self._place.cleanup()
            name = error.filename or self._program.argv[0]
            raise Unavailable(f"{name}: {error.strerror}", "check argv") from None
        self._tree = Tree(self._process.pid, mark)
        self._tasks = [asyncio.create_task(self._drain()), asyncio.create_task(self._watch())]

    async def lines(self) -> AsyncIterator[bytes]:
        """Standard output, line by line, to its end. Raises TooLarge for a line over the limit."""
        assert self._process is not None
        assert self._process.stdout is not None
        limit, rest = self._program.limits.output, bytearray()
        while chunk := await self._process.stdout.read(65536):
            rest += chunk
            *lines, rest = rest.split(b"\n")
            for line in lines:
                yield bytes(line)
            if len(rest) > limit:
                raise TooLarge(f"a line of more than {limit} bytes")
        await asyncio.wait(self._tasks[:1], timeout=LAST_SECONDS)  # what it complained of last

    async def write(self, line: bytes) -> None:
        """One line to its standard input. Raises ConnectionError where it is gone."""
        assert self._process is not None
        assert self._process.stdin is not None
        if self._process.returncode is not None:
            raise BrokenPipeError
        self._process.stdin.write(line + b"\n")
        await self._process.stdin.drain()

    async def close(self) -> None:
        """Close its input, give it a moment to leave, then kill what is left of its tree. Whoever
        is cancelled meanwhile, it is done to the end."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        assert process.stdin is not None
        process.stdin.close()
        leaving = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({leaving}, timeout=LEAVE_SECONDS)
        finally:
            leaving.cancel()
            await asyncio.to_thread(self._tree.kill)
            for task in self._tasks:
                task.cancel()
            with contextlib.suppress(ProcessLookupError):
                process._transport.close()  # type: ignore[attr-defined]
            self._place.cleanup()

    async def _drain(self) -> None:
        """What it complains of must not fill its pipe."""
        assert self._process is not None
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(65536):
            self.errors = (self.errors + chunk)[-ERRORS_KEPT:]

    async def _watch(self) -> None:
        """Kill the tree once it is over a limit."""
        limits: Limits = self._program.limits
        while not self.killed:
            await asyncio.sleep(WATCH_SECONDS)
            memory, count = self._tree.size()
            if count > limits.processes:
                self.killed = f"started more than {limits.processes} processes"
            elif memory > limits.memory:
                self.killed = f"used more than {limits.memory / (1 << 30):.1f} GiB of memory"
        await asyncio.to_thread(self._tree.kill)
