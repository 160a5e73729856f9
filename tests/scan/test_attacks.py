"""Ways in which a repository has hidden a weakness from us, each through the whole engine with the
real scanner. What is hidden must be found or said to be unread: never a scan that passes."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pilotage import shelf
from pilotage.config import cache_folder
from pilotage.domain.scan import Scan
from pilotage.domain.verdict import Ruling
from pilotage.scan.control import Controls
from pilotage.scan.environment import Environments
from pilotage.scan.orchestrate import ScanRequest, Scans
from pilotage.scan.scanner import Scanner
from pilotage.scan.stage import stage
from scan.conftest import Commit, run_git, write

SHELF = shelf.parts("pilotage.scanners", Scanner)
CACHE = cache_folder(os.environ)
ADVISORIES = Path(__file__).parents[2] / "examples" / "01-first-gate" / "advisories"
OLD = "jinja2==2.4.1\n"


async def scan(source: Path, *scanners: str) -> Scan:
    scans = Scans(SHELF, Environments(CACHE), Controls(CACHE))
    return await scans.scan(ScanRequest(source, scanners=scanners))


REQUIREMENTS: Mapping[str, Mapping[str, str | bytes]] = {
    "a-lone-carriage-return": {"requirements.txt": f"# harmless\r{OLD}"},
    "a-form-feed": {"requirements.txt": f"# harmless\f{OLD}"},
    "a-line-separator": {"requirements.txt": f"# harmless\u2028{OLD}"},
    "utf-7": {"requirements.txt": b"# coding: utf-7\n# +AAo-jinja2+AD0APQ-2.4.1\n"},
    "half-an-option": {"requirements.txt": "--requirem base.in\n", "base.in": OLD},
    "a-second-option": {"requirements.txt": "--pre -r base.in\n", "base.in": OLD},
    "a-backslash-in-a-comment": {"requirements.txt": f"-f x \\\\ # \\ \n{OLD}"},
    "constraint-and-requirement": {"requirements.txt": "-c base.in\n-r base.in\n", "base.in": OLD},
    "included-by-a-constraint": {
        "requirements.txt": "-c a.in\n", "a.in": "-r base.in\n", "base.in": OLD,
    },
    "constrained-twice": {
        "requirements.txt": "-c base.in\njinja2\n",
        "base.in": f"{OLD.strip()}; python_version > '3'\njinja2==3.1.6; python_version < '3'\n",
    },
    "a-wheel-of-its-own": {"requirements.txt": "./lib/jinja2-2.4.1-py2.py3-none-any.whl # ok\n"},
    "a-folder-below": {"backend/requirements/base.txt": OLD},
    "another-name": {"dev-requirements.txt": OLD},
    "a-capital": {"Requirements.txt": OLD},
}  # fmt: skip


@pytest.mark.parametrize("files", REQUIREMENTS.values(), ids=REQUIREMENTS.keys())
async def test_what_pip_would_install_is_seen(
    files: Mapping[str, str | bytes], commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTAGE_ADVISORIES", str(ADVISORIES))
    seen = await scan(commit(files), "osv")
    assert seen.verdict.ruling in (Ruling.FAIL, Ruling.INCOMPLETE)
    assert seen.findings or seen.unread


LODASH = "https://registry.example/lodash/-/lodash-4.17.15.tgz"


@pytest.mark.parametrize(
    "entry",
    [
        f'"version": "4.17.15", "resolved": "{LODASH}"',
        f'"name": "harmless", "version": "4.17.15", "resolved": "{LODASH}"',
        f'"version": "4.17.21", "resolved": "{LODASH}"',
        f'"version": "4.17.21", "resolved": "{LODASH}?/lodash/-/lodash-4.17.21.tgz"',
        f'"version": "4.17.15", "link": true, "resolved": "{LODASH}"',
        '"version": "4.17.21", "resolved": "https://example.org/lodash.tgz"',
    ],
    ids=["plain", "name", "version", "query", "link", "address"],
)
async def test_what_npm_would_install_is_seen(
    entry: str, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTAGE_ADVISORIES", str(ADVISORIES))
    text = '{"lockfileVersion": 3, "packages": {"node_modules/lodash": {' + entry + "}}}"
    seen = await scan(commit({"package-lock.json": text}), "osv")
    assert seen.verdict.ruling in (Ruling.FAIL, Ruling.INCOMPLETE)
    assert seen.findings or seen.unread


KEY = "aws_key = AKIA" + "Q3EGRJZX6WVTNP2K\n"
SHELL = "import os\nos.system(input())\n"
BUCKET = 'resource "aws_s3_bucket" "b" {\n  bucket = "b"\n  acl    = "public-read"\n}\n'
IMAGE = "FROM debian:12\nUSER root\n"
FLOW = (
    "on: issues\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
    '      - run: echo "${{ github.event.issue.title }}"\n'
)
NAMES: Mapping[str, tuple[str, str, str, str]] = {
    "capital-suffix": ("app.PY", SHELL, "bandit", "B605"),
    "script-without-suffix": ("bin/run", f"#!/usr/bin/env python3\n{SHELL}", "ruff", "S605"),
    "capital-javascript": ("app.JS", "eval(process.argv[2]);\n", "eslint", "no-eval"),
    "capital-terraform": ("main.TF", BUCKET, "trivy", "AWS-0092"),
    "a-dockerfile-with-a-dash": ("Dockerfile-prod", IMAGE, "hadolint", "DL3002"),
    "capital-dockerfile": ("DOCKERFILE", IMAGE, "trivy", "DS-0002"),
}


@pytest.mark.parametrize(("name", "text", "scanner", "rule"), NAMES.values(), ids=NAMES.keys())
async def test_a_name_that_a_scanner_does_not_know_hides_nothing(
    name: str, text: str, scanner: str, rule: str, commit: Commit
) -> None:
    seen = await scan(commit({name: text}), scanner)
    assert (rule, name) in {(each.rule, each.location.path) for each in seen.findings}


LINKS: Mapping[str, tuple[str, str, str, str]] = {
    "dockerfile": ("Dockerfile", IMAGE, "hadolint", "DL3002"),
    "workflow": (".github/workflows/ci.yml", FLOW, "zizmor", "template-injection"),
    "terraform": ("main.tf", BUCKET, "trivy", "AWS-0092"),
    "python": ("app.py", SHELL, "ruff", "S605"),
    "requirements": ("requirements.txt", OLD, "osv", "GHSA-462w-v97r-4m45"),
}


@pytest.mark.parametrize(("name", "text", "scanner", "rule"), LINKS.values(), ids=LINKS.keys())
async def test_what_a_link_leads_to_is_read_under_its_name(
    name: str, text: str, scanner: str, rule: str, commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTAGE_ADVISORIES", str(ADVISORIES))
    repo = commit({"content": text})
    (repo / name).parent.mkdir(parents=True, exist_ok=True)
    (repo / name).symlink_to(repo / "content")
    seen = await scan(repo, scanner)
    assert (rule, name) in {(each.rule, each.location.path) for each in seen.findings}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
async def test_an_encoding_hides_no_secret(encoding: str, commit: Commit) -> None:
    repo = commit({"a.ini": KEY.encode(encoding), "b.txt": "some text to count\n"})
    seen = await scan(repo, "gitleaks", "trivy")
    found = next(each for each in seen.findings if each.location.path == "a.ini")
    assert found.location.line == 1
    assert "trivy" in (found.scanner, *found.also)


@pytest.mark.parametrize("where", [".", "inner"])
async def test_a_repository_that_ignores_all_of_itself_is_read(where: str, commit: Commit) -> None:
    repo = commit({})
    folder = repo / where
    run_git(repo, "init", "-q", where)
    write(folder, {".gitignore": "*\n", "app.py": SHELL})
    seen = await scan(repo, "bandit")
    assert [each.rule for each in seen.findings] == ["B605"]


async def test_an_index_that_forgets_what_is_committed_hides_nothing(commit: Commit) -> None:
    repo = commit({"app.py": SHELL, "other.py": "x = 1\n", "gone.py": "x = 1\n"})
    write(repo, {".gitignore": "app.py\n"})
    run_git(repo, "rm", "-q", "--cached", "app.py")
    run_git(repo, "rm", "-q", "gone.py")
    seen = await scan(repo, "bandit")
    assert [each.rule for each in seen.findings] == ["B605"]
    assert not any("gone.py" in note for note in seen.notes)


async def test_many_findings_in_a_large_file_take_no_more_than_a_look_each(commit: Commit) -> None:
    """Ten megabytes were read anew for each of them: two minutes for 4,000 findings."""
    began = time.process_time()
    text = "exec(x)\n" * 4_000 + ("#" + "x" * 98 + "\n") * 100_000
    seen = await scan(commit({"a.py": text}), "bandit")
    assert len(seen.findings) == 4_000
    assert len({each.fingerprint for each in seen.findings}) == 4_000
    assert time.process_time() - began < 60


async def test_many_findings_on_one_line_end_too(commit: Commit) -> None:
    began = time.process_time()
    seen = await scan(commit({"a.py": "exec(x);" * 20_000 + "\n"}), "ruff")
    assert len(seen.findings) == 20_000
    assert time.process_time() - began < 60


async def test_words_that_silence_scanners_are_kept_up_to_a_number(commit: Commit) -> None:
    words = "# nosec\n" * 900
    seen = await scan(commit({f"f{i}.py": words for i in range(40)}), "ruff")
    assert len(seen.suppressions) == 20_000
    assert any("16000 more words" in note for note in seen.notes)


async def test_a_stage_inside_of_what_is_staged_is_not_staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a.py": "x = 1\n", "tmp/b.py": "x = 1\n"})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    async with stage(tmp_path) as staged:
        assert staged.files == ("a.py", "tmp/b.py")
        assert not staged.unread


@pytest.mark.parametrize(
    ("book", "cell"),
    [({"language_info": {"name": "julia"}}, {}), ({}, {"vscode": {"languageId": "sql"}})],
    ids=["book", "cell"],
)
async def test_a_python_notebook_that_says_it_is_none_is_read(
    book: dict[str, object], cell: dict[str, object], commit: Commit
) -> None:
    code = {"cell_type": "code", "metadata": cell, "outputs": [], "execution_count": None,
            "source": SHELL.splitlines(keepends=True)}  # fmt: skip
    book = {"kernelspec": {"name": "python3", "language": "python", "display_name": "x"}, **book}
    notebook = {"cells": [code], "metadata": book, "nbformat": 4, "nbformat_minor": 4}
    seen = await scan(commit({"a.ipynb": json.dumps(notebook)}), "ruff")
    assert [each.rule for each in seen.findings] == ["S605"]


@pytest.mark.parametrize("name", ["main.tofu", "app.wsgi"])
async def test_a_suffix_that_means_another_hides_nothing(name: str, commit: Commit) -> None:
    text, scanner = (BUCKET, "trivy") if name == "main.tofu" else (SHELL, "bandit")
    seen = await scan(commit({name: text}), scanner)
    assert name in {each.location.path for each in seen.findings}


async def test_a_workflow_with_a_byte_order_mark_is_read(commit: Commit) -> None:
    seen = await scan(commit({".github/workflows/ci.yml": "\ufeff" + FLOW}), "zizmor")
    assert "template-injection" in {each.rule for each in seen.findings}


POD = """apiVersion: v1
kind: Pod
metadata: {name: planted}
spec:
  containers:
    - {name: c, image: nginx, securityContext: {privileged: true}}
"""
BLINDED = {
    "template": "{{ if x }}\n" + POD + "{{ end }}\n",
    "a-control-character": POD + "# a\x85b\n",
    "a-key-that-is-a-list": POD + "? [a, b]\n: c\n",
    "a-tag-and-a-key-twice": POD + "x: !y z\nx: 1\n",
}


@pytest.mark.parametrize("text", BLINDED.values(), ids=BLINDED.keys())
async def test_a_workload_that_no_scanner_can_parse_is_unread(text: str, commit: Commit) -> None:
    """Both leave out what they cannot parse, and say so of some of it only."""
    seen = await scan(commit({"pod.yaml": text, "other.yaml": "a: 1\n"}), "trivy", "checkov")
    assert seen.verdict.ruling is not Ruling.PASS
    assert "pod.yaml" in {
        each.path for each in (*seen.unread, *(f.location for f in seen.findings))
    }


SOUND = POD.replace("{privileged: true}", "{readOnlyRootFilesystem: true}")


@pytest.mark.parametrize("name", ["pod.yaml", "templates/pod.yaml"])
async def test_a_workload_that_can_be_parsed_is_read(name: str, commit: Commit) -> None:
    files = {name: SOUND, "values.yaml": "a: 1\n", "map.yaml": "apiVersion: v1\nkind: ConfigMap\n"}
    if "/" in name:
        files["Chart.yaml"] = "apiVersion: v2\nname: x\nversion: 1.0.0\n"
        files[name] = "{{ if .Values.on }}\n" + SOUND + "{{ end }}\n"
    seen = await scan(commit(files), "trivy", "checkov")
    assert not seen.unread
