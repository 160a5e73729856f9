"""A repository's history, in a bare repository of our own that none of its configuration reaches.

The objects are read where they lie and packed anew. Nothing asks the repository's own git to hand
them out, since what it hands out is its configuration's choice (hidden refs, a forged graph).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pilotage.domain.scan import Unread
from pilotage.domain.text import visible
from pilotage.scan.git import GitFailed, answer, failure, git, top_of
from pilotage.scan.history_text import searchable

BORROWED = "objects/info/alternates"
_REF = "%(objectname) %(objecttype) %(*objecttype) %(refname)"
PLAIN = ("-c", "core.commitGraph=false", "-c", "core.multiPackIndex=false")
"""Read commits and packs themselves, not what a file beside them says of them."""


@dataclass(frozen=True, slots=True)
class History:
    """`path` is the bare repository, None where there is none: `why` says what stood in the way.
    `unread` is what of the past could not be made searchable."""

    path: Path | None
    commits: int = 0
    notes: tuple[str, ...] = ()
    why: str = ""
    unread: tuple[Unread, ...] = ()


async def bare_history(source: Path, into: Path) -> History:
    """Take all that HEAD and any ref of `source` reach into `into/history.git`. Works on a
    repository that belongs to somebody else. What a log does not show as text, or not at all, is
    there as text besides."""
    source = Path(os.path.realpath(source))
    target = into / "history.git"
    try:
        top = top_of(source) or source
        stray = await _point_at(top, target)
        commits, cut_off = await _counted(top, target)
        await answer(*PLAIN, "repack", "-a", "-d", "-q", within=target, seconds=600)
        (target / BORROWED).unlink()
        notes, unread = await searchable(target)
    except GitFailed as wrong:
        return History(None, why=f"the history could not be read: {visible(str(wrong))}")
    if cut_off:
        notes = (_cut_off(commits), *notes)
    return History(target, commits, notes, unread=(*stray, *unread))


async def _point_at(top: Path, target: Path) -> tuple[Unread, ...]:
    """Make a bare repository that borrows the objects and has a ref for each of the refs, hidden
    ones too. Returns refs to what no commit need hold, which a log does not show."""
    objects = await answer("rev-parse", "--git-path", "objects", folder=top, top=top)
    kind = await answer("rev-parse", "--show-object-format", top=top)
    refs = await answer("for-each-ref", f"--format={_REF}", top=top)
    head = await git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", top=top)
    kind_of_names = f"--object-format={kind.decode().strip()}"
    await answer("init", "--quiet", "--bare", "--template=", kind_of_names, str(target))
    rows = [line.split(" ", 3) for line in refs.decode("utf-8", "replace").splitlines()]
    names = {name for name, *_ in rows}
    if head.exit == 0:
        names.add(head.stdout.decode().strip())
    lines = [f"{name} refs/tags/{number}\n" for number, name in enumerate(sorted(names))]
    (target / "packed-refs").write_text("".join(lines), "ascii")
    (target / BORROWED).parent.mkdir(exist_ok=True)
    (target / BORROWED).write_bytes(
        os.path.join(os.fsencode(top), objects.removesuffix(b"\n")) + b"\n"
    )
    why = "names a file or a folder that need not be in any commit"
    stray = [ref for _, own, peeled, ref in rows if "commit" not in (own, peeled)]
    return tuple(Unread(visible(ref), why) for ref in stray)


async def _counted(top: Path, target: Path) -> tuple[int, bool]:
    """How many commits there are, and whether parents are missing, as in a shallow clone. The list
    of where it was cut off is believed only then: a forged one would hide what is there."""
    count = (*PLAIN, "--git-dir", str(target), "rev-list", "--count", "--all")
    whole = await git(*count)
    if whole.exit == 0:
        return int(whole.stdout), False
    listed = await answer("rev-parse", "--git-path", "shallow", folder=top, top=top)
    file = Path(os.path.join(top, os.fsdecode(listed.strip())))
    if not file.is_file():
        raise GitFailed(failure(whole))
    (target / "shallow").write_bytes(file.read_bytes())
    return int(await answer(*count)), True


def _cut_off(commits: int) -> str:
    return (
        f"history: only {commits} commit{' was' if commits == 1 else 's were'} there, the clone is "
        "shallow (fetch all of it: actions/checkout with fetch-depth: 0)"
    )
