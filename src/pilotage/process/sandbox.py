"""Bubblewrap around a program: it sees what it was given, writes where it may, and no network."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/etc/alternatives"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki/tls/certs"),
    *("/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/localtime"),
)
NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/npmrc", "/etc/uv/uv.toml")
SCRATCH = 256 << 20
"""Bytes of each of /tmp and /dev/shm: they lie in memory, where no process is charged for them."""

FILE = 4 << 30
"""Bytes of the largest file it may write."""

OLDEST = (0, 8)
_TO_CHANGE_USER = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
_BEFORE = (b"bwrap: ", b"setpriv: ", b"prlimit: ", b"env: ")
_DENIED = "Ubuntu 24.04: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
_WHERE = "/usr/local/bin:/usr/bin:/bin"
_INSTALL = "Debian, Ubuntu: apt-get install bubblewrap"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`read` and `write` are folders or files it sees beside the system's programs; no network
    unless asked. The program's own folder has to be among them.

    Our state, the caller's home and other people's processes are not there at all; it has no
    capability, and its processes end with its first one. Where we are root it runs as a user of
    its own, because the kernel does not limit what root starts; then it reads what everybody may
    read, and the folders of `write` are given to that user, so they must be ours to give.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    network: bool = False

    def enter(
        self, argv: Sequence[str], place: Path, folder: Path | None, processes: int
    ) -> tuple[tuple[str, ...], Path]:
        """Make `place` (an empty folder of ours) ready; the argument list that runs `argv` inside,
        and its home. Source: bwrap(1) 0.8, setpriv(1), prlimit(1)."""
        root = os.geteuid() == 0
        user = 60_001 + secrets.randbelow(999) if root else os.geteuid()
        group = user if root else os.getegid()
        home = place / "home"
        home.mkdir(mode=0o700)
        (place / "passwd").write_text(f"sandbox:x:{user}:{group}::{home}:/bin/sh\n")
        (place / "group").write_text(f"sandbox:x:{group}:\n")
        if root:
            for path in (home, *self.write):
                _give(path, user)
        words = (*_walls(root, self.network), *self._mounts(place, home))
        into = ("env", "-C", str(folder or home))
        return (*words, *_entry(root, user, processes), *into, *argv), home

    def _mounts(self, place: Path, home: Path) -> list[str]:
        system = (*SYSTEM, *(NETWORK if self.network else ()))
        mounts = [("--ro-bind-try", path, path) for path in system]
        mounts += [("--ro-bind", str(place / n), f"/etc/{n}") for n in ("passwd", "group")]
        mounts += [("--ro-bind", str(path), str(path)) for path in self.read]
        mounts += [("--bind", str(path), str(path)) for path in (home, *self.write)]
        words = ["--proc", "/proc", "--dev", "/dev"]
        for scratch in ("/dev/shm", "/tmp"):
            words += ["--perms", "1777", "--size", str(SCRATCH), "--tmpfs", scratch]
        for option, source, target in mounts:
            for above in reversed(Path(target).parents[:-1]):  # else bwrap makes them 0700
                words += ["--perms", "0755", "--dir", str(above)]
            words += [option, source, target]
        return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def _walls(root: bool, network: bool) -> list[str]:
    bwrap = shutil.which("bwrap", path=_WHERE) or "bwrap"
    words = [bwrap, "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    words += ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    words += [] if network else ["--unshare-net"]
    if root:
        return [*words, *(word for cap in _TO_CHANGE_USER for word in ("--cap-add", cap))]
    return [*words, "--unshare-user", "--disable-userns"]


def _entry(root: bool, user: int, processes: int) -> list[str]:
    """What runs between the walls and the program: its user, and limits that it cannot lift."""
    limits = ["prlimit", f"--nproc={processes}", f"--fsize={FILE}", "--core=0"]
    if not root:
        return ["--", *limits]
    drop = ["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    return ["--", "setpriv", f"--reuid={user}", f"--regid={user}", *drop, *limits]


def _give(path: Path, user: int) -> None:
    """Links themselves, never what they lead to."""
    os.lchown(path, user, user)
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.lchown(os.path.join(folder, name), user, user)


def start_failure(exit: int | None, stderr: bytes) -> str:
    """Why nothing ran inside, "" where something did. A program can forge the words, and so make
    itself look as if it had not run: never the other way round."""
    if exit in (1, 125, 126, 127) and stderr.startswith(_BEFORE):
        return stderr.decode(errors="replace").strip()[:200].partition(": ")[2]
    return ""


def unusable() -> str:
    """Empty where a sandbox can be made here, else why not and what to install. Takes some 10 ms
    and blocks that long."""
    bwrap = shutil.which("bwrap", path=_WHERE)
    if bwrap is None:
        return f"bubblewrap is not installed ({_INSTALL})"
    version = _said((bwrap, "--version"))
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers < OLDEST:
        return f"{version or bwrap} is too old: bubblewrap {OLDEST[0]}.{OLDEST[1]} or newer"
    with tempfile.TemporaryDirectory(prefix="pilotage-") as place:
        argv, _ = Sandbox().enter(("/bin/sh", "-c", "echo ready"), Path(place), None, 100)
        said = _said(argv)
    return "" if said == "ready" else f"bubblewrap cannot make a sandbox here: {said} ({_DENIED})"


def _said(argv: Sequence[str]) -> str:
    """One line of a program that is ours to trust."""
    try:
        tried = subprocess.run(argv, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (tried.stdout.strip() or tried.stderr.strip()).decode(errors="replace")[:200]
