"""Start a program: an argument list, no shell, a scrubbed environment, limits, a killed tree.

Nothing outlives its program: when it has ended, by itself or by us, what is left of its tree is
killed before `run` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotage.domain.ids import new_id
from pilotage.process.sandbox import Sandbox, start_failure
from pilotage.process.tree import MARK, Tree

WATCH_SECONDS = 0.1
LINGER_SECONDS = 1.0
"""How long we read on after the end: what it wrote last may still be in the pipe."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Wall seconds, resident bytes and processes of the whole tree, and bytes kept of each output
    stream. The tree is looked at ten times a second, so memory may pass its limit that long."""

    seconds: float = 300.0
    memory: int = 4 << 30
    output: int = 64 << 20
    processes: int = 1_000


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
    """How it ended. `exit` is negative for a signal, None where it could not be started; then
    `missing` says why. `memory` is the peak of the tree's resident bytes.

    `killed` says why we ended it ("took longer than 60 s", "used more than 4.0 GiB"), else "".
    `cut` names the streams that were not kept whole: longer than `Limits.output`, or held open by
    somebody who got away.
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


async def run(
    program: Program,
    on_line: Callable[[bytes], None] | None = None,
    on_bytes: Callable[[bytes], None] | None = None,
) -> Finished:
    """Run to the end, or to a limit. Cancelling the task kills the tree before it returns.

    `on_line` hears each line of standard output as it comes; `on_bytes` hears all of it, of which
    then nothing is kept.
    """
    with tempfile.TemporaryDirectory(prefix="pilotage-", ignore_cleanup_errors=True) as folder:
        return await _run(program, Path(folder), on_line, on_bytes)


async def _run(
    program: Program,
    place: Path,
    on_line: Callable[[bytes], None] | None,
    on_bytes: Callable[[bytes], None] | None,
) -> Finished:
    began = time.monotonic()
    mark = new_id()
    argv, home = program.argv, place
    try:
        if program.sandbox is not None:
            argv, home = program.sandbox.enter(
                argv, place, program.folder, program.limits.processes
            )
        env = {**environment(home, program.environment), MARK: mark}
        process = await _started(
            asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE if program.stdin else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=program.folder or home,
                env=env,
                start_new_session=True,
            )
        )
    except OSError as error:
        why = f"{error.filename or argv[0]}: {error.strerror}"
        return Finished(None, b"", b"", time.monotonic() - began, 0, missing=why)
    out = _Stream("stdout", process.stdout, program.limits.output, on_line, on_bytes)
    err = _Stream("stderr", process.stderr, program.limits.output)
    killed, memory = await _live(process, Tree(process.pid, mark), program, (out, err))
    exit, stderr = process.returncode, bytes(err.kept)
    why = start_failure(exit, stderr) if program.sandbox is not None else ""
    cut = tuple(stream.name for stream in (out, err) if stream.cut)
    seconds = time.monotonic() - began
    return Finished(
        None if why else exit, bytes(out.kept), stderr, seconds, memory, killed, cut, why
    )


async def _started(starting: Coroutine[Any, Any, Process]) -> Process:
    """Who is cancelled while a program starts hears of it at its next await, when there is a tree
    to kill: asyncio would kill the first process alone, and then wait for whoever holds a pipe."""
    start, us = asyncio.ensure_future(starting), asyncio.current_task()
    assert us is not None
    put_off = 0
    while not start.done():
        try:
            await asyncio.wait({start})
        except asyncio.CancelledError:
            us.uncancel()
            put_off += 1
    for _ in range(put_off):
        us.cancel()
    return start.result()


async def _live(
    process: Process, tree: Tree, program: Program, streams: tuple[_Stream, _Stream]
) -> tuple[str, int]:
    """From the start to the death of the last of its tree. Why we killed it, and its peak memory.

    Input and both outputs move at the same time: whichever the program waits for is served.
    """
    watch = asyncio.create_task(_watch(tree, program.limits))
    feeding = asyncio.create_task(_feed(process, program.stdin))
    draining = [asyncio.create_task(stream.drain()) for stream in streams]
    left = True
    try:
        await _ended(process)
        left = not tree.kill()  # what it left behind may hold the pipes open
        await asyncio.wait(draining, timeout=LINGER_SECONDS)
        for reading in draining:
            if reading.done():
                reading.result()
        for stream in streams:
            stream.cut = stream.cut or not stream.at_end
    finally:
        for task in (watch, feeding, *draining):
            task.cancel()
        if left:
            tree.kill()
        await _reap(process)
        await asyncio.gather(feeding, *draining, return_exceptions=True)
    return await watch


async def _ended(process: Process) -> None:
    """`Process.wait` of some Python versions also waits for the pipes, which a daemon may hold."""
    waiting = asyncio.ensure_future(process.wait())
    try:
        while process.returncode is None:
            await asyncio.wait({waiting}, timeout=WATCH_SECONDS)
    finally:
        waiting.cancel()


async def _reap(process: Process) -> None:
    """Collect it, and close our ends of the pipes, which somebody may still hold."""
    ended = asyncio.ensure_future(_ended(process))
    try:
        await asyncio.wait({ended}, timeout=LINGER_SECONDS)
    finally:
        ended.cancel()
        process._transport.close()  # type: ignore[attr-defined]


async def _feed(process: Process, data: bytes) -> None:
    if process.stdin is not None:
        with contextlib.suppress(ConnectionError):
            process.stdin.write(data)
            await process.stdin.drain()
        process.stdin.close()


async def _watch(tree: Tree, limits: Limits) -> tuple[str, int]:
    """Kill the tree once it is over a limit; say why, and the peak of its resident bytes."""
    until = time.monotonic() + limits.seconds
    peak, over = 0, ""
    try:
        while not over:
            memory, count = tree.size()
            peak = max(peak, memory)
            if count > limits.processes:
                over = f"started more than {limits.processes} processes"
            elif peak > limits.memory:
                over = f"used more than {limits.memory / (1 << 30):.1f} GiB of memory"
            elif time.monotonic() > until:
                over = f"took longer than {limits.seconds:g} s"
            else:
                await asyncio.sleep(min(WATCH_SECONDS, max(0.001, until - time.monotonic())))
        tree.kill()
    except asyncio.CancelledError:
        pass
    return over, peak


class _Stream:
    """Reads a pipe to its end and keeps the first `limit` bytes, so that no writer can fill us.
    Of a line that never ends, `on_line` hears the last 64 KiB."""

    def __init__(
        self,
        name: str,
        pipe: asyncio.StreamReader | None,
        limit: int,
        on_line: Callable[[bytes], None] | None = None,
        on_bytes: Callable[[bytes], None] | None = None,
    ) -> None:
        self.name, self.kept, self.cut, self.at_end = name, bytearray(), False, False
        self._pipe, self._limit, self._on_line, self._on_bytes = pipe, limit, on_line, on_bytes
        self._line = bytearray()

    async def drain(self) -> None:
        while self._pipe is not None:
            chunk = await self._pipe.read(65536)
            if not chunk:
                break
            if self._on_bytes is not None:
                self._on_bytes(chunk)
            else:
                room = self._limit - len(self.kept)
                self.kept += chunk[:room]
                self.cut = self.cut or len(chunk) > room
            if self._on_line is not None:
                self._tell(chunk)
        self.at_end = True
        if self._on_line is not None and self._line:
            self._on_line(bytes(self._line))

    def _tell(self, chunk: bytes) -> None:
        assert self._on_line is not None
        self._line += chunk
        *lines, rest = self._line.split(b"\n")
        for line in lines:
            self._on_line(bytes(line))
        self._line = rest[-65536:]
