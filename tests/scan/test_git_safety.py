"""Git on a hostile repository: nothing in it runs, and nothing in it hides its history."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pilotage.scan.history import bare_history
from pilotage.scan.stage import stage

from .conftest import run_git

Commit = Callable[[Mapping[str, str | bytes]], Path]


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a mark (`<itself>.ran`) when somebody starts it."""
    program = tmp_path / "trap.sh"
    program.write_text(f"#!/bin/sh\ntouch {program}.ran\ncat 2>/dev/null\n")
    program.chmod(0o755)
    return program


def sprung(trap: Path) -> bool:
    return Path(f"{trap}.ran").exists()


SETTINGS = ["core.fsmonitor", "core.sshCommand", "core.alternateRefsCommand", "core.pager",
            "core.editor", "diff.x.textconv", "diff.external", "filter.x.clean", "filter.x.smudge",
            "filter.x.process", "uploadpack.packObjectsHook", "credential.helper",
            "core.gitProxy", "gpg.program"]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
async def test_no_setting_of_the_repository_runs_a_program(
    setting: str, commit: Commit, trap: Path, tmp_path: Path
) -> None:
    repo = commit({".gitattributes": "* filter=x diff=x\n", "a.py": "1\n"})
    run_git(repo, "config", setting, str(trap))
    (repo / "a.py").write_text("2\n")
    (repo / "new.py").write_text("3\n")
    async with stage(repo) as staged:
        assert len(staged.files) == 3
    history = await bare_history(repo, tmp_path)
    assert history.path is not None
    run_git(history.path, "log", "-p", "--all")
    assert not sprung(trap)


async def test_the_trap_works_where_git_runs_as_it_comes(commit: Commit, trap: Path) -> None:
    repo = commit({"a.py": "1\n"})
    run_git(repo, "config", "core.fsmonitor", str(trap))
    run_git(repo, "ls-files", "--others")
    assert sprung(trap)


async def test_no_hook_runs(commit: Commit, trap: Path, tmp_path: Path) -> None:
    repo = commit({"a.py": "1\n"})
    hooks = repo / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc",
                 "fsmonitor-watchman", "post-merge", "pre-receive", "update"):  # fmt: skip
        (hooks / name).symlink_to(trap)
    async with stage(repo):
        pass
    assert (await bare_history(repo, tmp_path)).path is not None
    assert not sprung(trap)


async def test_a_promisor_remote_is_never_asked(commit: Commit, trap: Path, tmp_path: Path) -> None:
    repo = commit({"a.py": "1\n"})
    blob = run_git(repo, "rev-parse", "HEAD:a.py").strip()
    (repo / ".git/objects" / blob[:2] / blob[2:]).unlink()
    for key, value in {"extensions.partialClone": "evil", "remote.evil.promisor": "true",
                       "remote.evil.url": f"ext::{trap} %S", "protocol.ext.allow": "always",
                       "core.repositoryFormatVersion": "1"}.items():  # fmt: skip
        run_git(repo, "config", key, value)
    async with stage(repo) as staged:
        assert staged.files == ("a.py",)
    history = await bare_history(repo, tmp_path)
    assert history.path is None
    assert "could not be read" in history.why
    assert not sprung(trap)


async def test_the_work_tree_is_the_one_that_is_scanned(commit: Commit, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.py").write_text("other\n")
    repo = commit({"a.py": "1\n", "b.py": "2\n"})
    run_git(repo, "config", "core.worktree", str(elsewhere))
    async with stage(repo) as staged:
        assert staged.files == ("a.py", "b.py")
        assert staged.lines("a.py") == ["1", ""]


async def test_a_broken_repository_hides_nothing(commit: Commit) -> None:
    repo = commit({"a.py": "1\n"})
    (repo / ".git/index").write_bytes(b"garbage")
    (repo / ".gitignore").write_text("*\n")
    async with stage(repo) as staged:
        assert "a.py" in staged.files
        assert any("could not list" in note for note in staged.notes)


async def test_the_index_of_the_repository_is_not_written(commit: Commit) -> None:
    repo = commit({"a.py": "1\n"})
    os.utime(repo / "a.py", (1, 1))
    before = (repo / ".git/index").read_bytes(), sorted(os.listdir(repo / ".git"))
    async with stage(repo):
        pass
    assert before == ((repo / ".git/index").read_bytes(), sorted(os.listdir(repo / ".git")))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository away")
async def test_a_repository_of_another_user_is_read_all_the_same(
    commit: Commit, tmp_path: Path
) -> None:
    repo = commit({"a.py": "1\n"})
    for folder, _, files in os.walk(repo):
        for each in (folder, *(os.path.join(folder, f) for f in files)):
            os.chown(each, 65534, 65534)
    async with stage(repo) as staged:
        assert staged.files == ("a.py",)
        assert staged.has_history
    assert (await bare_history(repo, tmp_path)).commits == 1


async def test_history_holds_what_the_tree_no_longer_does(commit: Commit, tmp_path: Path) -> None:
    repo = commit({".env": "TOKEN=abc\n"})
    (repo / ".env").unlink()
    commit({"a.py": "1\n"})
    run_git(repo, "checkout", "-q", "--detach")
    history = await bare_history(repo, tmp_path)
    assert history.path is not None
    assert (history.commits, history.notes) == (2, ())
    assert "TOKEN=abc" in run_git(history.path, "log", "-p", "--all")


async def test_a_replaced_or_grafted_history_is_seen_as_it_was(
    commit: Commit, tmp_path: Path
) -> None:
    repo = commit({".env": "TOKEN=abc\n"})
    first = run_git(repo, "rev-parse", "HEAD").strip()
    (repo / ".env").unlink()
    commit({"a.py": "1\n"})
    run_git(repo, "replace", "--graft", "HEAD")
    assert first not in run_git(repo, "log", "--format=%H")
    history = await bare_history(repo, tmp_path)
    assert history.path is not None
    assert first in run_git(history.path, "rev-list", "--all")


async def test_a_hidden_branch_is_read(commit: Commit, tmp_path: Path) -> None:
    repo = commit({"a.py": "1\n"})
    run_git(repo, "checkout", "-q", "-b", "side")
    commit({".env": "TOKEN=abc\n"})
    run_git(repo, "checkout", "-q", "-")
    run_git(repo, "update-ref", "refs/secret/side", "side")
    run_git(repo, "branch", "-q", "-D", "side")
    run_git(repo, "config", "transfer.hideRefs", "refs/")
    run_git(repo, "config", "uploadpack.hideRefs", "refs/")
    history = await bare_history(repo, tmp_path)
    assert history.path is not None
    assert "TOKEN=abc" in run_git(history.path, "log", "-p", "--all")


async def test_a_list_of_cut_off_commits_that_lies_is_not_believed(
    commit: Commit, tmp_path: Path
) -> None:
    repo = commit({".env": "TOKEN=abc\n"})
    commit({"a.py": "1\n"})
    (repo / ".git/shallow").write_text(run_git(repo, "rev-parse", "HEAD"))
    assert run_git(repo, "rev-list", "--count", "HEAD") == "1\n"
    history = await bare_history(repo, tmp_path)
    assert (history.commits, history.notes) == (2, ())


async def test_a_commit_graph_that_lies_is_not_believed(commit: Commit, tmp_path: Path) -> None:
    repo = commit({".env": "TOKEN=abc\n"})
    commit({"a.py": "1\n"})
    graph = repo / ".git/objects/info/commit-graph"
    run_git(repo, "commit-graph", "write", "--reachable")
    data = bytearray(graph.read_bytes())
    at = data.find(bytes.fromhex(run_git(repo, "rev-parse", "HEAD^{tree}").strip()))
    data[at + 20 : at + 24] = bytes.fromhex("70000000")  # "no parent"
    graph.chmod(0o644)
    graph.write_bytes(data)
    assert run_git(repo, "rev-list", "--count", "HEAD") == "1\n"
    history = await bare_history(repo, tmp_path)
    assert history.commits == 2


async def test_a_name_for_a_file_that_no_commit_holds_is_unread(
    commit: Commit, tmp_path: Path
) -> None:
    repo = commit({"a.py": "1\n"})
    run_git(repo, "tag", "key", run_git(repo, "rev-parse", "HEAD:a.py").strip())
    run_git(repo, "tag", "-a", "-m", "x", "good")
    history = await bare_history(repo, tmp_path)
    assert [row.path for row in history.unread] == ["refs/tags/key"]


async def test_a_history_with_long_names_of_objects_is_read(tmp_path: Path) -> None:
    repo = tmp_path / "r"
    repo.mkdir()
    run_git(repo, "init", "-q", "--object-format=sha256")
    (repo / "a.bin").write_bytes(b"\0TOKEN=abc")
    run_git(repo, "add", "--all")
    run_git(repo, "commit", "-q", "-m", "x")
    history = await bare_history(repo, tmp_path)
    assert history.path is not None
    assert history.commits == 1
    assert "+ TOKEN=abc" in run_git(history.path, "log", "-p", "--all")


BINARY: dict[str, bytes] = {
    "a zero byte": b"\0TOKEN=abc\n",
    "UTF-16": "TOKEN=abc\n".encode("utf-16"),
    "UTF-16 without a mark": "TOKEN=abc\n".encode("utf-16-le"),
    "UTF-32": "TOKEN=abc\n".encode("utf-32"),
    "among other bytes": bytes(range(256)) + b"\nTOKEN=abc\n" + bytes(range(256)),
}


@pytest.mark.parametrize("content", BINARY.values(), ids=BINARY)
@pytest.mark.parametrize("name", ["a.ini", 'we"ird \n\\\x1b[31m é\t.ini', "d/e f"])
async def test_what_git_calls_binary_is_there_as_text(
    name: str, content: bytes, commit: Commit, tmp_path: Path
) -> None:
    repo = commit({name: content})
    first = run_git(repo, "rev-parse", "HEAD").strip()
    (repo / name).unlink()
    commit({"a.py": "1\n"})
    history = await bare_history(repo, tmp_path)
    assert history.path is not None
    shown = run_git(
        history.path, "log", "-p", "-z", "--all", "--", f":(literal){first[:2]}/{first}.file/{name}"
    )
    assert "TOKEN=abc" in shown
    [note] = history.notes
    assert note.startswith("history: 1 file of the past was searched as text")
    assert not history.unread


async def test_text_that_took_the_place_of_a_binary_file_is_there(
    commit: Commit, tmp_path: Path
) -> None:
    commit({"a": b"\0"})
    commit({".gitattributes": "a diff\n", "a": b"TOKEN=abc\n"})
    repo = commit({"a": b"\0"})
    history = await bare_history(repo, tmp_path)
    assert history.path is not None
    assert "+TOKEN=abc" in run_git(history.path, "log", "-p", "--all")


async def test_what_cannot_be_made_text_is_unread(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotage.scan.history_files.LARGEST", 100)
    monkeypatch.setattr("pilotage.scan.history_files.MOST", 150)
    repo = commit({"large": b"\0" * 101, "fits": b"\0" * 90, "second": b"\0" * 91})
    history = await bare_history(repo, tmp_path)
    assert {row.path for row in history.unread} == {"large", "second"}
    (tmp_path / "history.git").rename(tmp_path / "old")
    repo = commit({"packed": b"PK\x03\x04\0"})
    history = await bare_history(repo, tmp_path)
    assert "packed" in {row.path for row in history.unread}


async def test_a_shallow_clone_is_said_to_be_one(commit: Commit, tmp_path: Path) -> None:
    repo = commit({"a.py": "1\n"})
    commit({"a.py": "2\n"})
    run_git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repo}", "shallow")
    (tmp_path / "into").mkdir()
    history = await bare_history(tmp_path / "shallow", tmp_path / "into")
    assert history.commits == 1
    assert "only 1 commit was there" in history.notes[0]


async def test_no_commit_is_no_history(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1\n")
    async with stage(tmp_path) as staged:
        assert staged.files == ("a.py",)
        assert not staged.has_history
