"""A file that a step says it has written, opened so that it can be no other."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pilotage.domain.errors import Denied, NotFound
from pilotage.pipeline.told import Artifact


def opened(one: Artifact, inside: Callable[[str], Path], ours: Callable[[str], bool]) -> BinaryIO:
    """The file, if it lies in the roots once all links are followed (`inside` follows them), and
    only if a tool of the house named it (`ours`): what others' tools say of our files is words."""
    if not ours(one.tool):
        raise Denied(f"{one.tool} is no tool of the house", "its files are not handed out")
    path = inside(one.file_path)
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        why = f"{one.name} is not there any more: {error.strerror}"
        raise NotFound(why, "the run that made it, again") from None
    try:
        inside(os.readlink(f"/proc/self/fd/{number}"))  # where a folder was swapped meanwhile
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise NotFound(f"{one.name} is no file", "only files are handed out")
    except BaseException:
        os.close(number)
        raise
    return os.fdopen(number, "rb")
