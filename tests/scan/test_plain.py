"""Scanners see text as text, and files under a name by which they know them."""

from __future__ import annotations

import json

import pytest

from pilotage.scan.plain import as_python_notebook, as_utf8, suffix_of
from pilotage.scan.stage import stage
from scan.conftest import Commit

TEXT = "a: 1  # nosec\nname: 安全 😀\n"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_text_with_a_mark_becomes_utf8(encoding: str) -> None:
    assert as_utf8(f"\ufeff{TEXT}".encode(encoding)).decode() == TEXT


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_text_without_a_mark_becomes_utf8_too(encoding: str) -> None:
    assert as_utf8("key = value\n".encode(encoding)) == b"key = value\n"


@pytest.mark.parametrize("data", [b"", b"\0", b"a\0b", b"\xff\xfe\0", bytes(1000), TEXT.encode(),
                                  b"\x7fELF\2\1\1\0" + bytes(8), bytes(range(256))])  # fmt: skip
def test_other_bytes_stay_or_are_at_least_kept(data: bytes) -> None:
    assert as_utf8(data) == data or data.startswith(b"\xff\xfe")


def test_a_broken_place_hides_nothing_else() -> None:
    assert b"key" in as_utf8(b"\xff\xfe\0\0" + "key".encode("utf-16-le") + b"\x00\xd8")


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
