"""The tables, as numbered migrations. A database newer than this program is refused."""

from __future__ import annotations

import sqlite3

from pilotage.domain.errors import Unavailable

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        event TEXT NOT NULL,
        call TEXT NOT NULL,
        tool TEXT NOT NULL,
        principal TEXT NOT NULL,
        body TEXT NOT NULL,
        hash TEXT NOT NULL
    ) STRICT;
    CREATE INDEX audit_closed ON audit (call) WHERE event = 'close';
    CREATE TABLE api_key (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        hash BLOB NOT NULL UNIQUE,
        roles TEXT NOT NULL,
        tools TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER,
        revoked INTEGER
    ) STRICT;
    CREATE TABLE run (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        principal TEXT NOT NULL,
        key TEXT,
        pipeline TEXT NOT NULL,
        digest TEXT NOT NULL,
        owner TEXT,
        pid INTEGER,
        created INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        state TEXT NOT NULL,
        outcome TEXT,
        UNIQUE (principal, key)
    ) STRICT;
    CREATE TABLE run_event (
        number INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES run (id),
        seq INTEGER NOT NULL,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        step TEXT,
        body BLOB NOT NULL,
        UNIQUE (run, seq)
    ) STRICT;
    """,
    """
    CREATE TABLE pin_source (
        owner TEXT NOT NULL,
        source TEXT NOT NULL,
        registered_by TEXT NOT NULL,
        approves INTEGER NOT NULL,
        first INTEGER NOT NULL,
        created INTEGER NOT NULL,
        PRIMARY KEY (owner, source)
    ) STRICT;
    CREATE TABLE pin (
        owner TEXT NOT NULL,
        source TEXT NOT NULL,
        name TEXT NOT NULL,
        approved TEXT,
        approved_text TEXT,
        approved_by TEXT,
        approved_at INTEGER,
        seen TEXT NOT NULL,
        seen_text TEXT NOT NULL,
        seen_at INTEGER NOT NULL,
        why TEXT NOT NULL,
        rejected TEXT,
        warnings TEXT NOT NULL,
        changed INTEGER NOT NULL,
        PRIMARY KEY (owner, source, name)
    ) STRICT;
    CREATE INDEX pin_name ON pin (name);
    """,
    """
    CREATE TABLE registration (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        registrant TEXT NOT NULL,
        kind TEXT NOT NULL,
        definition TEXT NOT NULL,
        enabled INTEGER NOT NULL,
        created INTEGER NOT NULL,
        changed INTEGER NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE approval (
        id TEXT PRIMARY KEY,
        principal TEXT NOT NULL,
        tool TEXT NOT NULL,
        effect TEXT NOT NULL,
        arguments TEXT NOT NULL,
        digest TEXT NOT NULL,
        pin TEXT NOT NULL,
        policy TEXT NOT NULL,
        rule TEXT NOT NULL,
        why TEXT NOT NULL,
        via TEXT NOT NULL,
        run TEXT NOT NULL,
        step TEXT NOT NULL,
        needed INTEGER NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        state TEXT NOT NULL,
        changed INTEGER NOT NULL,
        call TEXT NOT NULL
    ) STRICT;
    CREATE INDEX approval_live ON approval (principal, digest)
        WHERE state IN ('pending', 'approved');
    CREATE TABLE approval_vote (
        approval TEXT NOT NULL REFERENCES approval (id),
        principal TEXT NOT NULL,
        verdict TEXT NOT NULL,
        reason TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (approval, principal)
    ) STRICT;
    """,
    """
    CREATE TABLE attempt (
        principal TEXT NOT NULL,
        tool TEXT NOT NULL,
        key TEXT NOT NULL,
        digest TEXT NOT NULL,
        call TEXT NOT NULL,
        owner TEXT NOT NULL,
        created INTEGER NOT NULL,
        row INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        answer BLOB,
        size INTEGER NOT NULL,
        PRIMARY KEY (principal, tool, key)
    ) STRICT;
    CREATE UNIQUE INDEX attempt_call ON attempt (call);
    CREATE INDEX attempt_created ON attempt (created);
    """,
    """
    CREATE INDEX run_standing ON run (state) WHERE state <> 'ended';
    """,
    """
    CREATE TABLE task (
        id TEXT PRIMARY KEY,
        principal TEXT NOT NULL,
        tool TEXT NOT NULL,
        call TEXT NOT NULL,
        key TEXT,
        server INTEGER NOT NULL,
        status TEXT NOT NULL,
        message TEXT NOT NULL,
        created INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        ttl INTEGER NOT NULL,
        body BLOB
    ) STRICT;
    CREATE INDEX task_changed ON task (changed);
    """,
    """
    CREATE TABLE plugin (
        name TEXT PRIMARY KEY,
        version TEXT NOT NULL,
        files TEXT NOT NULL,
        publisher TEXT NOT NULL,
        by TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT;
    """,
    """
    ALTER TABLE registration ADD COLUMN disabled_by TEXT NOT NULL DEFAULT '';
    """,
    # Runs of a namespace are its own, by whichever key: "kubernetes:CLUSTER/NAMESPACE via KEY" was
    # their principal before. A person's name has a colon where that has its slash.
    """
    UPDATE OR IGNORE run SET principal = substr(principal, 1, instr(principal, ' via ') - 1)
    WHERE principal GLOB 'kubernetes:?*/?* via ?*'
        AND instr(substr(principal, 12), '/') > 0
        AND instr(substr(principal, 12, instr(substr(principal, 12), '/')), ':') = 0;
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to the newest version, one transaction a step."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise Unavailable(
            f"the database has version {version}, this pilotage knows {len(MIGRATIONS)}",
            "use the newer pilotage that wrote it",
        )
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN EXCLUSIVE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        for statement in statements.split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={number}")
    connection.execute("COMMIT")
