"""Which files are the project's own: tracked, and untracked but not ignored.

An ignore list of the repository can hide untracked files only, and what it hides is noted. Outside
git everything is the project's own but well-known folders of installed packages and caches.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.domain.scan import Unread
from pilotage.domain.text import visible
from pilotage.scan.git import failure, git, top_of

CACHES = frozenset(
    ("node_modules", "bower_components", "jspm_packages", "__pycache__", "__pypackages__", ".tox",
     ".nox", ".eggs", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".terraform",
     ".gradle", ".hg", ".svn", ".bzr", "CVS")
)  # fmt: skip
ENVIRONMENTS = frozenset((".venv", "venv", "env", ".env", "virtualenv"))
_MOST_NESTED = 200


@dataclass(slots=True)
class Listing:
    """`wanted` are files by their path from the source; all under a folder of `walked` counts too
    ("" is the source itself). `has_history`: the source is a work tree's top, with a commit."""

    wanted: set[str] = field(default_factory=set)
    walked: set[str] = field(default_factory=set)
    unread: list[Unread] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    has_history: bool = False
    nested: int = 0

    def folders(self) -> set[str]:
        """Every folder that must be entered to reach what counts."""
        entered: set[str] = set()
        for path in (*self.wanted, *self.walked):
            while (path := path.rpartition("/")[0]) and path not in entered:
                entered.add(path)
        return entered | self.walked


async def own_files(source: Path) -> Listing:
    """List the project's own files under `source` (an absolute, resolved folder)."""
    listing = Listing()
    top = top_of(source)
    if top is None:
        listing.walked.add("")
        listing.notes.append("not a git repository: every file was taken")
        return listing
    await _list(listing, source, "", top)
    if top == source:
        head = await git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", top=top)
        listing.has_history = head.exit == 0
    else:
        listing.notes.append(
            f"history is looked at from the top of a repository only ({visible(str(top))})"
        )
    return listing


async def _list(listing: Listing, source: Path, prefix: str, top: Path) -> None:
    """Add the files of one work tree, then those of the repositories inside it."""
    folder = source / prefix if prefix else source
    staged = await git("ls-files", "-z", "--cached", "--stage", folder=folder, top=top)
    others = await git(
        "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore", folder=folder, top=top
    )
    why = failure(staged) or failure(others)
    if why:
        listing.walked.add(prefix)
        listing.notes.append(
            f"git could not list {_shown(prefix)} ({visible(why)}): every file there was taken"
        )
        return
    tracked, links = _tracked(staged.stdout)
    untracked = _names(others.stdout)
    if not tracked and not links and not untracked:
        listing.walked.add(prefix)
        listing.notes.append(
            f"the git repository of {_shown(prefix)} ignores all of it: every file was taken"
        )
        return
    committed = await git("ls-tree", "-r", "-z", "HEAD", folder=folder, top=top)
    tracked |= {n for n in _tracked(committed.stdout)[0] if os.path.lexists(folder / n)}
    at = prefix + "/" if prefix else ""
    listing.wanted |= {at + name for name in tracked}
    listing.wanted |= {at + name for name in untracked if not name.endswith("/")}
    await _note_ignored(listing, folder, prefix, top)
    inner = [*links, *(name.rstrip("/") for name in untracked if name.endswith("/"))]
    for name in sorted(set(inner)):
        await _list_nested(listing, source, at + name)


async def _list_nested(listing: Listing, source: Path, path: str) -> None:
    """A submodule, or a repository that lies inside this one."""
    listing.nested += 1
    folder = source / path
    if listing.nested > _MOST_NESTED:
        why = f"more than {_MOST_NESTED} repositories lie inside this one"
    elif os.path.realpath(folder) != str(folder):
        why = "the way to this submodule is a symbolic link"
    elif not os.path.lexists(folder / ".git"):
        why = "this submodule is not checked out (git submodule update --init)"
    else:
        await _list(listing, source, path, folder)
        return
    listing.unread.append(Unread(visible(path), why))


async def _note_ignored(listing: Listing, folder: Path, prefix: str, top: Path) -> None:
    done = await git(
        "ls-files", "-z", "--others", "--ignored", "--directory",
        "--exclude-per-directory=.gitignore", folder=folder, top=top,
    )  # fmt: skip
    names = sorted(_names(done.stdout))
    if failure(done):
        listing.notes.append(f"what .gitignore leaves out of {_shown(prefix)} could not be listed")
    elif names:
        listing.notes.append(
            f"left out of {_shown(prefix)}, untracked and named by .gitignore: {some(names)}"
        )


def _tracked(listed: bytes) -> tuple[set[str], set[str]]:
    """Files and submodules (mode 160000) of `git ls-files --stage -z`."""
    files: set[str] = set()
    links: set[str] = set()
    for record in listed.split(b"\0"):
        about, _, name = record.partition(b"\t")
        if name:
            (links if about.startswith(b"160000") else files).add(os.fsdecode(name))
    return files, links


def _names(listed: bytes) -> set[str]:
    return {os.fsdecode(name) for name in listed.split(b"\0") if name}


def _shown(prefix: str) -> str:
    return visible(prefix) or "the project"


def some(names: Iterable[str]) -> str:
    """How many, and the first few of them."""
    names = list(names)
    first = ", ".join(visible(name) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} ({first}{more})"
