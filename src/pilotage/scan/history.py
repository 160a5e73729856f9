"""A repository's history, in a bare clone of our own that none of its configuration reaches."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pilotage.domain.text import visible
from pilotage.scan.git import failure, git


@dataclass(frozen=True, slots=True)
class History:
    """`path` is the bare clone, None where there is none: `why` says what stood in the way."""

    path: Path | None
    commits: int = 0
    notes: tuple[str, ...] = ()
    why: str = ""


async def bare_history(source: Path, into: Path) -> History:
    """Clone what can be reached from HEAD, the branches and the tags of `source` into
    `into/history.git`. Works on a repository that belongs to somebody else."""
    source = Path(os.path.realpath(source))
    target = into / "history.git"
    cloned = await git(
        "clone", "--quiet", "--bare", "--no-local", "--template=", "--", str(source), str(target),
        seconds=600,
    )  # fmt: skip
    if why := failure(cloned):
        return History(None, why=f"the history could not be cloned: {visible(why)}")
    counted = await git("--git-dir", str(target), "rev-list", "--count", "--all", "HEAD")
    if (why := failure(counted)) or not counted.stdout.strip().isdigit():
        return History(None, why=f"the history could not be read: {visible(why)}")
    commits = int(counted.stdout)
    notes: tuple[str, ...] = ()
    if (target / "shallow").exists():
        notes = (
            f"history: only {commits} commit{' was' if commits == 1 else 's were'} there, the "
            "clone is shallow "
            "(fetch all of it: actions/checkout with fetch-depth: 0)",
        )
    return History(target, commits, notes)
