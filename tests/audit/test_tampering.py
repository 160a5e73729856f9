"""Whatever is done to the stored audit, verification names it, or the first wrong row."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import GENESIS, AuditLog, chain
from pilotage.audit.verify import verify
from pilotage.cli import main
from pilotage.domain.audit import Verification
from pilotage.domain.call import Answer, Decision, Outcome, Principal, ToolCall, ToolResult
from pilotage.store.database import Database

BY = Principal("key:test", frozenset({"developer"}))


@contextmanager
def opened(home: Path) -> Iterator[tuple[Database, Checkpoints, AuditLog]]:
    """The audit of a process; sealed as a process that ends well does."""
    database = Database(home / "pilotage.db")
    checkpoints = Checkpoints(home / "audit")
    log = AuditLog(database, checkpoints)
    try:
        yield database, checkpoints, log
        log.seal()
    finally:
        database.close()


def write(database: Database, log: AuditLog, calls: int) -> None:
    """Calls that end at once. In the writer's thread, so that no commit falls between."""

    def work(_: sqlite3.Connection) -> None:
        for number in range(calls):
            call = ToolCall(f"call{number}", "echo", {"n": number}, BY, "rest")
            log.open(call, call.arguments)
            decision = Decision(Answer.ALLOW, "role.developer.read", "")
            log.close(call, decision, ToolResult(Outcome.SUCCEEDED), 0.001)

    database.write_now(work)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Twenty calls, of which some were written as they opened, all of it signed."""
    with opened(tmp_path) as (database, _, log):
        write(database, log, 10)
        slow = ToolCall("slow", "echo", {}, BY, "rest")
        log.open(slow, {})
        database.settle()
        write(database, log, 7)
        log.close(slow, None, ToolResult(Outcome.CANCELLED), 1.0)
        log.refuse("door", "echo", "unknown", "rest", "no key")
    return tmp_path


def verified(home: Path) -> Verification:
    database = Database(home / "pilotage.db")
    try:
        return verify(database, Checkpoints(home / "audit"))
    finally:
        database.close()


def tamper(home: Path, *statements: str) -> None:
    with sqlite3.connect(home / "pilotage.db") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def rewrite(home: Path, first: int) -> None:
    """As somebody who knows the scheme would: every later hash made again."""
    with sqlite3.connect(home / "pilotage.db") as connection:
        rows = connection.execute("SELECT * FROM audit ORDER BY seq").fetchall()
        before = rows[first - 1][7] if first else GENESIS
        for row in rows[first:]:
            before = chain(before, row[:7])
            connection.execute("UPDATE audit SET hash=? WHERE seq=?", (before, row[0]))
    connection.close()


def test_an_untouched_chain_holds_and_its_end_is_signed(home: Path) -> None:
    assert verified(home) == Verification(20, 19, None, "the chain holds")


@pytest.mark.parametrize(
    ("statement", "bad", "why"),
    [
        ("UPDATE audit SET body='{}' WHERE seq=7", 7, "edited"),
        ("UPDATE audit SET principal='key:other' WHERE seq=0", 0, "edited"),
        ("UPDATE audit SET at=at+1 WHERE seq=19", 19, "edited"),
        ("UPDATE audit SET tool='rm' WHERE seq=12", 12, "edited"),
        ("UPDATE audit SET event='refused' WHERE seq=3", 3, "edited"),
        ("DELETE FROM audit WHERE seq=5", 5, "deleted"),
        ("DELETE FROM audit WHERE seq=0", 0, "deleted"),
        ("DELETE FROM audit WHERE seq>=15", 15, "cut off"),
        ("DELETE FROM audit", 0, "cut off"),
        ("UPDATE audit SET seq=-5 WHERE seq=19", -5, "inserted"),
        (
            "INSERT INTO audit SELECT 20,at,event,call,tool,principal,body,hash "
            "FROM audit WHERE seq=19",
            20,
            "edited",
        ),
    ],
)
def test_the_first_wrong_row_is_named(home: Path, statement: str, bad: int, why: str) -> None:
    tamper(home, statement)
    said = verified(home)
    assert said.bad_seq == bad
    assert why in said.why


def test_two_rows_that_changed_places_are_named(home: Path) -> None:
    tamper(
        home,
        "UPDATE audit SET seq=1000 WHERE seq=4",
        "UPDATE audit SET seq=4 WHERE seq=9",
        "UPDATE audit SET seq=9 WHERE seq=1000",
    )
    said = verified(home)
    assert (said.bad_seq, said.why) == (4, "the row was edited or reordered")


def test_a_row_that_was_taken_out_and_the_rest_renumbered_is_named(home: Path) -> None:
    tamper(home, "DELETE FROM audit WHERE seq=6", "UPDATE audit SET seq=seq-1 WHERE seq>6")
    assert verified(home).bad_seq == 6


def test_a_chain_that_was_rewritten_whole_differs_from_what_was_signed(home: Path) -> None:
    tamper(home, "UPDATE audit SET tool='innocent' WHERE seq=2")
    rewrite(home, 2)
    said = verified(home)
    assert said.bad_seq == 19
    assert "rewritten" in said.why


def test_a_cut_tail_shows_even_after_the_server_went_on_writing(home: Path) -> None:
    tamper(home, "DELETE FROM audit WHERE seq>=10")
    with opened(home) as (database, checkpoints, log):
        write(database, log, 20)
    said = verified(home)
    assert said.bad_seq == 19
    assert "rewritten" in said.why
    assert checkpoints.last().seq == 19, "nothing was signed over the cut"


def drop(folder: Path, name: str) -> None:
    (folder / name).unlink()


def forge(folder: Path) -> None:
    path = folder / "audit.checkpoint"
    raw, signature = path.read_bytes().splitlines()
    path.write_bytes(raw.replace(b'"seq":19', b'"seq":9') + b"\n" + signature + b"\n")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda folder: drop(folder, "audit.checkpoint"), "checkpoint is gone"),
        (lambda folder: drop(folder, "audit.pub"), "checkpoint is gone"),
        (lambda folder: shutil.rmtree(folder), "checkpoint is gone"),
        (forge, "does not hold"),
        (lambda folder: (folder / "audit.checkpoint").write_bytes(b"{}"), "does not hold"),
        (lambda folder: (folder / "audit.pub").write_bytes(bytes(32)), "does not hold"),
    ],
)
def test_a_checkpoint_that_is_gone_or_forged_is_said_and_never_made_again(
    home: Path, spoil: Callable[[Path], object], why: str
) -> None:
    spoil(home / "audit")
    for _ in range(2):
        said = verified(home)
        assert said.bad_seq == 0
        assert why in said.why
        with opened(home) as (database, _, log):
            write(database, log, 1)


def test_rows_after_the_checkpoint_are_said_to_be_loose(home: Path) -> None:
    database = Database(home / "pilotage.db")
    log = AuditLog(database, Checkpoints(home / "audit"))
    write(database, log, 2)
    database.close()  # as a process that is killed: what was written is not signed
    assert verified(home) == Verification(22, 19, None, "the chain holds")


def test_two_processes_share_one_chain(tmp_path: Path) -> None:
    with opened(tmp_path) as (one, _, first), opened(tmp_path) as (two, _, second):
        for _ in range(20):
            write(one, first, 2)
            write(two, second, 3)
    assert verified(tmp_path) == Verification(100, 99, None, "the chain holds")


def test_the_key_and_the_checkpoint_are_for_the_owner_alone(home: Path) -> None:
    for name in ("audit.key", "audit.checkpoint"):
        assert (home / "audit" / name).stat().st_mode & 0o077 == 0
    assert (home / "pilotage.db").stat().st_mode & 0o077 == 0


def test_nothing_yet_holds(tmp_path: Path) -> None:
    assert verified(tmp_path).bad_seq is None


def test_the_command_names_the_bad_row_and_exits_1(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PILOTAGE_HOME", str(home))
    assert main.main(["audit", "verify"]) == 0
    assert capsys.readouterr().out == "20 rows: the chain holds\n"
    assert main.main(["audit", "list", "--limit", "2"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == ["18", "19"]
    tamper(home, "UPDATE audit SET tool='x' WHERE seq=3")
    assert main.main(["audit", "verify"]) == 1
    assert "BROKEN at row 3" in capsys.readouterr().err


def test_a_call_that_ends_between_two_commits_is_one_row_and_a_longer_one_is_two(
    home: Path,
) -> None:
    with opened(home) as (_, _, log):
        entries = list(reversed(log.list()))
        assert [entry.event for entry in entries] == (
            ["call"] * 10 + ["open"] + ["call"] * 7 + ["close", "refused"]
        )
        assert entries[0].body == {
            "via": "rest",
            "arguments": {"n": 0},
            "outcome": "succeeded",
            "ms": 1.0,
            "decision": "allow",
            "rule": "role.developer.read",
        }
        assert entries[10].body == {"via": "rest", "arguments": {}}
        assert entries[18].body["outcome"] == "cancelled"
        records = log.calls()
        assert len(records) == 18
        assert {(record.call == "slow", record.outcome) for record in records} == {
            (True, "cancelled"),
            (False, "succeeded"),
        }
