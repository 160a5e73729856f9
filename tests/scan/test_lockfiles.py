"""Lock files are read for what they pin; what they do not pin is never clean."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

import pytest

from pilotage.scan.lockfiles import LARGEST, LARGEST_OF_ALL, NOT_READ, Locked, read_lock


def read(files: Mapping[str, str | bytes], path: str = "requirements.txt") -> Locked:
    locked = Locked()
    content = {k: v.encode() if isinstance(v, str) else v for k, v in files.items()}
    read_lock(path, content.get, locked)
    return locked


def pins(locked: Locked) -> list[tuple[str, str, int | None]]:
    return [(pin.name, pin.version, pin.line) for pin in locked.pins]


def test_requirements_with_extras_markers_hashes_and_comments_are_pins() -> None:
    text = (
        "# made by pip-compile\n"
        "--index-url https://example.org/simple\n"
        'Flask_SQLAlchemy [async] == 2.5.1 ; python_version < "3.8"  # via app\n'
        "jinja2==2.4.1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "zope.interface===5.0\n"
    )
    locked = read({"requirements.txt": text})
    assert pins(locked) == [
        ("flask-sqlalchemy", "2.5.1", 3),
        ("jinja2", "2.4.1", 4),
        ("zope-interface", "5.0", 7),
    ]
    assert not locked.unread
    assert locked.read == {"requirements.txt"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("django", "not pinned"),
        ("django>=2.2", "not pinned"),
        ("django==2.*", "not pinned"),
        ("django @ https://example.org/django.zip", "from an address"),
        ("git+https://example.org/django", "not a requirement"),
        ("-e git+https://example.org/django#egg=django", "a repository"),
        ("https://example.org/a-1.0-py3-none-any.whl", "a file"),
        ("-r ../outside.txt", "outside"),
        ("-r /etc/requirements.txt", "outside"),
        ("-r https://example.org/r.txt", "outside"),
        ("-r missing.txt", "not in the project"),
        ("what is this", "not a requirement"),
        ("${NAME}==1.0", "not a requirement"),
    ],
)
def test_what_is_not_pinned_is_unread(line: str, why: str) -> None:
    locked = read({"requirements.txt": f"a==1\n{line}\n"})
    assert pins(locked) == [("a", "1", 1)]
    [unread] = locked.unread
    assert why in unread.why


def test_the_projects_own_code_is_no_dependency() -> None:
    locked = read({"requirements.txt": "-e .\n./libs/own\n."})
    assert not locked.pins
    assert not locked.unread


def test_included_files_are_followed_once_and_constraints_pin() -> None:
    files = {
        "requirements.txt": "-r deps/base.txt\n-c constraints.txt\nflask\nother\n",
        "deps/base.txt": "--requirement=../requirements.txt\njinja2==2.4.1\n",
        "constraints.txt": "flask==1.0\nunused==3\n",
    }
    locked = read(files)
    assert pins(locked) == [("jinja2", "2.4.1", 2), ("flask", "1.0", 3)]
    assert [(u.path, u.why) for u in locked.unread] == [
        ("requirements.txt", "line 4: other is not pinned to one version")
    ]
    assert locked.read == set(files)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_other_encodings_are_read(encoding: str) -> None:
    data = "# \xe9\njinja2==2.4.1\n".encode(encoding)
    assert pins(read({"requirements.txt": data})) == [("jinja2", "2.4.1", 2)]


def test_poetry_and_uv_locks_are_read() -> None:
    poetry = (
        '[[package]]\nname = "Jinja2"\nversion = "2.4.1"\n\n'
        '[[package]]\nname = "own"\nversion = "1"\n[package.source]\ntype = "directory"\n'
        'url = "."\n\n[[package]]\nname = "forked"\nversion = "1"\n[package.source]\n'
        'type = "git"\nurl = "https://example.org"\n\n[metadata]\nlock-version = "2.1"\n'
    )
    locked = read({"poetry.lock": poetry}, "poetry.lock")
    assert pins(locked) == [("jinja2", "2.4.1", 1)]
    assert ["forked comes from a git" in unread.why for unread in locked.unread] == [True]
    uv = (
        'version = 1\n[[package]]\nname = "me"\nversion = "0"\nsource = { editable = "." }\n'
        '[[package]]\nname = "django"\nversion = "2.2"\nsource = { registry = "https://x" }\n'
        '[[package]]\nname = "pinned-by-git"\nversion = "1"\nsource = { git = "https://x" }\n'
    )
    locked = read({"a/uv.lock": uv}, "a/uv.lock")
    assert pins(locked) == [("django", "2.2", 6)]
    assert len(locked.unread) == 1


def npm(version: int, packages: object) -> str:
    return json.dumps({"name": "x", "lockfileVersion": version, "packages": packages}, indent=2)


@pytest.mark.parametrize("version", [2, 3])
def test_npm_locks_are_read(version: int) -> None:
    packages = {
        "": {"name": "x", "version": "1.0.0"},
        "packages/own": {"version": "1.0.0"},
        "node_modules/own": {"resolved": "packages/own", "link": True},
        "node_modules/lodash": {"version": "4.17.15"},
        "node_modules/a/node_modules/@s/b": {"version": "1.2.3"},
        "node_modules/alias": {"name": "minimist", "version": "0.0.8"},
        "node_modules/forked": {"version": "1.0.0", "resolved": "git+ssh://example.org/f.git"},
    }
    text = npm(version, packages)
    locked = read({"package-lock.json": text}, "package-lock.json")
    lines = text.split("\n")
    assert [(p.name, p.version) for p in locked.pins] == [
        ("lodash", "4.17.15"), ("@s/b", "1.2.3"), ("minimist", "0.0.8"),
    ]  # fmt: skip
    for pin, folder in zip(locked.pins, ("lodash", "@s/b", "alias"), strict=True):
        assert pin.line is not None
        assert f'{folder}":' in lines[pin.line - 1]
    assert ["git+ssh" in unread.why for unread in locked.unread] == [True]


@pytest.mark.parametrize("version", [1, None, "3", 4])
def test_other_versions_of_npm_locks_are_unread(version: object) -> None:
    text = json.dumps({"lockfileVersion": version, "dependencies": {"a": {"version": "1"}}})
    locked = read({"package-lock.json": text}, "package-lock.json")
    assert not locked.pins
    assert ["lock file version" in unread.why for unread in locked.unread] == [True]


@pytest.mark.parametrize("path", NOT_READ)
def test_lock_files_that_we_cannot_read_say_so(path: str) -> None:
    locked = read({path: "anything"}, path)
    assert [unread.path for unread in locked.unread] == [path]
    assert not locked.read


@pytest.mark.parametrize("path", ["package-lock.json", "poetry.lock", "uv.lock"])
@pytest.mark.parametrize(
    "text",
    ["", "{", "[1]", "null", "package = 3", '[[package]]\nversion = "1"', "[" * 100_000,
     '{"lockfileVersion": 3}', '{"lockfileVersion": 3, "packages": {"node_modules/a": 1}}',
     b"\xff\xfe\x00"],
)  # fmt: skip
def test_a_broken_lock_file_is_unread_not_clean(path: str, text: str | bytes) -> None:
    locked = read({path: text}, path)
    assert not locked.pins
    assert [unread.path for unread in locked.unread] == [path]


BOMBS: Mapping[str, tuple[str, bytes]] = {
    "empty-lines": ("package-lock.json",
                    b'{"lockfileVersion": 3, "packages": {}' + b"\n" * 3_000_000 + b"}"),
    "folders": ("package-lock.json", b'{"lockfileVersion": 3, "packages": {}, "x": "'
                + b"node_modules/" * 500_000 + b'"}'),
    "dotted-key": ("uv.lock", b"version = 1\n" + b"a." * 100_000 + b"a = 1\n"),
    "dotted-table": ("poetry.lock", b"[" + b"a." * 100_000 + b"a]\n[metadata]\n"),
    "brackets": ("uv.lock", b"version = 1\na = " + b"[" * 1_000_000),
    "spaces": ("requirements.txt", b" " * 5_000_000),
    "one-line": ("requirements.txt", b"a==" + b"1." * 3_000_000),
    "unreadable-lines": ("requirements.txt", b"!\n" * 3_000_000),
    "pins": ("requirements.txt", b"a==1\n" * 2_000_000),
    "size": ("uv.lock", b"#" * (LARGEST + 1)),
}  # fmt: skip


@pytest.mark.parametrize(("path", "data"), BOMBS.values(), ids=BOMBS.keys())
def test_no_lock_file_takes_long_or_fills_memory(path: str, data: bytes) -> None:
    began = time.process_time()
    locked = read({path: data}, path)
    assert time.process_time() - began < 60
    assert len(locked.unread) <= 1_001
    assert len(locked.pins) <= 200_000


def test_all_lock_files_together_are_bounded() -> None:
    locked = Locked()
    for number in range(1 + LARGEST_OF_ALL // LARGEST):
        read_lock(f"{number}/uv.lock", lambda _: b"version = 1\n#".ljust(LARGEST, b"x"), locked)
    assert ["may have" in each.why for each in locked.unread] == [True]
