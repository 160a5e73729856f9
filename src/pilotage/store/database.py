"""One SQLite file, written by one thread in groups: many writes, one commit, one fsync.

Why not an ORM or SQLAlchemy: see docs/decisions/0002-sqlite-without-sqlalchemy.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from pilotage.domain.errors import BadInput, Busy, PilotageError, Unavailable
from pilotage.store import schema

T = TypeVar("T")
Write = Callable[[sqlite3.Connection], T]
Hook = Callable[[sqlite3.Connection], Callable[[], None] | None]

logger = logging.getLogger(__name__)

LAZY_SECONDS = 0.05
OPEN_SECONDS = 30.0
READ_MILLISECONDS = 1_000
READ_CACHE_KIB = 512
"""Pages that each connection that reads keeps. A server may have fifty in use at once, and SQLite's
own 2 MiB each would be 100 MiB; the system keeps the file's pages as well."""
QUEUE_LIMIT = 20_000
GROUP_LIMIT = 1_000


class _Job(Generic[T]):
    __slots__ = ("error", "future", "loop", "value", "work")

    def __init__(self, work: Write[T], loop: asyncio.AbstractEventLoop | None, future: Any) -> None:
        self.work, self.loop, self.future = work, loop, future
        self.value: Any = None
        self.error: BaseException | None = None


class Database:
    """`await write(f)` returns when `f`'s changes are on disk.

    Each write runs in its own savepoint: one that raises undoes only itself. Writes of one process
    keep their order. Reads run in the caller's thread, on a connection that nobody else uses then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: deque[_Job[Any]] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._closing = False
        self._idle: list[sqlite3.Connection] = []  # readers that nobody uses now
        self._watcher: sqlite3.Connection | None = None
        self._opened: list[sqlite3.Connection] = []
        self._hooks: list[tuple[Callable[[], bool], Hook]] = []
        self.riders: list[Any] = []
        """What the writes of this transaction gave to its hooks: gone with a write that fails."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            self._connection = self._connect()
            schema.migrate(self._connection)
        except sqlite3.Error as error:
            raise Unavailable(
                f"{path} cannot be opened: {error}", "check its folder and disk"
            ) from None
        self._thread = threading.Thread(target=self._work, name="pilotage-store", daemon=True)
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=OPEN_SECONDS
        )
        self._wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    @staticmethod
    def _wal(connection: sqlite3.Connection) -> None:
        """SQLite does not wait, whatever its timeout, where another process is switching to WAL."""
        give_up = time.monotonic() + OPEN_SECONDS
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                    connection.close()
                    raise
            time.sleep(0.01)

    def on_group(self, waits: Callable[[], bool], hook: Hook) -> None:
        """`hook` runs in the writer thread, last in each group, and in one of its own within 50 ms
        while `waits()`; what it returns runs after the commit, and only if there was one."""
        self._hooks.append((waits, hook))

    def ride(self, what: Any) -> bool:
        """Give `what` to the hooks of the transaction at hand, from within a write. False: this is
        not the writer's thread."""
        mine = threading.get_ident() == self._thread.ident
        if mine:
            self.riders.append(what)
        return mine

    async def write(self, work: Write[T]) -> T:
        """Run `work` in the writer thread; return its result once it is committed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put(_Job(work, loop, future))
        return await future

    async def settled(self) -> None:
        """Return once everything that was handed over before is on disk."""
        await self.write(_nothing)

    def settle(self) -> None:
        """The same for callers without an event loop."""
        self.write_now(_nothing)

    def write_now(self, work: Write[T]) -> T:
        """`write` for callers without an event loop: blocks until committed."""
        future: Future[T] = Future()
        self._put(_Job(work, None, future))
        return future.result()

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Rows of one query, seeing all that was committed before. Unavailable where the file
        cannot be read."""
        reader = None
        try:
            try:
                reader = self._idle.pop()
            except IndexError:
                reader = self._open_reader()
            return reader.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            raise Unavailable(f"{self.path} could not be read: {error}", "try again") from error
        except OverflowError:
            raise BadInput("a number is too large", "at most 9223372036854775807") from None
        finally:
            if reader is not None:
                self._idle.append(reader)

    def version(self) -> int:
        """A number that is another one after each commit of anybody to the file. It holds for one
        connection, so this has its own: for one caller.
        Source: https://sqlite.org/pragma.html#pragma_data_version"""
        if self._watcher is None:
            self._watcher = self._open_reader()
        found: int = self._watcher.execute("PRAGMA data_version").fetchone()[0]
        return found

    def _open_reader(self) -> sqlite3.Connection:
        """One more than were ever in use at once. It waits for nobody long: an event loop stands
        still meanwhile."""
        made = self._connect()
        made.execute("PRAGMA query_only=ON")
        made.execute(f"PRAGMA busy_timeout={READ_MILLISECONDS}")
        made.execute(f"PRAGMA cache_size=-{READ_CACHE_KIB}")
        made.row_factory = sqlite3.Row
        self._opened.append(made)
        return made

    @property
    def waiting(self) -> int:
        """Writes that are not begun yet."""
        return len(self._queue)

    def close(self) -> None:
        """Write what is queued, then stop."""
        self._closing = True
        self._wake.put(None)
        self._thread.join()
        for connection in (*self._opened, self._connection):
            connection.close()

    def _put(self, job: _Job[Any]) -> None:
        if self._closing:
            raise PilotageError("the database is closed")
        if len(self._queue) >= QUEUE_LIMIT:
            raise Busy("the write queue is full", "the disk is too slow for this load; try again")
        self._queue.append(job)
        self._wake.put(None)

    def _work(self) -> None:
        while True:
            with contextlib.suppress(Empty):
                self._wake.get(timeout=LAZY_SECONDS)
            while not self._wake.empty():
                self._wake.get_nowait()
            last = self._closing
            group: list[_Job[Any]] = []
            while self._queue and len(group) < GROUP_LIMIT:
                group.append(self._queue.popleft())
            if self._queue:
                self._wake.put(None)
            self._commit(group)
            if last and not self._queue:
                return

    def _commit(self, group: list[_Job[Any]]) -> None:
        """One transaction. Whatever breaks it is told to every waiter; this thread goes on."""
        if not group and not any(waits() for waits, _ in self._hooks):
            return
        connection = self._connection
        after: list[Callable[[], None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                self._run(job, alone=len(group) == 1)
            after = [done for _, hook in self._hooks if (done := hook(connection))]
            connection.execute("COMMIT")
        except Exception as error:
            after = []
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            logger.error("%s could not be written: %s", self.path, error)
            for job in group:
                job.error = Unavailable(f"{self.path} could not be written: {error}")
        self.riders.clear()
        _settle(group)
        for done in after:
            try:
                done()
            except Exception as error:
                logger.error("after a commit: %s", error)

    def _run(self, job: _Job[Any], *, alone: bool) -> None:
        """In a savepoint, which one that is alone in its transaction does not need."""
        connection, riders = self._connection, len(self.riders)
        if not alone:
            connection.execute("SAVEPOINT job")
        try:
            job.value = job.work(connection)
        except BaseException as error:
            job.error = error
            del self.riders[riders:]
            connection.execute("ROLLBACK" if alone else "ROLLBACK TO job")
            if alone:
                connection.execute("BEGIN IMMEDIATE")
        if not alone:
            connection.execute("RELEASE job")


def _nothing(_: sqlite3.Connection) -> None:
    """A write that only waits for those before it."""


def _settle(group: list[_Job[Any]]) -> None:
    """Tell each waiter; those of one event loop in one wake-up."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job[Any]]] = {}
    for job in group:
        if job.loop is not None:
            loops.setdefault(job.loop, []).append(job)
        else:
            _resolve([job])
    for loop, jobs in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_resolve, jobs)


def _resolve(jobs: list[_Job[Any]]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.value)
