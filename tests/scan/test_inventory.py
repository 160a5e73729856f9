"""Kinds of files, and the globs by which passes find theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.scan.inventory import describe, inventory, matching
from pilotage.scan.stage import stage

from .conftest import write

FILES = {
    "app.py": "import os\n",
    "bin/tool": "#!/usr/bin/env python3\n",
    "bin/run": "#!/bin/bash\n",
    "web/a.tsx": "",
    "web/b.js": "",
    "Dockerfile": "FROM x\n",
    "deploy/api.dockerfile": "FROM x\n",
    "infra/main.tf": "",
    ".github/workflows/ci.yml": "on: push\n",
    "docs/workflows/ci.yml": "on: push\n",
    "k8s/app.yaml": "# a comment\napiVersion: v1\nkind: Pod\n",
    "cfn/stack.yaml": "Resources:\n  B:\n    Type: AWS::S3::Bucket\n",
    "values.yaml": "a: 1\n",
    "requirements.txt": "x==1\n",
    "uv.lock": "",
    "web/package-lock.json": "{}",
    "README.md": "",
}


async def test_kinds_are_told_by_name_and_by_content(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    async with stage(tmp_path) as staged:
        found = inventory(staged)
        assert {k: tuple(map(staged.name, v)) for k, v in found.kinds.items()} == {
            "cloudformation": ("cfn/stack.yaml",),
            "dockerfile": ("Dockerfile", "deploy/api.dockerfile"),
            "github-workflow": (".github/workflows/ci.yml",),
            "javascript": ("web/b.js",),
            "kubernetes": ("k8s/app.yaml",),
            "npm-lock": ("web/package-lock.json",),
            "python": ("app.py", "bin/tool"),
            "python-lock": ("requirements.txt", "uv.lock"),
            "shell": ("bin/run",),
            "terraform": ("infra/main.tf",),
            "typescript": ("web/a.tsx",),
        }
        lines = describe(found)
        assert lines[0].startswith(f"{len(FILES)} files, 0.0 MiB, without git history")
        assert "python: 2 (app.py, ...)" in lines


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", "deep/er/a.py", True),
        ("*.py", "a.pyc", False),
        ("*.py", "a.py/b", False),
        ("*.py", "line\nbreak.py", True),
        ("*", "any/thing", True),
        ("a.?", "x/a.b", True),
        (".github/workflows/*.yml", ".github/workflows/a.yml", True),
        (".github/workflows/*.yml", "x/.github/workflows/a.yml", False),
        (".github/workflows/*.yml", ".github/workflows/sub/a.yml", False),
        ("**/test/*.py", "test/a.py", True),
        ("**/test/*.py", "x/y/test/a.py", True),
        ("src/**/a.py", "src/a.py", True),
        ("src/**/a.py", "src/x/y/a.py", True),
        ("src/**", "src/x/y", True),
        ("[ab].py", "a.py", True),
        ("[!ab].py", "a.py", False),
        ("a+b.py", "a+b.py", True),
        ("[", "[", True),
        ("*.PY", "a.py", False),
    ],
)
def test_globs_mean_what_they_say(glob: str, path: str, matches: bool) -> None:
    assert bool(matching((glob,), (path,))) is matches
