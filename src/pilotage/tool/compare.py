"""Whether a tool is what its pin says: pure decisions over rows of the pin store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from pilotage.store import pins as rows
from pilotage.store.pins import PinRow, SourceRow
from pilotage.tool import surface
from pilotage.tool.canonical import canonical
from pilotage.tool.registry import State
from pilotage.tool.screening import Screened, screen
from pilotage.tool.tool import Tool


class Judgement(NamedTuple):
    """What `Registry.put` takes of a tool: its state, and why in a sentence ("" for ready)."""

    state: State
    why: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A tool as it came, with its canonical text and digest; `broken` says why it has none."""

    tool: Tool
    text: str
    digest: str
    screened: Screened
    broken: str = ""


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def look(tools: Iterable[Tool]) -> list[Seen]:
    """Each tool with its canonical text and what screening says of it; no I/O."""
    seen = []
    for tool in tools:
        said = surface.surface(tool)
        try:
            text = canonical(said)
        except ValueError as error:
            broken = f"it cannot be pinned: {error}"
            seen.append(Seen(tool, "", "", Screened(0, ()), broken))
        else:
            seen.append(Seen(tool, text, sha256(text), screen(said)))
    return seen


def first(origin: SourceRow | None, whose: tuple[str, str], one: Seen) -> PinRow:
    """The pin of a tool that had none."""
    owner, source = whose
    name, now = one.tool.name, rows.now()
    why = ""
    if origin is None:
        why = f"nobody has registered {source}"
    elif not origin.first:
        why = f"it is new on {source}, whose tools were approved without it"
    elif not origin.approves:
        why = f"{origin.registered_by} registered it, and may not approve tools"
    elif one.screened.bad:
        why = f"its text looks poisoned: {one.screened.reasons[0]}"
    row = PinRow(
        owner, source, name, None, None, None, None, one.digest, one.text, now, why, None,
        _warnings(one), now,
    )  # fmt: skip
    if why:
        return row
    assert origin is not None
    by = origin.registered_by
    return replace(
        row, approved=one.digest, approved_text=one.text, approved_by=by, approved_at=now
    )


def again(old: PinRow, one: Seen) -> PinRow:
    """The pin of a tool that was seen before: `old` itself where nothing has changed."""
    check(old)
    if one.digest == old.seen:
        return old
    now = rows.now()
    row = replace(
        old, seen=one.digest, seen_text=one.text, seen_at=now, why="", warnings=_warnings(one),
        rejected=None, changed=now,
    )  # fmt: skip
    if one.digest == old.approved:
        return row
    if old.approved_text is None:
        return replace(row, why="it has changed, and nobody has approved it yet")
    what = surface.changed(json.loads(old.approved_text), json.loads(one.text))
    at = datetime.fromtimestamp((old.approved_at or 0) / 1e6, UTC)
    why = f"its {what} changed since {old.approved_by} approved it on {at:%Y-%m-%d}"
    return replace(row, why=why)


def check(row: PinRow) -> None:
    """Raises ValueError for a pin that does not hold: its texts are not what its digests say."""
    pairs = ((row.approved, row.approved_text), (row.seen, row.seen_text))
    for digest, text in pairs:
        if (digest is None) != (text is None) or (text is not None and sha256(text) != digest):
            raise ValueError(f"the pin of {row.name} does not fit its digest")
    if row.seen != row.approved and not row.why:
        raise ValueError(f"the pin of {row.name} says that nothing is wrong, and something is")


def standing(row: PinRow | None, digest: str) -> Judgement:
    """What a tool that looks like `digest` may be by its pin."""
    if row is None:
        return Judgement(State.QUARANTINED, "its pin is gone")
    if row.approved == digest:
        return Judgement(State.READY, "")
    why = row.why if row.seen == digest and row.why else "another version of it was approved"
    return Judgement(State.QUARANTINED, why)


def held(found: Iterable[PinRow]) -> list[PinRow]:
    """Those that wait for a word. What somebody has said no to waits for none. Raises ValueError as
    `check` does."""
    waiting = []
    for row in found:
        check(row)
        if row.why and row.rejected != row.seen:
            waiting.append(row)
    return waiting


def digest_of(found: Iterable[PinRow]) -> str:
    """The digest of what is held back of one source: of each tool, what was approved and what was
    seen."""
    told = sorted((row.owner, row.source, row.name, row.approved, row.seen) for row in found)
    return sha256(canonical([list(one) for one in told]))


def _warnings(one: Seen) -> str:
    return json.dumps(list(one.screened.reasons))


def believed(row: PinRow | None, digest: str) -> Judgement:
    """`standing`, for a row that was not checked yet."""
    try:
        if row is not None:
            check(row)
    except ValueError as error:
        return Judgement(State.QUARANTINED, f"the pin store cannot be read: {error}")
    return standing(row, digest)
