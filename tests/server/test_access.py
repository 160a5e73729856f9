"""Who may come in: what is kept of a key between requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.domain.call import Principal
from pilotage.domain.errors import Unauthenticated
from pilotage.server import access
from pilotage.store.database import Database
from pilotage.store.keys import Keys

BY = Principal("local:me", frozenset({"admin"}))


def test_a_key_that_is_looked_up_again_has_the_same_holder_until_it_is_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy remembers its answers by the holder's identity: a new object each second would
    fill its memory with the dead."""
    monkeypatch.setattr(access, "REMEMBER_SECONDS", 0.0)
    database = Database(tmp_path / "pilotage.db")
    try:
        audit = AuditLog(database, Checkpoints(tmp_path / "audit"))
        keys = Keys(database, audit.note)
        _, text = keys.create("ci", ("ci",), by=BY)
        door = access.Access(keys, audit, access.LOOPBACK)
        head = {b"authorization": f"Bearer {text}".encode()}
        assert door.principal(head) is door.principal(head)
        keys.revoke("ci", by=BY)
        with pytest.raises(Unauthenticated, match="revoked"):
            door.principal(head)
    finally:
        database.close()
