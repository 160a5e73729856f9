"""Repositories that try to silence, blind or take over gitleaks, trivy, checkov and osv.

Every row runs the real scanner through the whole engine, without the sandbox: what stops the trick
is the stage, the clone or a flag, and not a wall behind them. Sources of the rows: the two tables
of known tricks, and what we found ourselves.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from pilotage.config import cache_folder
from pilotage.domain.call import Outcome, silent
from pilotage.domain.finding import Finding
from pilotage.domain.scan import Scan
from pilotage.domain.verdict import Ruling
from pilotage.scan.environment import Environments
from pilotage.scan.run_pass import Ground, run_pass
from scanners import passes
from scanners.looking import plant
from scanners.passes import BUCKET, KEY, KEY_LINE

Files = Mapping[str, str | bytes]

GITLEAKS_OFF = '[allowlist]\npaths = [".*"]\nregexes = [".*"]\n'
LEAK = {"settings.ini": KEY_LINE}
TERRAFORM = {"main.tf": BUCKET}
BAD_PINS = {"requirements.txt": "jinja2==2.4.1\n"}


def git(folder: Path, *words: str) -> str:
    who = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER")
           for what in ("NAME", "EMAIL")}  # fmt: skip
    done = subprocess.run(
        ["git", "-C", str(folder), *words], env={**os.environ, **who}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def repository(folder: Path, *commits: Files) -> Path:
    """A repository with one commit after another; a file that a later one lacks is removed."""
    folder.mkdir(exist_ok=True)
    git(folder, "init", "-q", "-b", "main")
    for files in commits:
        for old in folder.iterdir():
            if old.name != ".git":
                git(folder, "rm", "-r", "-q", "--ignore-unmatch", old.name)
        plant(folder, files)
        git(folder, "add", "--all", "--force")
        git(folder, "commit", "-q", "--allow-empty", "-m", "a commit")
    return folder


def found(scan: Scan, scanner: str, pass_name: str) -> list[Finding]:
    """What one pass found, which must have run to its end."""
    [run] = [r for r in scan.runs if (r.scanner, r.pass_name) == (scanner, pass_name)]
    assert run.outcome is Outcome.SUCCEEDED, run.why
    return [finding for finding in run.findings if finding.suppressed is None]


# gitleaks


@pytest.mark.parametrize(
    "trick",
    [
        {".gitleaks.toml": GITLEAKS_OFF},
        {"gitleaks.toml": GITLEAKS_OFF},
        {".gitleaksignore": "settings.ini:aws-access-token:1\n"},
        {".gitignore": "settings.ini\n"},
        {"settings.ini": f"aws_key = {KEY}  # gitleaks:allow\n"},
        {"settings.ini": f"aws_key = {KEY}  # betterleaks:allow\n"},
    ],
    ids=lambda trick: " ".join(trick) + (":allow" if "settings.ini" in trick else ""),
)
async def test_no_file_and_no_word_keeps_gitleaks_from_a_secret(
    tmp_path: Path, trick: Files
) -> None:
    source = repository(tmp_path / "r", {**LEAK, **trick})
    scan = await passes.scan(source, "gitleaks")
    for which in ("tree", "history"):
        places = {(f.rule, f.location.path) for f in found(scan, "gitleaks", which)}
        assert ("aws-access-token", "settings.ini") in places


@pytest.mark.parametrize(
    "path",
    ["logo.svg", "package-lock.json", "go.sum", "vendor/github.com/a/b.go", "jquery.min.js",
     "node_modules/a/index.js", "env/lib/python3.11/a.py", "gitleaks.toml", "a.pdf", "gradlew"],
)  # fmt: skip
async def test_no_name_of_a_file_hides_a_secret_in_it(tmp_path: Path, path: str) -> None:
    source = repository(tmp_path / "r", {path: KEY_LINE})
    run = await passes.look("gitleaks", "tree", source)
    assert [(f.rule, f.location.path) for f in run.findings] == [("aws-access-token", path)]


@pytest.mark.parametrize("path", ["secrets.zip", "secrets.gz", "secrets.txt"])
async def test_what_gitleaks_leaves_out_is_said_to_be_unread(tmp_path: Path, path: str) -> None:
    content = b"%PDF-1.4\n" + KEY_LINE.encode() if path.endswith("txt") else KEY_LINE
    run = await passes.look("gitleaks", "tree", plant(tmp_path, {path: content}))
    assert [item.path for item in run.unread] == [path]


async def test_a_text_conversion_of_the_repository_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    source = repository(tmp_path / "r", {**LEAK, ".gitattributes": "* diff=x filter=x\n"}, {})
    for key in ("diff.x.textconv", "diff.x.command", "filter.x.clean", "filter.x.smudge"):
        git(source, "config", key, f"touch {marker}; cat")
    git(source, "config", "core.fsmonitor", f"touch {marker}")
    scan = await passes.scan(source, "gitleaks")
    assert [f.rule for f in found(scan, "gitleaks", "history")] == ["aws-access-token"]
    assert not marker.exists()


@pytest.mark.parametrize("attribute", ["-diff", "binary", "diff=none", "-text -diff"])
async def test_an_attribute_does_not_hide_a_file_of_the_history(
    tmp_path: Path, attribute: str
) -> None:
    hidden = {".gitattributes": f"*.ini {attribute}\n"}
    source = repository(tmp_path / "r", {**LEAK, **hidden}, hidden)
    scan = await passes.scan(source, "gitleaks")
    [leak] = found(scan, "gitleaks", "history")
    assert (leak.location.path, bool(leak.location.commit)) == ("settings.ini", True)


async def test_a_secret_that_only_a_merge_brought_is_found(tmp_path: Path) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    git(source, "checkout", "-q", "-b", "side")
    plant(source, {"b": "1"})
    git(source, "add", "b")
    git(source, "commit", "-q", "-m", "side")
    git(source, "checkout", "-q", "main")
    git(source, "merge", "-q", "--no-ff", "--no-commit", "side")
    plant(source, LEAK)
    git(source, "add", "settings.ini")
    git(source, "commit", "-q", "-m", "merge")
    git(source, "rm", "-q", "settings.ini")
    git(source, "commit", "-q", "-m", "gone")
    scan = await passes.scan(source, "gitleaks")
    assert [f.location.path for f in found(scan, "gitleaks", "history")] == ["settings.ini"]


async def test_a_secret_that_stood_between_two_links_is_found(tmp_path: Path) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    (source / "k").symlink_to("a")
    for content in (None, KEY_LINE, None):
        (source / "k").unlink()
        (source / "k").write_text(content) if content else (source / "k").symlink_to("a")
        git(source, "add", "--all")
        git(source, "commit", "-q", "-m", "k", "--allow-empty")
    scan = await passes.scan(source, "gitleaks")
    assert [f.location.path for f in found(scan, "gitleaks", "history")] == ["k"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-32"])
async def test_a_secret_in_a_binary_file_of_the_past_is_found(
    tmp_path: Path, encoding: str
) -> None:
    content = ("\0" if encoding == "utf-8" else "") + KEY_LINE
    source = repository(tmp_path / "r", {"settings.ini": content.encode(encoding)}, {"a": "1"})
    first = git(source, "rev-list", "--max-parents=0", "HEAD").strip()
    scan = await passes.scan(source, "gitleaks")
    [leak] = found(scan, "gitleaks", "history")
    assert (leak.location.path, leak.location.commit) == ("settings.ini", first)


async def test_a_file_of_the_past_that_cannot_be_searched_leaves_the_scan_incomplete(
    tmp_path: Path,
) -> None:
    packed = b"PK\x03\x04\0 of which nothing can be said"
    source = repository(tmp_path / "r", {"packed": packed, "known.zip": packed * 2}, {"a": "1"})
    scan = await passes.scan(source, "gitleaks")
    assert {row.path for row in scan.unread} == {"packed", "known.zip"}
    assert scan.verdict.ruling is Ruling.INCOMPLETE
    assert not any("known.zip" in reason.why for reason in scan.verdict.reasons)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_the_history_of_somebody_elses_repository_is_read(tmp_path: Path) -> None:
    source = repository(tmp_path / "r", LEAK, {})
    for path in (source, *source.rglob("*")):
        os.chown(path, 65534, 65534)
    scan = await passes.scan(source, "gitleaks")
    assert [f.rule for f in found(scan, "gitleaks", "history")] == ["aws-access-token"]


async def test_a_history_without_a_commit_that_was_read_is_not_clean(tmp_path: Path) -> None:
    (tmp_path / "history.git").mkdir()
    scanner, each = passes.SHELF["gitleaks"], passes.the_pass("gitleaks", "history")
    installed = await Environments(cache_folder(os.environ)).ensure(scanner, silent)
    ground = Ground(tmp_path, (), tmp_path / "history.git", sandboxed=False)
    run = await run_pass(scanner, each, installed, ground)
    assert run.outcome is Outcome.FAILED


# trivy


@pytest.mark.parametrize(
    "trick",
    [
        {"trivy.yaml": "severity: [CRITICAL]\nscan: {skip-files: ['**/*.tf']}\n"},
        {".trivyignore": "AWS-0092\nAVD-AWS-0092\n"},
        {".trivyignore.yaml": "misconfigurations: [{id: AWS-0092}]\n"},
        {"main.tf": f"#trivy:ignore:*\n{BUCKET}"},
        {"main.tf": BUCKET.replace('  acl', '  #trivy:ignore:AWS-0092\n  acl')},
        {"main.tf": f"#tfsec:ignore:*\n{BUCKET}"},
    ],
    ids=["trivy.yaml", ".trivyignore", ".trivyignore.yaml", "ignore block", "ignore line", "tfsec"],
)  # fmt: skip
async def test_nothing_in_the_repository_keeps_trivy_from_a_bucket(
    tmp_path: Path, trick: Files
) -> None:
    source = repository(tmp_path / "r", {**TERRAFORM, **trick})
    run = await passes.look("trivy", "terraform", source)
    assert ("AWS-0092", "main.tf") in {(f.rule, f.location.path) for f in run.findings}
    assert run.complete


@pytest.mark.parametrize("folder", ["dev", "sys", "proc", "vendor", "node_modules", ".terraform"])
@pytest.mark.parametrize("which", ["terraform", "secret"])
async def test_no_folders_name_keeps_trivy_out_of_it(
    tmp_path: Path, folder: str, which: str
) -> None:
    files = {f"{folder}/main.tf": BUCKET, f"{folder}/settings.ini": KEY_LINE}
    run = await passes.look("trivy", which, repository(tmp_path / "r", files))
    named = {"terraform": f"{folder}/main.tf", "secret": f"{folder}/settings.ini"}[which]
    assert named in {f.location.path for f in run.findings}


@pytest.mark.parametrize("path", ["tests/a.ini", "examples/a.ini", "README.md", "site.css"])
async def test_no_place_allows_a_secret_before_trivy(tmp_path: Path, path: str) -> None:
    trick = {"trivy-secret.yaml": "disable-rules: [aws-access-key-id]\n"}
    run = await passes.look("trivy", "secret", plant(tmp_path, {path: KEY_LINE, **trick}))
    assert [(f.rule, f.location.path) for f in run.findings] == [("aws-access-key-id", path)]


async def test_what_trivy_cannot_parse_is_unread_not_clean(tmp_path: Path) -> None:
    broken = {"main.tf": "resource {{{\n", "Dockerfile": "FROM\nNOTHING x\n"}
    plant(tmp_path, broken)
    for which, path in (("terraform", "main.tf"), ("dockerfile", "Dockerfile")):
        run = await passes.look("trivy", which, tmp_path)
        assert [item.path for item in run.unread] == [path]


# checkov

SKIPPED = BUCKET.replace("{\n", "{\n  #checkov:skip=CKV_AWS_20:trust me\n", 1)
POD = passes.POD.replace(
    "{name: planted}",
    '{name: planted, annotations: {"checkov.io\\x2fskip1": CKV_K8S_16=trust me}}',
)
STACK = passes.STACK.replace(
    "    Properties",
    '    Metadata: {"\\x63heckov": {"skip": [{"id": "CKV_AWS_20", "comment": "trust me"}]}}\n'
    "    Properties",
)


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({**TERRAFORM, ".checkov.yaml": "skip-check: [CKV_AWS_20]\n"}, "CKV_AWS_20"),
        ({**TERRAFORM, ".checkov.yml": "check: [CKV_AWS_1]\n"}, "CKV_AWS_20"),
        ({**TERRAFORM, "sub/.checkov.yaml": "skip-path: ['.*']\n"}, "CKV_AWS_20"),
        ({**TERRAFORM, ".checkov.baseline": '{"failed_checks": []}'}, "CKV_AWS_20"),
        ({".hidden/main.tf": BUCKET, "node_modules/main.tf": BUCKET}, "CKV_AWS_20"),
        ({"main.tf": SKIPPED}, "CKV_AWS_20"),
        ({"pod.yaml": POD}, "CKV_K8S_16"),
        ({"stack.yaml": STACK}, "CKV_AWS_20"),
    ],
    ids=["yaml", "yml", "nested", "baseline", "hidden", "skip", "annotation", "metadata"],
)
async def test_nothing_in_the_repository_keeps_checkov_from_a_finding(
    tmp_path: Path, files: Files, rule: str
) -> None:
    run = await passes.look("checkov", "infrastructure", repository(tmp_path / "r", files))
    assert run.outcome is Outcome.SUCCEEDED, run.why
    hit = {finding.location.path for finding in run.findings if finding.rule == rule}
    assert hit == {path for path in files if path.endswith((".tf", "pod.yaml", "stack.yaml"))}


@pytest.mark.parametrize("staged", [True, False])
async def test_code_of_the_repository_is_not_run_by_checkov(tmp_path: Path, staged: bool) -> None:
    """By the stage, and by the working folder where a configuration would still be there."""
    marker = tmp_path / "ran"
    files = {
        **TERRAFORM,
        ".checkov.yaml": "external-checks-dir: [checks]\n",
        "checks/__init__.py": f"open({str(marker)!r}, 'w')\n",
        "checks/own.py": f"open({str(marker)!r}, 'w')\n",
    }
    source = repository(tmp_path / "r", files)
    if staged:
        run = await passes.look("checkov", "infrastructure", source)
        assert "CKV_AWS_20" in {finding.rule for finding in run.findings}
    else:
        scanner, each = passes.SHELF["checkov"], passes.the_pass("checkov", "infrastructure")
        installed = await Environments(cache_folder(os.environ)).ensure(scanner, silent)
        await run_pass(scanner, each, installed, Ground(source, tuple(files), sandboxed=False))
    assert not marker.exists()


async def test_what_checkov_cannot_parse_is_unread_not_clean(tmp_path: Path) -> None:
    run = await passes.look("checkov", "infrastructure", plant(tmp_path, {"m.tf": "resource {{{"}))
    assert [item.path for item in run.unread] == ["m.tf"]


# osv


@pytest.mark.parametrize(
    "trick",
    [
        {"osv-scanner.toml": '[[PackageOverrides]]\nname = "jinja2"\nignore = true\n'},
        {"advisories/PyPI/NONE-1.json": '{"id": "NONE-1", "modified": "2026-01-01T00:00:00Z"}'},
        {"PyPI/all.zip": b"PK\x05\x06" + bytes(18)},
        {".env": "PILOTAGE_ADVISORIES=./advisories\n"},
        {".pilotage/config.yaml": "advisories: ./advisories\n"},
        {"requirements.txt": "jinja2==2.4.1  # nosec noqa osv:ignore\n"},
    ],
    ids=lambda trick: next(iter(trick)),
)
async def test_nothing_in_the_repository_keeps_osv_from_a_bad_version(
    tmp_path: Path, advisories: Path, trick: Files
) -> None:
    source = repository(tmp_path / "r", {**BAD_PINS, **trick})
    scan = await passes.scan(source, "osv")
    rules = {finding.rule for finding in found(scan, "osv", "lock-files")}
    assert "GHSA-462w-v97r-4m45" in rules


async def test_an_advisory_that_the_repository_brings_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTAGE_ADVISORIES", str(tmp_path / "none"))
    name = "advisories/PyPI/GHSA-462w-v97r-4m45.json"
    own = json.dumps({"id": "X-1", "modified": "2026-01-01T00:00:00Z", "affected": []})
    source = repository(tmp_path / "r", {**BAD_PINS, name: own, "PyPI/X-1.json": own})
    scan = await passes.scan(source, "osv")
    [run] = scan.runs
    assert run.outcome is Outcome.UNAVAILABLE
    assert "mirror" in run.why


async def test_osv_reads_nothing_outside_of_the_project(tmp_path: Path, advisories: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("django==2.2.0\n")
    source = tmp_path / "r"
    plant(source, {"requirements.txt": f"-r ../outside.txt\n-r {outside}\n-r link.txt\n"})
    (source / "link.txt").symlink_to(outside)
    run = await passes.look("osv", "lock-files", source)
    assert not run.findings
    assert len(run.unread) == 3
