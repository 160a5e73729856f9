"""Bubblewrap around a program: it sees what it was given, writes where it may, and no network."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/opt", "/etc/alternatives", "/etc/ssl"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/localtime"),
)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """`read` and `write` are folders it sees beside the system's programs; no network unless asked.

    Our state, the caller's home and other people's processes are not there at all.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    network: bool = False

    def wrap(
        self, argv: Sequence[str], env: Mapping[str, str], home: Path, folder: Path | None
    ) -> tuple[str, ...]:
        """The argument list that runs `argv` inside. Source: bwrap(1)."""
        bwrap = shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin") or "bwrap"
        words = [bwrap, "--die-with-parent", "--unshare-all", "--new-session"]
        if self.network:
            words.append("--share-net")
        for system in SYSTEM:
            words += ["--ro-bind-try", system, system]
        words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        if self.network:
            words += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]
            words += ["--ro-bind-try", "/etc/hosts", "/etc/hosts"]
        for path in self.read:
            words += ["--ro-bind", str(path), str(path)]
        for path in (home, *self.write):
            words += ["--bind", str(path), str(path)]
        words += ["--chdir", str(folder or home), "--", *argv]
        return tuple(words)


@functools.cache
def usable() -> str:
    """Empty where bubblewrap works here, else why it does not and what to install."""
    bwrap = shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin")
    if bwrap is None:
        return "bubblewrap is not installed (Debian: apt-get install bubblewrap)"
    tried = subprocess.run(
        [bwrap, "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "true"],
        capture_output=True, timeout=10, check=False,
    )  # fmt: skip
    if tried.returncode == 0:
        return ""
    said = tried.stderr.decode(errors="replace").strip()[:200]
    return f"bubblewrap cannot make a sandbox here: {said}"
