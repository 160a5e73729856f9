"""A manifest without its lock file is not clean: nobody knows what it installs."""

from __future__ import annotations

import json

import pytest

from pilotage.scan.manifests import LockFolders, asks_for

NPM = json.dumps({"dependencies": {"lodash": "4.17.4"}}).encode()
PYTHON = b'[project]\nname = "a"\ndependencies = ["django>=2"]\n'


@pytest.mark.parametrize(
    ("path", "data", "asks"),
    [
        ("package.json", NPM, "lodash"),
        ("web/package.json", b'{"devDependencies": {"vite": "*"}}', "vite"),
        ("pyproject.toml", PYTHON, "django>=2"),
        ("pyproject.toml", b'[project.optional-dependencies]\nx = ["jinja2"]\n', "jinja2"),
        ("pyproject.toml", b'[dependency-groups]\ndev = ["pytest"]\n', "pytest"),
        ("pyproject.toml", b'[tool.poetry.dependencies]\npython = "3"\nflask = "1"\n', "flask"),
        ("pyproject.toml", b'[project]\ndynamic = ["dependencies"]\n', "its dynamic dependencies"),
        ("setup.py", b"setup(\n    install_requires=['flask'])\n", "install_requires"),
        ("setup.cfg", b"[options]\ninstall_requires =\n    flask\n", "install_requires"),
        ("Pipfile", b'[packages]\nflask = "*"\n', "flask"),
        ("go.mod", b"module a\n\nrequire golang.org/x/text v0.3.0\n", "golang.org/x/text"),
        ("go.mod", b"module a\nrequire (\n\tgithub.com/a/b v1.0.0\n)\n", "github.com/a/b"),
        ("Cargo.toml", b'[dependencies]\ntime = "0.1"\n', "time"),
        ("Cargo.toml", b"[target.'cfg(unix)'.dependencies]\nnix = \"0.1\"\n", "nix"),
        ("Gemfile", b"source 'https://rubygems.org'\ngem 'rails', '5'\n", "rails"),
        ("composer.json", b'{"require": {"php": "8", "a/b": "1"}}', "a/b"),
        ("pom.xml", b"<dependency>\n<artifactId>log4j</artifactId></dependency>", "dependency"),
        ("build.gradle", b"dependencies {\n  implementation 'a:b:1'\n}\n", "dependencies"),
        ("build.gradle.kts", b'dependencies { implementation("a:b:1") }\n', "dependencies"),
    ],
)
def test_what_is_asked_for_without_a_lock_file_is_named(path: str, data: bytes, asks: str) -> None:
    assert not LockFolders([path]).near(path)
    assert asks_for(path, data) == asks


@pytest.mark.parametrize(
    ("path", "lock"),
    [
        ("package.json", "package-lock.json"),
        ("packages/a/package.json", "yarn.lock"),
        ("pyproject.toml", "uv.lock"),
        ("pyproject.toml", "requirements/base.txt"),
        ("back/pyproject.toml", "back/requirements-dev.txt"),
        ("setup.py", "requirements.txt"),
        ("go.mod", "go.sum"),
        ("crates/a/Cargo.toml", "Cargo.lock"),
    ],
)
def test_a_lock_file_near_it_answers_for_it(path: str, lock: str) -> None:
    assert LockFolders([path, lock]).near(path)


@pytest.mark.parametrize(
    ("path", "lock"),
    [
        ("package.json", "web/package-lock.json"),
        ("web/package.json", "website/package-lock.json"),
        ("package.json", "requirements.txt"),
        ("back/pyproject.toml", "front/uv.lock"),
        ("setup.py", "package-lock.json"),
        ("pom.xml", "gradle.lockfile"),
    ],
)
def test_a_lock_file_elsewhere_does_not(path: str, lock: str) -> None:
    assert not LockFolders([path, lock]).near(path)


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("package.json", b'{"name": "tool", "scripts": {}}'),
        ("package.json", b'{"dependencies": null}'),
        ("pyproject.toml", b"[tool.ruff]\nline-length = 100\n"),
        ("pyproject.toml", b'[tool.poetry.dependencies]\npython = "3"\n'),
        ("pyproject.toml", b'[project]\ndynamic = ["version"]\n'),
        ("setup.py", b"from setuptools import setup\nsetup()\n"),
        ("go.mod", b"module golang.org/x/text\n\ngo 1.22\n"),
        ("Cargo.toml", b'[package]\nname = "a"\n[dependencies]\n'),
        ("Gemfile", b"source 'https://rubygems.org'\n"),
        ("composer.json", b'{"require": {"php": ">=8", "ext-json": "*"}}'),
        ("pom.xml", b"<project><artifactId>a</artifactId></project>"),
        ("build.gradle", b"plugins { }\ndependencies {\n}\n"),
    ],
)
def test_what_asks_for_nothing_needs_no_lock_file(path: str, data: bytes) -> None:
    assert asks_for(path, data) == ""


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("package.json", b"{"),
        ("package.json", b"[]"),
        ("package.json", b"[" * 100_000),
        ("package.json", b"\xff\xfe"),
        ("pyproject.toml", b"project = 1\n"),
        ("pyproject.toml", b"a = ["),
        ("Cargo.toml", b"target = 1\n"),
        ("composer.json", b"[1]"),
        ("pyproject.toml", b"a" + b".a" * 50_000 + b" = 1"),
    ],
)
def test_what_cannot_be_read_is_said(path: str, data: bytes) -> None:
    with pytest.raises(ValueError, match=f"it is not a {path}: "):
        asks_for(path, data)
