"""The local shell: git says what it can, outputs are printed and saved plainly."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import pytest

from pilotage.ci.job import Job
from pilotage.ci.publish import Results, publish
from pilotage.platforms.local_shell import LOCAL_SHELL


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "topic")
    (folder / "file").write_text("x")
    git(folder, "add", "file")
    git(folder, "commit", "-qm", "one")
    git(folder, "remote", "add", "origin", "https://user:secret@example.com/owner/name.git")
    return folder


async def test_git_says_commit_branch_repository_and_workspace(checkout: Path) -> None:
    (checkout / "sub").mkdir()
    context = await LOCAL_SHELL.context({"USER": "me"}, checkout / "sub")
    assert context.github["sha"] == git(checkout, "rev-parse", "HEAD")
    assert context.github["ref"] == "refs/heads/topic"
    assert context.github["ref_name"] == "topic"
    assert context.github["repository"] == "owner/name"
    assert context.github["workspace"] == str(checkout)
    assert context.github["event_name"] == "local"
    assert context.github["actor"] == "me"


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("git@github.com:owner/name.git", "owner/name"),
        ("ssh://git@host:22/group/sub/name", "group/sub/name"),
        ("https://host/owner/name/", "owner/name"),
        ("/srv/git/name", "checkout"),
    ],
)
async def test_a_repository_is_named_by_its_remote(checkout: Path, remote: str, name: str) -> None:
    git(checkout, "remote", "set-url", "origin", remote)
    assert (await LOCAL_SHELL.context({}, checkout)).github["repository"] == name


async def test_a_detached_head_has_a_commit_and_no_branch(checkout: Path) -> None:
    git(checkout, "checkout", "-q", "--detach")
    context = await LOCAL_SHELL.context({}, checkout)
    assert context.github["sha"]
    assert context.github["ref"] == ""


async def test_outside_a_checkout_that_part_is_empty_and_said(tmp_path: Path) -> None:
    context = await LOCAL_SHELL.context({}, tmp_path)
    assert context.github["sha"] == ""
    assert context.github["workspace"] == str(tmp_path)
    assert "no git checkout" in context.notes[0]


async def test_no_setting_of_the_repository_starts_a_program(checkout: Path) -> None:
    trap = checkout.parent / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {checkout.parent}/sprung\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "alias.rev-parse",
                "diff.external", "filter.x.smudge", "uploadpack.packObjectsHook"):  # fmt: skip
        git(checkout, "config", key, f"!{trap}" if key.startswith("alias") else str(trap))
    hooks = checkout.parent / "hooks"
    hooks.mkdir()
    (hooks / "post-index-change").symlink_to(trap)
    git(checkout, "config", "core.hooksPath", str(hooks))
    (checkout.parent / "more").write_text(f"[core]\n\tfsmonitor = {trap}\n")
    git(checkout, "config", "include.path", str(checkout.parent / "more"))
    context = await LOCAL_SHELL.context({}, checkout)
    assert context.github["sha"]
    assert not (checkout.parent / "sprung").exists()


def test_outputs_are_printed_and_saved_where_a_variable_names_a_file(tmp_path: Path) -> None:
    env = {"PILOTAGE_OUTPUT": str(tmp_path / "out"), "PILOTAGE_ENV": str(tmp_path / "env")}
    out = io.StringIO()
    value = "it's\n$(touch made) `id`\x1b[31m"
    results = Results(variables={"a": value}, environment={"B": value}, summary="# Run\n")
    done = publish(Job(LOCAL_SHELL, env, out), results)
    assert done.problems == ()
    assert json.loads((tmp_path / "out").read_text()) == {"name": "a", "value": value}
    read = subprocess.run(
        ["sh", "-c", '. "$1"; printf %s "$B"', "sh", str(tmp_path / "env")],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert read.stdout == value
    assert not (tmp_path / "made").exists()
    assert "\x1b" not in out.getvalue()
    assert "output a = it's\\n" in out.getvalue()
    assert "# Run" in out.getvalue()


def test_a_summary_goes_to_its_file_instead(tmp_path: Path) -> None:
    out = io.StringIO()
    job = Job(LOCAL_SHELL, {"PILOTAGE_SUMMARY": str(tmp_path / "s.md")}, out)
    publish(job, Results(summary="# Run\n"))
    assert (tmp_path / "s.md").read_text() == "# Run\n"
    assert out.getvalue() == ""
