"""Who may drive a run: one byte of one file each, locked by the operating system.

The lock belongs to the open file, so it ends with the process, however that ends, and a stopped
process keeps it: nobody drives a run whose owner may still wake up. One file, because a thousand
runs would use up the file descriptors of a process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

from pilotage.domain.errors import Unavailable

_FLOCK = "hhqqi4x"
"""struct flock: type, whence, start, length, process (0: of the open file). Source: fcntl(2)"""


class Locks:
    """Locks of numbered runs, held by this object until released, closed or dead."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, _opened(path)
        self._mine: set[int] = set()

    def take(self, number: int) -> bool:
        """False: another process holds it."""
        self._follow()
        if not self._lock(number):
            return False
        self._mine.add(number)
        return True

    def release(self, number: int) -> None:
        self._mine.discard(number)
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _range(fcntl.F_UNLCK, number))

    def held(self, number: int) -> bool:
        """Does another process hold it?"""
        self._follow()
        answer = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, _range(fcntl.F_WRLCK, number))
        return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)

    def close(self) -> None:
        os.close(self._file)

    def _lock(self, number: int) -> bool:
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _range(fcntl.F_WRLCK, number))
        except BlockingIOError:
            return False
        return True

    def _follow(self) -> None:
        """Should somebody have removed the file, others lock the one that took its place."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._file)):
                return
        os.close(self._file)
        self._file = _opened(self._path)
        for number in self._mine:
            self._lock(number)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"{path} cannot be opened: {error}", "check its folder") from None


def _range(kind: int, number: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, number, 1, 0)
