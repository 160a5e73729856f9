"""A program's tree of processes, read from /proc."""

from __future__ import annotations

import contextlib
import os
import signal

_PAGE = os.sysconf("SC_PAGE_SIZE")


def members(leader: int, mark: str) -> set[int]:
    """Processes of the leader's session, and all that carry our mark in their environment."""
    wanted = f"PILOTAGE_PROCESS={mark}".encode()
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            pid = int(name)
            if os.getsid(pid) == leader:
                found.add(pid)
                continue
            with open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.add(pid)
    return found


def memory(leader: int, mark: str) -> int:
    """Resident bytes of the whole tree."""
    total = 0
    for pid in members(leader, mark):
        with (
            contextlib.suppress(OSError, ValueError, IndexError),
            open(f"/proc/{pid}/statm", "rb") as file,
        ):
            total += int(file.read().split()[1]) * _PAGE
    return total


def kill(leader: int, mark: str) -> None:
    """End the tree, again until nothing is left of it: a dying process may fork once more."""
    for _ in range(20):
        alive = {pid for pid in members(leader, mark) if not _zombie(pid)}
        if not alive:
            return
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True
