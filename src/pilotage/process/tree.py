"""A program's tree of processes, read from /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass

MARK = "PILOTAGE_PROCESS"
KILL_SECONDS = 2.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class _Stat:
    """What we read of a process: `started` tells it from a later one with the same number."""

    pid: int
    parent: int
    session: int
    started: int
    memory: int
    dead: bool


class Tree:
    """The leader's session, all that carry the mark in their environment, and all their children.

    Each of the three finds what escapes the other two: a daemon leaves the session, `env -i` drops
    the mark, an orphan loses its parent. Who was seen once stays known. A process that does all
    three between two looks gets away; the sandbox, whose processes end with its first, is for such.
    """

    def __init__(self, leader: int, mark: str) -> None:
        self._leader, self._mark = leader, f"{MARK}={mark}".encode()
        self._ours: set[tuple[int, int]] = set()
        self._strangers: set[tuple[int, int]] = set()

    def size(self) -> tuple[int, int]:
        """Resident bytes of the whole tree, and how many processes it has."""
        members = self._members(_recent())
        return sum(stat.memory for stat in members), len(members)

    def kill(self) -> bool:
        """End it, again until nothing is left: a dying process may have forked once more.
        False where some of it did not end in two seconds."""
        until = time.monotonic() + KILL_SECONDS
        while members := self._members(_processes()):
            for stat in members:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(stat.pid, signal.SIGKILL)
            if time.monotonic() > until:
                return False
            time.sleep(0.002)
        return True

    def _members(self, seen: list[_Stat]) -> list[_Stat]:
        """Those of `seen` that are ours and alive."""
        processes = {stat.pid: stat for stat in seen}
        present = {(stat.pid, stat.started) for stat in processes.values()}
        self._ours &= present
        self._strangers &= present
        pending = [stat for stat in processes.values() if not self._knows(stat)]
        while True:
            ours = {pid for pid, _ in self._ours}
            found = {(s.pid, s.started) for s in pending if s.parent in ours}
            if not found:
                break
            self._ours |= found
            pending = [stat for stat in pending if (stat.pid, stat.started) not in found]
        return [s for s in processes.values() if (s.pid, s.started) in self._ours and not s.dead]

    def _knows(self, stat: _Stat) -> bool:
        """Sort one into ours or a stranger, where its session or its mark tells."""
        key = (stat.pid, stat.started)
        if key in self._ours:
            return True
        if stat.session == self._leader:
            self._ours.add(key)
            return True
        if key not in self._strangers:
            environment = _environment(stat.pid)
            if self._mark in environment:
                self._ours.add(key)
                return True
            if any(environment):  # it is empty while a process is between two programs
                self._strangers.add(key)
        return False


_last: tuple[float, list[_Stat]] = (0.0, [])


def _recent() -> list[_Stat]:
    """All processes, at most 50 ms old: programs that run side by side share one look."""
    global _last
    if time.monotonic() - _last[0] > 0.05:
        _last = (time.monotonic(), _processes())
    return _last[1]


def _processes() -> list[_Stat]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                found.append(_stat(int(name)))
    return found


def _stat(pid: int) -> _Stat:
    """Source: proc(5). The name stands in brackets and may hold anything, brackets included."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        words = file.read().rpartition(b")")[2].split()
    return _Stat(
        pid,
        parent=int(words[1]),
        session=int(words[3]),
        started=int(words[19]),
        memory=int(words[21]) * _PAGE,
        dead=words[0] in (b"Z", b"X"),
    )


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return [b"unreadable"]
