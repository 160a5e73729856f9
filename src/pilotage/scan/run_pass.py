"""Run one pass of one scanner: a program with limits, no network and no sight of anything else.

Exit code, report and evidence must all say that it looked. Whatever else happens is a run that has
failed, with the reason; nothing here can end as clean by accident.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pilotage.domain.call import Outcome
from pilotage.domain.errors import PilotageError, Unavailable
from pilotage.domain.scan import Coverage, ScannerRun, Unread
from pilotage.domain.text import visible
from pilotage.process.run import Finished, Limits, Program, run
from pilotage.process.sandbox import Sandbox
from pilotage.scan.environment import Installed
from pilotage.scan.inventory import matching, workloads
from pilotage.scan.scanner import Parsed, Pass, Raw, Scanner, Unusable
from pilotage.scan.wording import every

OUTPUT = 64 << 20
ARGUMENTS = 512 << 10
"""Bytes of file names in one command line; Linux takes 2 MiB with the environment."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What passes look at: the stage and its files by staged name, a bare clone, an image.

    `no_history` says why there is no clone; `sandboxed`: bubblewrap works here.
    """

    stage: Path
    files: tuple[str, ...]
    history: Path | None = None
    no_history: str = "there is no git history here"
    image: Path | None = None
    sandboxed: bool = True


class _Stopped(Exception):
    """The pass has not looked: `outcome` and `why` say how it ended."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        super().__init__(why)
        self.outcome, self.why = outcome, why


@dataclass(slots=True)
class _Tally:
    memory: int = 0
    exit: int | None = None


async def run_pass(
    scanner: Scanner, each: Pass, installed: Installed, ground: Ground
) -> ScannerRun:
    """Never raises but for a cancellation, which kills the tree first."""
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    outcome, why, tally = Outcome.SUCCEEDED, "", _Tally()
    parsed, expected = Parsed(), frozenset[str]()
    unread: tuple[Unread, ...] = ()
    try:
        if each.target == "stage":
            expected = frozenset(matching(each.reads, ground.files))
        parsed = await _look(each, installed, ground, sorted(expected), tally)
        unread = _unread(scanner.name, each, parsed, expected, ground.stage)
    except _Stopped as stopped:
        outcome, why, parsed = stopped.outcome, stopped.why, Parsed()
    except PilotageError as error:
        gone = isinstance(error, Unavailable)
        outcome, why = Outcome.UNAVAILABLE if gone else Outcome.FAILED, str(error)
    except Exception as error:
        outcome, why = Outcome.FAILED, f"it could not be run: {type(error).__name__}: {error}"
    return ScannerRun(
        scanner.name,
        each.name,
        each.type,
        outcome,
        visible(why or parsed.remark),
        parsed.findings,
        unread,
        each.coverage,
        _count(parsed, expected) if each.coverage is not Coverage.NONE else None,
        len(expected) if each.target == "stage" else None,
        seconds=round(time.monotonic() - began, 3),
        memory=tally.memory,
        exit=tally.exit,
        version=f"{installed.version} {parsed.data}".strip(),
        started=started,
    )


async def _look(
    each: Pass, installed: Installed, ground: Ground, expected: list[str], tally: _Tally
) -> Parsed:
    if each.search is not None:
        try:
            async with asyncio.timeout(each.seconds):
                return await each.search(ground.stage, tuple(expected))
        except TimeoutError:
            raise _Stopped(Outcome.TIMED_OUT, f"took longer than {each.seconds:g} s") from None
    if each.target == "history" and ground.history is None:
        raise _Stopped(Outcome.FAILED, ground.no_history)
    if each.target == "image" and ground.image is None:
        raise _Stopped(Outcome.FAILED, "there is no image to look at")
    gone = [word for word in installed.program if not os.access(word, os.R_OK)]
    if gone or not installed.program:
        raise _Stopped(Outcome.UNAVAILABLE, f"its program is not there: {', '.join(gone)}")
    deadline = time.monotonic() + each.seconds
    parts = []
    for batch in _batches(each, ground, expected):
        with TemporaryDirectory(prefix="pilotage-pass-", ignore_cleanup_errors=True) as folder:
            work = _Work(each, installed, ground, Path(folder))
            left = max(deadline - time.monotonic(), 0.1)
            parts.append(await _invoke(work, batch, left, tally))
    return _joined(parts)


def _batches(each: Pass, ground: Ground, files: list[str]) -> Iterator[tuple[str, ...]]:
    """File arguments for one command line each; nothing for a command that takes none."""
    if "{files}" not in each.command:
        yield ()
        return
    batch: list[str] = []
    size = 0
    for name in files:
        word = str(ground.stage / name)
        cost = len(os.fsencode(word)) + 9
        if batch and size + cost > ARGUMENTS:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(word)
        size += cost
    if not batch:
        raise _Stopped(Outcome.FAILED, "there is no file for it to look at")
    yield tuple(batch)


def _joined(parts: list[Parsed]) -> Parsed:
    if len(parts) == 1:
        return parts[0]
    reads = [part.read for part in parts]
    read: frozenset[str] | int | None = None
    if all(isinstance(names, AbstractSet) for names in reads):
        read = frozenset().union(*(names for names in reads if isinstance(names, AbstractSet)))
    elif all(isinstance(count, int) for count in reads):
        read = sum(count for count in reads if isinstance(count, int))
    return Parsed(
        tuple(finding for part in parts for finding in part.findings),
        read,
        tuple(unread for part in parts for unread in part.unread),
    )


class _Work:
    """The folders of one invocation, and what the words of its command stand for."""

    def __init__(self, each: Pass, installed: Installed, ground: Ground, folder: Path) -> None:
        self.each, self.installed, self.ground = each, installed, ground
        for name in ("config", "empty", "cache", "report"):
            (folder / name).mkdir()
        self.folder = folder
        self.report = folder / "report" / (each.report or "none")
        self.target = {"history": ground.history, "image": ground.image}.get(
            each.target, ground.stage
        )
        self._words: Mapping[str, str] = {
            "{stage}": str(ground.stage),
            "{history}": str(ground.history or ""),
            "{image}": str(ground.image or ""),
            "{report}": str(self.report),
            "{config}": str(folder / "config"),
            "{cache}": str(folder / "cache"),
            "{empty}": str(folder / "empty"),
            "{environment}": str(installed.folder or ""),
        }
        for name, content in each.config.items():
            (folder / "config" / name).write_text(self.filled(content), "utf-8")

    def filled(self, text: str) -> str:
        for word, value in self._words.items():
            text = text.replace(word, value)
        return text

    def program(self, files: tuple[str, ...], seconds: float) -> Program:
        argv: list[str] = []
        for word in self.each.command:
            spread = {"{program}": self.installed.program, "{files}": files}.get(word)
            argv += spread if spread is not None else [self.filled(word)]
        return Program(
            tuple(argv),
            Path(self.filled(self.each.folder)),
            {name: self.filled(value) for name, value in self.each.environment.items()},
            limits=Limits(seconds, self.each.memory, OUTPUT),
            sandbox=self._sandbox() if self.ground.sandboxed else None,
        )

    def _sandbox(self) -> Sandbox:
        assert self.target is not None
        read = (*self.installed.reads, self.target, self.folder / "config", self.folder / "empty")
        return Sandbox(read, (self.folder / "cache", self.folder / "report"))


async def _invoke(work: _Work, files: tuple[str, ...], seconds: float, tally: _Tally) -> Parsed:
    done = await run(work.program(files, seconds))
    tally.memory, tally.exit = max(tally.memory, done.memory), done.exit
    _ended_well(work.each, done)
    reports = {work.each.report: _report(work.report)} if work.each.report else {}
    raw = Raw(done.exit or 0, done.stdout, done.stderr, reports, str(work.target))
    try:
        return await asyncio.to_thread(work.each.parse, raw)
    except Unusable as error:
        raise _Stopped(Outcome.FAILED, f"its report cannot be used: {error}") from None
    except Exception as error:
        kind = type(error).__name__
        raise _Stopped(Outcome.FAILED, f"its report could not be read ({kind})") from error


def _ended_well(each: Pass, done: Finished) -> None:
    if done.missing:
        raise _Stopped(Outcome.UNAVAILABLE, f"it cannot be started: {done.missing}")
    if done.killed:
        if done.killed.startswith("took longer"):
            raise _Stopped(Outcome.TIMED_OUT, f"took longer than {each.seconds:g} s")
        raise _Stopped(Outcome.FAILED, done.killed)
    if done.exit not in each.exits:
        said = _last_words(each, done)
        raise _Stopped(Outcome.FAILED, f"{_ending(done.exit)}, which is no end of its work{said}")
    if done.cut:
        raise _Stopped(Outcome.FAILED, f"printed more than can be kept ({', '.join(done.cut)})")


def _ending(exit: int | None) -> str:
    """A signal is negative, or 128 and more where a sandbox or a shell stood between."""
    if exit is not None and (exit < 0 or 128 < exit < 160):
        return f"was ended by signal {-exit if exit < 0 else exit - 128}"
    return f"ended with {exit}"


def _last_words(each: Pass, done: Finished) -> str:
    if each.private:
        return "; what it printed may hold secrets and is not quoted"
    said = (done.stderr.strip() or done.stdout.strip())[-2000:].decode("utf-8", "replace")
    lines = [visible(line.strip()) for line in said.splitlines() if line.strip()][-3:]
    return f": {' / '.join(lines)[-300:]}" if lines else ", and said nothing"


def _report(path: Path) -> bytes:
    """The report file; a link or anything else that is not a file is not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _Stopped(Outcome.FAILED, f"wrote no report ({error.strerror})") from None
    with open(descriptor, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > OUTPUT:
            raise _Stopped(Outcome.FAILED, "its report is not a file of a size that can be kept")
        return file.read(OUTPUT)


def _unread(
    name: str, each: Pass, parsed: Parsed, expected: frozenset[str], stage: Path
) -> tuple[Unread, ...]:
    """What was to be read and was not: as the scanner says, and as its evidence shows."""
    told = [replace(row, scanner=row.scanner or name) for row in parsed.unread]
    if each.coverage is Coverage.LISTED:
        if not isinstance(parsed.read, AbstractSet):
            raise _Stopped(Outcome.FAILED, "its report does not list what it read")
        missing = expected - parsed.read - {row.path for row in told}
        told += [Unread(path, f"{name} does not say it read it", name) for path in sorted(missing)]
    elif each.coverage is Coverage.COUNTED:
        if parsed.read is None:
            raise _Stopped(Outcome.FAILED, "its report does not count what it read")
        if expected and not _count(parsed, expected) and not told:
            told.append(Unread(_all_of(expected), f"{name} says that it read no file", name))
    elif isinstance(parsed.read, AbstractSet):  # only what it had something to say of
        quiet = sorted(expected - parsed.read - {row.path for row in told})
        why = f"{name} says nothing of the Kubernetes workload in it"
        told += [Unread(path, why, name) for path in workloads(stage, quiet)]
    return tuple(told)


def _all_of(expected: frozenset[str]) -> str:
    """The one file, or how many there are."""
    return next(iter(expected)) if len(expected) == 1 else every(len(expected))


def _count(parsed: Parsed, expected: frozenset[str]) -> int | None:
    if isinstance(parsed.read, AbstractSet):
        return len(parsed.read & expected) if expected else len(parsed.read)
    return parsed.read
