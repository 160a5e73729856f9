"""Start a program: an argument list, no shell, a scrubbed environment, limits, a killed tree.

A program's tree is found twice over: by its process group, and by a mark in the environment that
every descendant inherits, so that one that made a session of its own is found as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.domain.ids import new_id
from pilotage.process import tree
from pilotage.process.sandbox import Sandbox

MARK = "PILOTAGE_PROCESS"
WATCH_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """Wall seconds, resident bytes of the whole tree, and bytes kept of each output stream."""

    seconds: float = 300.0
    memory: int = 4 << 30
    output: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `environment` is added to a minimal one; nothing of ours is inherited.

    `folder` is the working folder (None: an empty one of its own). `home` likewise.
    """

    argv: tuple[str, ...]
    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    limits: Limits = Limits()
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """How it ended. `exit` is negative for a signal, None where it could not be started.

    `killed` says why we ended it ("took longer than 60 s", "used more than 4.0 GiB"), else "".
    `cut` names the streams of which only the first `Limits.output` bytes were kept.
    """

    exit: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
    memory: int
    killed: str = ""
    cut: tuple[str, ...] = ()
    missing: str = ""


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of a program: no token, no proxy, no setting of the caller's."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "NO_COLOR": "1",
        **(extra or {}),
    }


async def run(program: Program, on_line: Callable[[bytes], None] | None = None) -> Finished:
    """Run to the end, or to a limit. Cancelling the task kills the tree before it returns.

    `on_line` hears each line of standard output as it comes.
    """
    with tempfile.TemporaryDirectory(prefix="pilotage-", ignore_cleanup_errors=True) as folder:
        return await _run(program, Path(folder), on_line)


async def _run(program: Program, home: Path, on_line: Callable[[bytes], None] | None) -> Finished:
    began = time.monotonic()
    mark = new_id()
    env = {**environment(home, program.environment), MARK: mark}
    argv: Sequence[str] = program.argv
    if program.sandbox is not None:
        argv = program.sandbox.wrap(argv, env, home, program.folder)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if program.stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=program.folder or home,
            env=env,
            start_new_session=True,
        )
    except OSError as error:
        return Finished(
            None, b"", b"", time.monotonic() - began, 0, missing=f"{argv[0]}: {error.strerror}"
        )
    out = _Stream("stdout", process.stdout, program.limits.output, on_line)
    err = _Stream("stderr", process.stderr, program.limits.output, None)
    watch = asyncio.create_task(_watch(process, mark, program.limits, began))
    try:
        if process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(program.stdin)
                await process.stdin.drain()
            process.stdin.close()
        drained = asyncio.gather(out.drain(), err.drain())
        await process.wait()
        tree.kill(process.pid, mark)  # what it left behind may hold the pipes open
        await drained
    finally:
        watch.cancel()
        tree.kill(process.pid, mark)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(process.wait())
    killed, memory = await _result(watch)
    cut = tuple(stream.name for stream in (out, err) if stream.cut)
    seconds = time.monotonic() - began
    return Finished(
        process.returncode, bytes(out.kept), bytes(err.kept), seconds, memory, killed, cut
    )


async def _watch(
    process: asyncio.subprocess.Process, mark: str, limits: Limits, began: float
) -> tuple[str, int]:
    """Kill the tree once it is over a limit; say why, and the peak of its resident bytes."""
    peak = 0
    try:
        while True:
            peak = max(peak, tree.memory(process.pid, mark))
            if peak > limits.memory:
                tree.kill(process.pid, mark)
                return f"used more than {limits.memory / (1 << 30):.1f} GiB of memory", peak
            if time.monotonic() - began > limits.seconds:
                tree.kill(process.pid, mark)
                return f"took longer than {limits.seconds:g} s", peak
            await asyncio.sleep(WATCH_SECONDS)
    except asyncio.CancelledError:
        return "", peak


async def _result(watch: asyncio.Task[tuple[str, int]]) -> tuple[str, int]:
    try:
        return await watch
    except asyncio.CancelledError:
        return "", 0


class _Stream:
    """Reads a pipe to its end and keeps the first `limit` bytes, so that no writer can fill us."""

    def __init__(
        self,
        name: str,
        pipe: asyncio.StreamReader | None,
        limit: int,
        on_line: Callable[[bytes], None] | None,
    ) -> None:
        self.name, self.kept, self.cut = name, bytearray(), False
        self._pipe, self._limit, self._on_line = pipe, limit, on_line
        self._line = bytearray()

    async def drain(self) -> None:
        while self._pipe is not None:
            chunk = await self._pipe.read(65536)
            if not chunk:
                break
            room = self._limit - len(self.kept)
            self.kept += chunk[:room]
            self.cut = self.cut or len(chunk) > room
            if self._on_line is not None:
                self._tell(chunk)
        if self._on_line is not None and self._line:
            self._on_line(bytes(self._line))

    def _tell(self, chunk: bytes) -> None:
        assert self._on_line is not None
        self._line += chunk
        *lines, rest = self._line.split(b"\n")
        for line in lines:
            self._on_line(bytes(line))
        self._line = rest[-65536:]
