"""Walk the chain and name the first row that is wrong: edited, deleted, reordered or cut off."""

from __future__ import annotations

from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import GENESIS, chain
from pilotage.domain.audit import Verification
from pilotage.domain.errors import Unavailable
from pilotage.store import audit as rows
from pilotage.store.database import Database

PAGE = 5_000
FIRST = -(1 << 63)


def verify(database: Database, checkpoints: Checkpoints) -> Verification:
    """Read every row once, in order, in pages."""
    try:
        point = checkpoints.last()
    except Unavailable as error:
        if rows.newest(database, 1, None, None, None):
            return Verification(0, -1, 0, f"nothing can be trusted: {error.what}")
        return Verification(0, -1, None, "there is nothing yet")
    before, seq, cursor = GENESIS, -1, FIRST
    while page := rows.after(database, cursor, PAGE):
        for row in page:
            why = _wrong(row, seq, before)
            if not why and row[0] == point.seq and row[7] != point.hash:
                why = "the chain was rewritten: the row differs from the signed checkpoint"
            if why:
                return Verification(seq + 1, point.seq, min(row[0], seq + 1), why)
            before, seq = row[7], row[0]
        cursor = seq
    if seq < point.seq:
        why = f"the end was cut off: the signed checkpoint names row {point.seq}"
        return Verification(seq + 1, point.seq, seq + 1, why)
    return Verification(seq + 1, point.seq, None, "the chain holds")


def _wrong(row: rows.Row, seq: int, before: str) -> str:
    """What is wrong with the row that follows row `seq`, which has the hash `before`."""
    if row[0] > seq + 1:
        return "the row is missing: deleted"
    if row[0] < seq + 1:
        return "the row was inserted"
    if chain(before, row[:7]) != row[7]:
        return "the row was edited or reordered"
    return ""
