"""The one writer: order, savepoints, a disk that fails, a queue that is full."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import PENDING_LIMIT, AuditLog
from pilotage.audit.verify import verify
from pilotage.domain.call import Outcome, Principal, ToolCall, ToolResult
from pilotage.domain.errors import Busy, Unavailable
from pilotage.store import audit as rows
from pilotage.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "pilotage.db")
    yield made
    made.close()


def keep(name: str) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO api_key VALUES (?,?,?,'','',0,NULL,NULL)", (name, name, name.encode())
        )

    return work


def names(database: Database) -> list[str]:
    return [row[0] for row in database.read("SELECT name FROM api_key ORDER BY rowid")]


async def test_writes_keep_their_order_and_one_that_fails_undoes_only_itself(
    database: Database,
) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO api_key VALUES ('x','x',x'00','','',0,NULL,NULL)")
        raise ValueError("halfway")

    work = [keep("a"), fails, keep("b"), keep("c")]
    ended = await asyncio.gather(*map(database.write, work), return_exceptions=True)
    assert [type(one) for one in ended] == [type(None), ValueError, type(None), type(None)]
    assert names(database) == ["a", "b", "c"]


def test_threads_that_read_and_end_leave_nothing_behind(database: Database) -> None:
    """A server's threads come and go with its load, for weeks."""

    def files() -> int:
        links = (os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink())
        return sum(one.startswith(str(database.path)) for one in links)

    names(database)
    before = files()
    for _ in range(20):
        thread = threading.Thread(target=names, args=[database])
        thread.start()
        thread.join()
    assert files() == before


def test_readers_at_once_see_what_was_written_and_by_whom(database: Database) -> None:
    database.write_now(keep("a"))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: names(database), range(200))) == [["a"]] * 200
    other = Database(database.path)
    try:
        version = database.version()
        assert database.version() == version
        other.write_now(keep("b"))
        assert database.version() != version
    finally:
        other.close()
    assert names(database) == ["a", "b"]


def call(number: int = 0) -> ToolCall:
    return ToolCall(f"c{number}", "t", {}, Principal("p", frozenset()), "rest")


async def test_a_disk_that_fails_loses_no_audit_row_and_refuses_what_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "pilotage.db")
    log = AuditLog(database, Checkpoints(tmp_path / "audit"))

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(rows, "insert", full)
        log.open(call(1), {})
        with pytest.raises(Unavailable, match="disk is full"):
            await log.settled()
    log.close(call(1), None, ToolResult(Outcome.FAILED), 0.0)
    await log.settled()
    assert [(entry.event, entry.call) for entry in log.list()] == [("close", "c1"), ("open", "c1")]
    database.close()


def _opened_until_full(log: AuditLog) -> int:
    for number in range(2 * PENDING_LIMIT):
        try:
            log.open(call(number), {})
        except Busy:
            return number
    return 2 * PENDING_LIMIT


async def test_a_full_audit_queue_refuses_what_opens_and_still_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "pilotage.db")
    log = AuditLog(database, Checkpoints(tmp_path / "audit"))

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(rows, "insert", full)
        opened = _opened_until_full(log)
        assert PENDING_LIMIT <= opened <= PENDING_LIMIT + 1  # one may be between two queues
        log.close(call(0), None, ToolResult(Outcome.FAILED), 0.0)
    await log.settled()
    openings = "SELECT count(*), count(DISTINCT call) FROM audit WHERE event != 'close'"
    assert tuple(database.read(openings)[0]) == (opened, opened)
    closings = "SELECT count(*) FROM audit WHERE call = 'c0' AND event IN ('call', 'close')"
    assert database.read(closings)[0][0] == 1
    log.seal()
    database.close()


async def test_what_a_write_says_to_the_audit_is_written_with_it_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "pilotage.db")
    log = AuditLog(database, Checkpoints(tmp_path / "audit"))
    by = Principal("p", frozenset())

    def change(name: str, *, fails: bool = False) -> Callable[[sqlite3.Connection], None]:
        def work(connection: sqlite3.Connection) -> None:
            keep(name)(connection)
            log.note("made", name, by, {})
            if fails:
                raise ValueError("halfway")

        return work

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(rows, "insert", full)
        with pytest.raises(Unavailable):
            await database.write(change("lost"))
    work = [change("a"), change("b", fails=True), change("c")]
    await asyncio.gather(*map(database.write, work), return_exceptions=True)
    with pytest.raises(ValueError, match="halfway"):
        await database.write(change("d", fails=True))
    log.note("outside", "e", by, {})
    await log.settled()
    assert names(database) == ["a", "c"]
    assert [entry.call for entry in reversed(log.list())] == ["a", "c", "e"]
    database.close()


async def test_rows_that_come_while_others_are_written_are_written_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(tmp_path / "pilotage.db")
    log = AuditLog(database, Checkpoints(tmp_path / "audit"))
    count = 15_000
    waiting = []
    for number in range(count):
        while True:
            try:
                log.open(call(number), {})
                break
            except Busy:
                await asyncio.sleep(0.01)
        if number % 500 == 0:
            waiting.append(asyncio.ensure_future(log.settled()))
    await asyncio.gather(*waiting, log.settled())
    assert caplog.records == []
    assert database.read("SELECT count(*) FROM audit")[0][0] == count
    assert verify(database, Checkpoints(tmp_path / "audit")).bad_seq is None
    database.close()


def test_processes_that_make_the_database_at_once_all_get_it(tmp_path: Path) -> None:
    """SQLite refuses the second of two that switch one file to WAL, without waiting."""
    code = (
        "import sys; from pathlib import Path; from pilotage.store.database import Database\n"
        "print(flush=True)\n"
        "for name in sys.stdin: Database(Path(name.strip())).close()\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "\n"
    files = "".join(f"{tmp_path / str(number)}\n" for number in range(60))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda child: child.communicate(files, timeout=300), children))
    assert [child.returncode for child in children] == [0, 0, 0, 0]


def test_a_database_of_a_newer_pilotage_is_refused(tmp_path: Path) -> None:
    Database(tmp_path / "pilotage.db").close()
    with sqlite3.connect(tmp_path / "pilotage.db") as connection:
        connection.execute("PRAGMA user_version=999")
    connection.close()
    with pytest.raises(Unavailable, match="version 999"):
        Database(tmp_path / "pilotage.db")
