"""What a log of a history does not show is there as text, all of it, in one commit of our own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pilotage.scan.history import bare_history

from .conftest import run_git

Commit = Callable[[Mapping[str, str | bytes]], Path]
REF = "refs/pilotage/text"
LINES = "a line of plain text\n" * 20_000


async def texts(repo: Path, into: Path) -> dict[str, str]:
    """By name, what stands there."""
    history = await bare_history(repo, into)
    assert history.path is not None
    assert not history.unread
    assert run_git(history.path, "rev-list", "--count", REF).strip() == "1"
    names = run_git(history.path, "ls-tree", "-r", "-z", "--name-only", REF).split("\0")[:-1]
    return {name: run_git(history.path, "show", f"{REF}:{name}") for name in names}


@pytest.mark.parametrize("batch", [1, 100, 1 << 20])
async def test_it_is_whole_however_little_is_held_in_memory(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr("pilotage.scan.history_objects.BATCH", batch)
    repo = commit({"a.bin": b"\0one", "d/b.bin": b"\0two", "c.txt": "text"})
    first = run_git(repo, "rev-parse", "HEAD").strip()
    run_git(repo, "commit", "-q", "--allow-empty", "-m", "three")
    second = run_git(repo, "rev-parse", "HEAD").strip()
    run_git(repo, "tag", "-a", "-m", "four", "v1")
    tag = run_git(repo, "rev-parse", "v1").strip()
    at, then = f"{first[:2]}/{first}", f"{second[:2]}/{second}"
    assert await texts(repo, tmp_path) == {
        f"{at}.file/a.bin": " one",
        f"{at}.file/d/b.bin": " two",
        f"{at}.message": "a commit\n",
        f"{at}.people": "a <a@example.com>",
        f"{then}.message": "three\n",
        f"{then}.tag/{tag}/v1": "four\n",
        f"{then}.taghead/{tag}": "tag v1",
        f"{then}.tagger/{tag}/v1": "a <a@example.com>",
    }


async def test_of_long_files_only_lines_with_a_zero_byte_are_there_where_they_were(
    commit: Commit, tmp_path: Path
) -> None:
    keys = {f"{number}.txt": f"key {number}" for number in range(3)}
    long = {
        name: LINES.encode() + f"{key}\n".encode("utf-16-be") + LINES.encode()
        for name, key in keys.items()
    }
    repo = commit({**long, "plain.txt": LINES, "short.txt": "x"})
    first = run_git(repo, "rev-parse", "HEAD").strip()
    said = await texts(repo, tmp_path)
    files = {name: text for name, text in said.items() if ".file/" in name}
    there = f"{first[:2]}/{first}.file"
    assert {name: text.split("\n")[20_000] for name, text in files.items()} == {
        f"{there}/{name}": key for name, key in keys.items()
    }
    assert [text.strip() for text in files.values()] == list(keys.values())


async def test_a_broken_object_is_no_clean_history(commit: Commit, tmp_path: Path) -> None:
    repo = commit({"a.bin": LINES + "\0"})
    blob = run_git(repo, "rev-parse", "HEAD:a.bin").strip()
    path = repo / ".git/objects" / blob[:2] / blob[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20])
    history = await bare_history(repo, tmp_path)
    assert history.path is None or history.unread
