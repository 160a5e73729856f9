"""Make a git repository with a history out of one of the two applications.

A repository cannot hold another one's `.git`, so it is made here: two commits, always the same.
Somebody committed a deploy token in the first and removed it in the second. Removing is not
mending: it is still in the history of `vulnerable`. For `repaired` the token was withdrawn and the
history written anew, so its first commit never held it.

    python prepare.py vulnerable DIR     makes DIR/vulnerable
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOKEN_FILE = "deploy.env"
# Made up, and put together here so that this file holds no token as a whole.
TOKEN = "_".join(("ghp", "Zk4tWq8Rv1Xn6Bc3Lm9Hs2Jd7Gf5Py0TaUeE"))
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Parcel Team",
    "GIT_AUTHOR_EMAIL": "team@parcels.example",
    "GIT_COMMITTER_NAME": "Parcel Team",
    "GIT_COMMITTER_EMAIL": "team@parcels.example",
}


def prepare(which: str, into: Path) -> Path:
    """A fresh repository `into/which`, in place of what was there; its path."""
    if which not in ("vulnerable", "repaired"):
        raise SystemExit(f"there is no application {which!r}: vulnerable or repaired")
    repository = into / which
    shutil.rmtree(repository, ignore_errors=True)
    leave_out = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(HERE / which, repository, ignore=leave_out)
    git(repository, "init", "--quiet", "--initial-branch=main")
    token = repository / TOKEN_FILE
    secret = TOKEN if which == "vulnerable" else "$DEPLOY_TOKEN"
    token.write_text(f"# read by the deploy job\nDEPLOY_TOKEN={secret}\n", "utf-8")
    commit(repository, "Parcel tracker", day=1)
    token.unlink()
    commit(repository, "Oops, remove the deploy token", day=2)
    return repository


def commit(repository: Path, message: str, day: int) -> None:
    """Everything there is, on that day of the month."""
    at = f"2026-03-0{day}T09:00:00+00:00"
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", message, GIT_AUTHOR_DATE=at, GIT_COMMITTER_DATE=at)


def git(repository: Path, *words: str, **more: str) -> None:
    """One git command, without the settings of whoever runs it."""
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    subprocess.run(["git", *words], cwd=repository, env={**surroundings, **GIT, **more}, check=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    print(prepare(sys.argv[1], Path(sys.argv[2])))
