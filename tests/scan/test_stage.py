"""The stage holds the project's own files, all of them, and nothing that speaks to a scanner."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pilotage.domain.call import Outcome
from pilotage.domain.errors import BadInput
from pilotage.domain.finding import Finding, Location, ScanType, Severity
from pilotage.domain.scan import ScannerRun, Unread
from pilotage.scan.stage import Stage, stage

from .conftest import run_git, write

Commit = Callable[[Mapping[str, str | bytes]], Path]


def content(staged: Stage, name: str) -> bytes:
    return (staged.path / staged.staged(name)).read_bytes()


def names(staged: Stage) -> list[str]:
    return sorted(staged.name(each) for each in staged.files)


async def test_tracked_and_new_files_are_staged_and_ignored_ones_noted(commit: Commit) -> None:
    repo = commit({".gitignore": "*.log\nnode_modules/\n", "app.py": "x = 1\n"})
    write(repo, {"new.py": "y = 2\n", "debug.log": "", "node_modules/a/index.js": "1"})
    async with stage(repo) as staged:
        assert names(staged) == [".gitignore", "app.py", "new.py"]
        assert any("debug.log" in note and "node_modules/" in note for note in staged.notes)
        assert staged.has_history
        assert not staged.unread
        assert not (staged.path / ".git").exists()
        where = staged.path
    assert not where.exists()


async def test_an_ignore_list_cannot_hide_a_tracked_file(commit: Commit) -> None:
    repo = commit({"evil.py": "eval(input())\n", "vendor/lib.py": "x = 1\n"})
    commit({".gitignore": "*\n"})
    (repo / ".git/info").mkdir(exist_ok=True)
    (repo / ".git/info/exclude").write_text("*\n")
    write(repo, {"also.py": "1\n"})
    async with stage(repo) as staged:
        assert "evil.py" in names(staged)
        assert "vendor/lib.py" in names(staged)
        assert any("also.py" in note for note in staged.notes)


async def test_the_private_exclude_list_hides_nothing(commit: Commit) -> None:
    repo = commit({"a.py": "1\n"})
    (repo / ".git/info").mkdir(exist_ok=True)
    (repo / ".git/info/exclude").write_text("*\n")
    run_git(repo, "config", "core.excludesFile", str(repo / ".git/info/exclude"))
    write(repo, {"new.py": "1\n"})
    async with stage(repo) as staged:
        assert "new.py" in names(staged)


async def test_a_tracked_folder_of_packages_is_staged_where_scanners_will_look(
    commit: Commit,
) -> None:
    tracked = ["node_modules/x/index.js", ".venv/a.py", "dist/b.js", "__pycache__/c.py"]
    repo = commit(dict.fromkeys(tracked, "1\n"))
    async with stage(repo) as staged:
        assert names(staged) == sorted(tracked)
        for each in staged.files:
            assert not set(each.split("/")) & {"node_modules", ".venv", "dist", "__pycache__"}


async def test_without_git_everything_counts_but_packages_and_caches(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "1", "node_modules/m/i.js": "1", ".venv/pyvenv.cfg": "",
                     ".venv/lib/x.py": "1", "venv/app.py": "1", "__pycache__/a.pyc": "1",
                     ".gitignore": "a.py\n"})  # fmt: skip
    async with stage(tmp_path) as staged:
        assert names(staged) == [".gitignore", "a.py", "venv/app.py"]
        assert not staged.has_history
        left = next(note for note in staged.notes if note.startswith("left out"))
        assert "3 (.venv/, __pycache__/, node_modules/)" in left


async def test_repositories_inside_are_named_since_their_history_is_not_read(
    tmp_path: Path,
) -> None:
    write(tmp_path, {"a.py": "1", "x/b.py": "2", "y/c.py": "3"})
    run_git(tmp_path / "x", "init", "-q")
    (tmp_path / "y/.git").write_text("gitdir: ../x/.git\n")
    async with stage(tmp_path) as staged:
        assert names(staged) == ["a.py", "x/b.py", "y/c.py"]
        assert not staged.unread
        assert any("history was not looked at: 2 (x/, y/)" in note for note in staged.notes)


@pytest.mark.parametrize("where", ["", "x/"])
async def test_what_hides_behind_the_name_of_a_repository_is_unread(
    where: str, tmp_path: Path
) -> None:
    write(tmp_path, {"a.py": "1", f"{where}.git/evil.py": "eval(input())\n"})
    async with stage(tmp_path) as staged:
        [left] = staged.unread
        assert left.path == f"{where}.git"
        assert "is not a repository" in left.why


async def test_a_part_of_a_repository_can_be_staged(commit: Commit) -> None:
    repo = commit({"a/x.py": "1\n", "b/y.py": "2\n"})
    async with stage(repo / "a") as staged:
        assert names(staged) == ["x.py"]
        assert not staged.has_history
        assert any("history" in note for note in staged.notes)


async def test_a_folder_that_the_repository_around_it_ignores_is_staged_whole(
    commit: Commit,
) -> None:
    repo = commit({".gitignore": "build/\n"})
    write(repo, {"build/out.py": "1\n"})
    async with stage(repo / "build") as staged:
        assert names(staged) == ["out.py"]


async def test_submodules_are_entered_and_one_that_is_missing_is_unread(
    commit: Commit, tmp_path: Path
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    run_git(inner, "init", "-q")
    write(inner, {"lib.py": "1\n"})
    run_git(inner, "add", "-A")
    run_git(inner, "commit", "-q", "-m", "x")
    repo = commit({"a.py": "1\n"})
    for name in ("here", "away"):
        run_git(repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q",
                str(inner), name)  # fmt: skip
    run_git(repo, "commit", "-q", "-m", "submodules")
    run_git(repo, "submodule", "deinit", "-q", "-f", "away")
    write(repo, {"nested/b.py": "2\n"})
    run_git(repo / "nested", "init", "-q")
    async with stage(repo) as staged:
        assert {"a.py", "here/lib.py", "nested/b.py"} <= set(names(staged))
        assert not any(".git" in each.split("/") for each in staged.files)
        assert [(u.path, "not checked out" in u.why) for u in staged.unread] == [("away", True)]


async def test_symbolic_links_stay_inside(commit: Commit, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("outside")
    repo = commit({"real/a.py": "1\n"})
    links = {"inside.py": "real/a.py", "folder": "real", "absolute.py": str(repo / "real/a.py"),
             "out.txt": "../secret.txt", "system": "/etc/passwd", "loop": ".", "gone": "nowhere",
             "chain": "out.txt", "real/up": "../../secret.txt"}  # fmt: skip
    for name, target in links.items():
        (repo / name).symlink_to(target)
    run_git(repo, "add", "-A")
    async with stage(repo) as staged:
        kept = sorted(p.name for p in staged.path.iterdir() if p.is_symlink())
        assert kept == ["folder"]
        for name in kept:
            end = (staged.path / name).resolve()
            assert end.is_relative_to(staged.path.resolve())
        assert staged.files == ("absolute.py", "inside.py", "real/a.py")
        assert not (staged.path / "inside.py").is_symlink()
        assert {u.path for u in staged.unread} == {"chain", "out.txt", "real/up", "system"}
        assert {u.why for u in staged.unread} == {"is a symbolic link out of the tree"}
        assert any("gone" in note and "loop" in note for note in staged.notes)


async def test_a_tracked_path_behind_a_folder_link_is_not_followed(
    commit: Commit, tmp_path: Path
) -> None:
    write(tmp_path, {"elsewhere/a.py": "secret\n"})
    repo = commit({"d/a.py": "1\n"})
    (repo / "d/a.py").unlink()
    (repo / "d").rmdir()
    (repo / "d").symlink_to(tmp_path / "elsewhere")
    async with stage(repo) as staged:
        assert staged.files == ()
        assert any("d/a.py" in note for note in staged.notes)


CONFIGURATION = [
    ".bandit",
    ".pylintrc",
    "pylintrc",
    ".flake8",
    "ruff.toml",
    ".ruff.toml",
    ".eslintrc.json",
    ".eslintrc.js",
    "eslint.config.mjs",
    ".eslintignore",
    ".gitleaks.toml",
    ".gitleaksignore",
    ".betterleaks.toml",
    "trivy.yaml",
    ".trivyignore",
    ".trivyignore.yaml",
    "trivy-secret.yaml",
    "eslint-suppressions.json",
    ".checkov.yaml",
    ".checkov.yml",
    ".hadolint.yaml",
    "zizmor.yml",
    ".github/zizmor.yml",
    ".semgrepignore",
    ".semgrep.yml",
    ".cfnlintrc",
    ".cfnlintrc.yaml",
    ".tfsec/config.yml",
    ".shellcheckrc",
    ".yamllint",
    ".secrets.baseline",
    ".snyk",
    "osv-scanner.toml",
    ".ignore",
    ".ansible-lint",
    ".retireignore.json",
    ".kube-linter.yaml",
    "sonar-project.properties",
]


async def test_no_scanner_finds_its_configuration_but_its_content_is_scanned(
    commit: Commit,
) -> None:
    repo = commit(dict.fromkeys(CONFIGURATION, "AKIA = 1\n"))
    async with stage(repo) as staged:
        assert names(staged) == sorted(CONFIGURATION)
        recorded = {s.path.removesuffix("/config.yml") for s in staged.suppressions if not s.line}
        assert recorded == {c.removesuffix("/config.yml") for c in CONFIGURATION}
        for name in CONFIGURATION:
            assert not (staged.path / name).exists()
            assert content(staged, name) == b"AKIA = 1\n"


async def test_what_belongs_to_the_project_keeps_its_name(commit: Commit) -> None:
    stay = ["pyproject.toml", "setup.cfg", "tox.ini", "package.json", "tsconfig.json",
            ".github/workflows/zizmor.yml", ".github/workflows/trivy.yaml", "Dockerfile",
            "k8s/deploy.yaml", ".gitlab-ci.yml", "requirements.txt"]  # fmt: skip
    repo = commit(dict.fromkeys(stay, "a: 1\n"))
    async with stage(repo) as staged:
        assert staged.files == tuple(sorted(stay))
        assert not staged.suppressions


async def test_words_are_defused_and_recorded_and_the_original_is_untouched(
    commit: Commit,
) -> None:
    source = "import os\nos.system(x)  # nosec B605 - fixed string\n"
    repo = commit({"a.py": source})
    async with stage(repo) as staged:
        assert content(staged, "a.py") == source.replace("nosec", "n0sec").encode()
        (word,) = staged.suppressions
        assert (word.path, word.line, word.word) == ("a.py", 2, "nosec B605")
        assert word.reason == "fixed string"
    assert (repo / "a.py").read_text() == source


async def test_hostile_names_are_staged_under_safe_ones_and_mapped_back(commit: Commit) -> None:
    hostile = {"a\nb.py": "a\\nb.py", "\x1b[31mred.py": "\\x1b[31mred.py", "-rf.py": "-rf.py",
               "bad\udcff.py": "bad\\xff.py", "user\u202etxt.py": "user\\u202etxt.py",
               "back\\slash.py": "back\\slash.py", "d\r/x.py": "d\\r/x.py"}  # fmt: skip
    repo = commit(dict.fromkeys(hostile, "x = 1\n"))
    async with stage(repo) as staged:
        assert names(staged) == sorted(hostile.values())
        for each in staged.files:
            assert each.isascii()
            assert each.isprintable()
            assert each.endswith(".py")
            assert "\\" not in each
            assert not each.startswith("-")
            assert staged.staged(staged.name(each)) == each


async def test_two_names_that_print_alike_stay_two(commit: Commit) -> None:
    repo = commit({"a\x1b.py": "1\n", "a\\x1b.py": "2\n"})
    async with stage(repo) as staged:
        shown = [staged.name(each) for each in staged.files]
        assert len(set(shown)) == 2
        assert {content(staged, name) for name in shown} == {b"1\n", b"2\n"}


async def test_a_run_is_told_in_the_names_of_the_project(commit: Commit) -> None:
    repo = commit({"node_modules/a.js": "eval(x)\n"})
    async with stage(repo) as staged:
        (there,) = staged.files
        finding = Finding("eslint", "r", ScanType.CODE, Severity.LOW, "m", Location(there, 1))
        run = ScannerRun("eslint", "code", ScanType.CODE, Outcome.SUCCEEDED, findings=(finding,),
                         unread=(Unread(there, "why"),))  # fmt: skip
        told = staged.restore(run)
        assert told.findings[0].location.path == "node_modules/a.js"
        assert told.unread[0].path == "node_modules/a.js"
        assert staged.lines("node_modules/a.js") == ["eval(x)", ""]
        assert staged.lines("../../etc/passwd") == []


async def test_the_copy_is_read_only(commit: Commit) -> None:
    repo = commit({"d/a.py": "1\n"})
    async with stage(repo) as staged:
        assert stat.S_IMODE((staged.path / "d/a.py").stat().st_mode) == 0o444
        assert stat.S_IMODE((staged.path / "d").stat().st_mode) == 0o555
        assert (staged.path / "d/a.py").stat().st_ino != (repo / "d/a.py").stat().st_ino


async def test_the_digest_names_contents_and_names_and_nothing_else(
    commit: Commit, tmp_path: Path
) -> None:
    async def digest(folder: Path) -> str:
        async with stage(folder) as staged:
            return staged.digest

    repo = commit({"a.py": "x = 1  # nosec\n"})
    first = await digest(repo)
    os.utime(repo / "a.py", (1, 1))
    assert await digest(repo) == first
    write(tmp_path, {"copy/a.py": "x = 1  # nosec\n"})
    assert await digest(tmp_path / "copy") == first
    write(repo, {"a.py": "x = 1  # n0sec\n"})
    assert await digest(repo) != first
    run_git(repo, "checkout", "-q", ".")
    run_git(repo, "mv", "a.py", "b.py")
    assert await digest(repo) != first


async def test_a_deleted_file_is_noted(commit: Commit) -> None:
    repo = commit({"a.py": "1\n", "b.py": "2\n"})
    (repo / "a.py").unlink()
    async with stage(repo) as staged:
        assert staged.files == ("b.py",)
        assert any("a.py" in note and "work tree" in note for note in staged.notes)


async def test_what_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, why in (("nowhere", "nowhere is not there"), ("file", "is a file, not a folder")):
        with pytest.raises(BadInput, match=why):
            async with stage(tmp_path / name):
                pass
