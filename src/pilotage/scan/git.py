"""Git on a repository that may be hostile: none of its configuration can start a program.

Command-line settings win over the repository's own; hooks, file-system monitors, filters, lazy
fetches and every transport but plain files are off; the index is never written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pilotage.process.run import Finished, Limits, Program, run

_CONFIG = Path(__file__).with_name("safe.gitconfig")
_SETTINGS = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.untrackedCache=false",
             "core.excludesFile=/dev/null", "core.attributesFile=/dev/null", "core.bare=false",
             "core.ignoreCase=false", "core.alternateRefsCommand=", "core.sshCommand=false",
             "core.pager=cat", "safe.directory=*", "gc.auto=0")  # fmt: skip
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": str(_CONFIG),
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_ATTR_SOURCE": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",  # the empty tree
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": "/dev/null",
    "GIT_ALLOW_PROTOCOL": "file",
}


def top_of(folder: Path) -> Path | None:
    """The nearest folder from here up that holds a `.git`, or None."""
    for each in (folder, *folder.parents):
        if os.path.lexists(each / ".git"):
            return each
    return None


async def git(
    *arguments: str,
    folder: Path | None = None,
    top: Path | None = None,
    seconds: float = 120,
    output: int = 64 << 20,
    stdin: bytes = b"",
    on_bytes: Callable[[bytes], None] | None = None,
) -> Finished:
    """Run one git command. `top` names the work tree whose `.git` is read, whatever that says.
    `on_bytes` hears what it says, of which then nothing is kept."""
    program = shutil.which("git", path="/usr/local/bin:/usr/bin:/bin") or "git"
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    where = {"GIT_DIR": str(top / ".git"), "GIT_WORK_TREE": str(top)} if top else {}
    return await run(
        Program(
            (program, *settings, *arguments),
            folder=folder,
            environment={**_ENVIRONMENT, **where},
            stdin=stdin,
            limits=Limits(seconds=seconds, output=output),
        ),
        on_bytes=on_bytes,
    )


def failure(done: Finished) -> str:
    """Why a git command gave nothing that can be used, or empty."""
    if done.missing:
        return "git is not installed"
    if done.killed or done.cut:
        return done.killed or "its answer is too long"
    if done.exit != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return (lines[-1] if lines else f"git ended with {done.exit}")[:200]
    return ""


class GitFailed(Exception):
    """Why a git command gave nothing that can be used."""


async def answer(
    *words: str,
    within: Path | None = None,
    folder: Path | None = None,
    top: Path | None = None,
    seconds: float = 120,
    output: int = 64 << 20,
    stdin: bytes = b"",
    on_bytes: Callable[[bytes], None] | None = None,
) -> bytes:
    """What a git command says, whole, or GitFailed. `within` is a bare repository."""
    where = ("--git-dir", str(within)) if within else ()
    done = await git(
        *where, *words, folder=folder, top=top, seconds=seconds, output=output, stdin=stdin,
        on_bytes=on_bytes,
    )  # fmt: skip
    if why := failure(done):
        raise GitFailed(why)
    return done.stdout
