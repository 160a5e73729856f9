"""A copy of a tree: the tests may write where they like, the repository stays as it is."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from pilotage.domain.errors import BadInput, TooLarge

FILES = 300_000
BYTES = 4 << 30
LEFT_OUT = frozenset({".git", "__pycache__", ".pytest_cache"})


def copy_tree(source: Path, target: Path) -> None:
    """Files and folders, and links as links (those that lead out of the tree lead nowhere in the
    sandbox). Pipes, sockets and devices are left out, and so is `.git`. Raises TooLarge."""
    if not source.is_dir():
        raise BadInput(f"{source} is no folder", "name the folder that holds the tests")
    target.mkdir()
    pending, files, size = [(source, target)], 0, 0
    while pending:
        folder, into = pending.pop()
        for entry in os.scandir(folder):
            if entry.name in LEFT_OUT:
                continue
            about = entry.stat(follow_symlinks=False)
            files, size = files + 1, size + about.st_size
            if files > FILES or size > BYTES:
                raise TooLarge(
                    f"{source} holds more than {FILES:,} files or {BYTES >> 30} GiB",
                    "name a smaller folder",
                )
            place = into / entry.name
            if stat.S_ISDIR(about.st_mode):
                place.mkdir()
                pending.append((Path(entry.path), place))
            elif stat.S_ISLNK(about.st_mode):
                place.symlink_to(os.readlink(entry.path))
            elif stat.S_ISREG(about.st_mode):
                shutil.copyfile(entry.path, place, follow_symlinks=False)
                place.chmod(0o755 if about.st_mode & 0o111 else 0o644)
