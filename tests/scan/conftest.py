"""Real git repositories to scan."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Commit = Callable[[Mapping[str, str | bytes]], Path]


def run_git(folder: Path, *arguments: str) -> str:
    """The git of a developer: with identity, and with the repository's own configuration."""
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com",
           "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com",
           "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}  # fmt: skip
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**os.environ, **who}, check=True, capture_output=True,
    )  # fmt: skip
    return done.stdout.decode("utf-8", "surrogateescape")


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def commit(tmp_path: Path) -> Commit:
    """Write files into the repository `tmp_path/repo` and commit all that is not ignored."""
    folder = tmp_path / "repo"
    folder.mkdir()
    run_git(folder, "init", "-q", "-b", "main")

    def commit(files: Mapping[str, str | bytes]) -> Path:
        write(folder, files)
        run_git(folder, "add", "-A")
        run_git(folder, "commit", "-q", "--allow-empty", "-m", "a commit")
        return folder

    return commit
