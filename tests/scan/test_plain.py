"""Scanners see files under a name by which they know them."""

from __future__ import annotations

import json

import pytest

from pilotage.scan.plain import as_python_notebook, suffix_of
from pilotage.scan.stage import stage
from scan.conftest import Commit


@pytest.mark.parametrize(
    ("name", "data", "suffix"),
    [
        ("app.JS", b"", "js"),
        ("main.Tf", b"", "tf"),
        ("main.tofu", b"", "tf"),
        ("app.wsgi", b"", "py"),
        ("app.py", b"#!/usr/bin/env python3\n", ""),
        ("run", b"#!/usr/bin/python3 -O\n", "py"),
        ("run", b"#!/usr/bin/env -S node --x\n", "js"),
        ("x.cgi", b"#! /usr/bin/env python\n", "py"),
        ("x.sh", b"#!/bin/sh\n", ""),
        ("Dockerfile", b"FROM a\n", ""),
        ("Dockerfile.prod", b"FROM a\n", ""),
        ("Dockerfile-prod", b"# syntax=x\n\nARG A\nFROM a\n", "dockerfile"),
        ("DOCKERFILE", b"from a\n", "dockerfile"),
        ("app-Containerfile", b"FROM a\n", "dockerfile"),
        ("dockerfile-guide.md", b"FROM a\n", ""),
        ("dockerfile_parse", b"x = 1\n", ""),
        (".JS", b"", ""),
        ("LICENSE", b"", ""),
    ],
)
def test_the_suffix_by_which_scanners_know_a_file(name: str, data: bytes, suffix: str) -> None:
    assert suffix_of(name, data) == suffix


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"[" * 100_000, b'{"cells": 1}', b'{"metadata": [1]}', b'{"cells": [1]}',
     b"null"],
)  # fmt: skip
def test_what_is_no_notebook_stays(data: bytes) -> None:
    assert as_python_notebook(data) == data


def test_a_notebook_in_another_language_stays() -> None:
    julia = {
        "kernelspec": {"name": "julia", "language": "julia"},
        "language_info": {"name": "julia"},
    }
    data = json.dumps({"cells": [], "metadata": julia}).encode()
    assert as_python_notebook(data) == data


async def test_a_file_of_another_name_is_reported_under_its_own(commit: Commit) -> None:
    repo = commit({"bin/run": "#!/usr/bin/env python3\n", "LIB.PY": "1\n"})
    async with stage(repo) as staged:
        assert all(name.endswith(".py") for name in staged.files)
        assert {staged.name(each) for each in staged.files} == {"bin/run", "LIB.PY"}
        assert not staged.suppressions
