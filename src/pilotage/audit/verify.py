"""Walk the chain and name the first row that is wrong: edited, deleted, reordered or cut off."""

from __future__ import annotations

from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import GENESIS, chain
from pilotage.domain.audit import Verification
from pilotage.domain.errors import Unavailable
from pilotage.store import audit as rows
from pilotage.store.database import Database

PAGE = 5_000


def verify(database: Database, checkpoints: Checkpoints) -> Verification:
    """Read every row once, in order, in pages."""
    try:
        point = checkpoints.last()
    except Unavailable as error:
        return Verification(0, -1, 0, str(error))
    signed = (point.seq, bytes.fromhex(point.hash)) if point else (-1, GENESIS)
    before, seq = GENESIS, -1
    while True:
        page = rows.after(database, seq, PAGE)
        if not page:
            break
        for row in page:
            if row[0] != seq + 1:
                return Verification(seq + 1, signed[0], seq + 1, "the row is missing: deleted")
            expected = chain(before, row[:7])
            if expected != row[7]:
                return Verification(seq + 1, signed[0], row[0], "the row was edited or reordered")
            before, seq = expected, row[0]
            if seq == signed[0] and before != signed[1]:
                why = "the chain was rewritten: the row differs from the signed checkpoint"
                return Verification(seq + 1, signed[0], seq, why)
    if seq < signed[0]:
        why = f"the end was cut off: the signed checkpoint names row {signed[0]}"
        return Verification(seq + 1, signed[0], seq + 1, why)
    return Verification(seq + 1, signed[0], None, "the chain holds")
