"""Folders of clusters whose keeper was killed: found by a lock that nobody holds, and removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PLACE = Path("/var/tmp")
"""On a disk, and short: the path of a socket has 107 bytes at most."""
PREFIX = "cluster-"
YOUNG = 60.0
"""Seconds in which a folder's owner may not have taken its lock yet."""


def new_folder() -> tuple[Path, int]:
    """An empty folder for one cluster, and a descriptor that holds its lock: whoever inherits the
    descriptor holds it too, until death. Removes what dead clusters of this user left first."""
    for left in PLACE.glob(f"{PREFIX}*"):
        if _is_dead(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=PLACE))
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return folder, descriptor


def _is_dead(folder: Path) -> bool:
    """Ours, not young, and nobody's."""
    try:
        about = folder.stat()
        if about.st_uid != os.getuid() or time.time() - about.st_ctime < YOUNG:
            return False
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # gone already, or no folder
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
