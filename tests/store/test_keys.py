"""API keys: shown once, stored as a hash, good for what they say and no longer."""

from __future__ import annotations

import getpass
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.cli import main
from pilotage.domain.call import Principal
from pilotage.domain.errors import Conflict, NotFound, Unauthenticated
from pilotage.store.database import Database
from pilotage.store.keys import Keys

BY = Principal("local:me", frozenset({"admin"}))


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    database = Database(tmp_path / "pilotage.db")
    yield Keys(database, AuditLog(database, Checkpoints(tmp_path / "audit")).note)
    database.close()


def test_a_key_says_who_holds_it(keys: Keys) -> None:
    _, text = keys.create("ci", ("ci",), ("build_*",), by=BY)
    by = keys.principal(text)
    assert (by.name, by.roles, by.tools) == ("key:ci", frozenset({"ci"}), ("build_*",))


def test_the_text_of_a_key_is_nowhere_in_the_file(keys: Keys, tmp_path: Path) -> None:
    _, text = keys.create("ci", ("ci",), by=BY)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"key" in stored
    assert text.encode() not in stored
    assert text.removeprefix("plt_").encode() not in stored


def test_unknown_expired_and_revoked_keys_are_told_apart(keys: Keys) -> None:
    _, expired = keys.create("old", ("ci",), seconds=-1, by=BY)
    _, revoked = keys.create("gone", ("ci",), by=BY)
    keys.revoke("gone", by=BY)
    for text, why in (("plt_x", "not known"), (expired, "expired"), (revoked, "revoked")):
        with pytest.raises(Unauthenticated, match=why):
            keys.principal(text)


def test_a_name_is_taken_once_and_only_a_live_key_is_revoked(keys: Keys) -> None:
    keys.create("ci", ("ci",), by=BY)
    with pytest.raises(Conflict):
        keys.create("ci", ("ci",), by=BY)
    keys.revoke("ci", by=BY)
    with pytest.raises(NotFound):
        keys.revoke("ci", by=BY)


def test_the_command_shows_a_key_once_and_refuses_what_makes_no_sense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path))
    made = ["keys", "create", "me", "--role", "developer", "--tool", "sec*", "--expires", "90d"]
    assert main.main(made) == 0
    text = capsys.readouterr().out.strip()
    assert text.startswith("plt_")
    assert main.main(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert "me" in listed
    assert "sec*" in listed
    assert text not in listed
    for wrong in (
        ["keys", "create", "me", "--role", "developer"],
        ["keys", "create", "you", "--role", "emperor"],
        ["keys", "create", "you", "--role", "ci", "--expires", "soon"],
        ["keys", "create", "you\x1b[2J", "--role", "ci"],
        ["keys", "create", "you", "--role", "ci", "--tool", "a b"],
        ["keys", "revoke", "nobody"],
    ):
        assert main.main(wrong) == 2, wrong
    assert main.main(["keys", "revoke", "me"]) == 0
    with sqlite3.connect(tmp_path / "pilotage.db") as connection:
        assert connection.execute("SELECT count(*) FROM api_key").fetchone() == (1,)
    connection.close()


def test_who_made_and_who_revoked_a_key_is_in_the_audit_and_the_key_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path))
    made = ["keys", "create", "me", "--role", "developer", "--tool", "sec*", "--expires", "90d"]
    assert main.main(made) == 0
    text = capsys.readouterr().out.strip()
    assert main.main(made) == 2  # the name is taken: nothing was made, so nothing is recorded
    assert main.main(["keys", "revoke", "me"]) == 0
    assert main.main(["keys", "revoke", "me"]) == 2
    capsys.readouterr()
    assert main.main(["audit", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    created, revoked = map(json.loads, listed.splitlines())
    assert (created["event"], revoked["event"]) == ("key.created", "key.revoked")
    assert created["principal"] == revoked["principal"] == f"local:{getpass.getuser()}"
    assert created["call"] == revoked["call"]
    assert created["body"] == revoked["body"]
    assert created["body"].pop("expires") > created["at"] / 1e6
    assert created["body"] == {"name": "me", "roles": ["developer"], "tools": ["sec*"]}
    assert text.removeprefix("plt_") not in listed
    assert main.main(["audit", "list", "--event", "key.created"]) == 0
    assert f" key.created {created['call']} local:" in capsys.readouterr().out
    assert main.main(["audit", "verify"]) == 0
    said = capsys.readouterr().out
    assert said == "2 rows: the chain holds\n", "both are under a signed checkpoint"
