"""Manifests: what a project asks for. Without a lock file beside them nobody knows what it gets.

Pure: bytes in, a reason out. Taking the lock file away must not turn INCOMPLETE into PASS.
"""

from __future__ import annotations

import json
import posixpath
import re
import tomllib
from collections.abc import Collection, Iterator
from typing import Any

from pilotage.scan.inventory import matching

_PYTHON = ("*[Rr]equirements*.txt", "**/requirements/*.txt", "poetry.lock", "uv.lock",
           "Pipfile.lock", "pdm.lock", "pylock.toml")  # fmt: skip
LOCKS = {
    "package.json": ("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml"),
    "pyproject.toml": _PYTHON,
    "setup.py": _PYTHON,
    "setup.cfg": _PYTHON,
    "Pipfile": _PYTHON,
    "go.mod": ("go.sum",),
    "Cargo.toml": ("Cargo.lock",),
    "Gemfile": ("Gemfile.lock",),
    "composer.json": ("composer.lock",),
    "pom.xml": (),
    "build.gradle": ("gradle.lockfile",),
    "build.gradle.kts": ("gradle.lockfile",),
}
"""Each manifest with the lock files that say what it resolves to, as globs."""

MANIFESTS = tuple(LOCKS)
_ANY_PYTHON = "pyproject.toml"
_NPM = ("dependencies", "devDependencies", "optionalDependencies")
_WORDS = {
    "setup.py": re.compile(r"\b(install_requires|extras_require|setup_requires)\b"),
    "setup.cfg": re.compile(r"^(install_requires|setup_requires)\b", re.MULTILINE),
    "go.mod": re.compile(
        r"^[ \t]*(?:require[ \t]+)?(?!retract\b)([\w.~/-]{1,300})[ \t]+v\d", re.MULTILINE
    ),
    "Gemfile": re.compile(r"^[ \t]*gem[ \t(]+[\"']([^\"'\n]{1,300})", re.MULTILINE),
    "pom.xml": re.compile(r"<(dependency|plugin)>"),
    "build.gradle": re.compile(r"^[ \t]*(dependencies)[ \t]*\{\s*[^\s}]", re.MULTILINE),
    "build.gradle.kts": re.compile(r"^[ \t]*(dependencies)[ \t]*\{\s*[^\s}]", re.MULTILINE),
}
"""How a manifest that is no plain data asks for a package."""
_MOST_PARTS = 200
"""tomllib takes the square of a key's parts."""


class LockFolders:
    """Where lock files lie, asked once for all manifests of a project."""

    def __init__(self, files: Collection[str]) -> None:
        self._folders = {
            name: {posixpath.dirname(lock) for lock in matching(globs, files)}
            for name, globs in LOCKS.items()
        }
        self._above = {above for one in self._folders[_ANY_PYTHON] for above in _up(one)}

    def near(self, path: str) -> bool:
        """Whether a lock file answers for the manifest at `path`: in its folder or above (a
        workspace), for Python below it as well (requirements/)."""
        name, folder = posixpath.basename(path), posixpath.dirname(path)
        if LOCKS[name] is _PYTHON and folder in self._above:
            return True
        return not self._folders[name].isdisjoint(_up(folder))


def asks_for(path: str, data: bytes) -> str:
    """The first package that a manifest asks for, or "". Raises ValueError for what is none."""
    name = posixpath.basename(path)
    try:
        return next(_asked(name, data), "")[:80]
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise ValueError(f"it is not a {name}: {type(error).__name__}: {error}"[:200]) from None


def _asked(name: str, data: bytes) -> Iterator[str]:
    if name in _WORDS:
        yield from _WORDS[name].findall(data.decode("utf-8-sig"))
    elif name == "package.json":
        yield from _npm(data)
    elif name == "composer.json":
        yield from _composer(data)
    elif name == "pyproject.toml":
        yield from _python(_toml(data))
    else:
        yield from _tables(_toml(data))


def _up(folder: str) -> Iterator[str]:
    """The folder and all above it; "" is the project's own."""
    while folder:
        yield folder
        folder = posixpath.dirname(folder)
    yield ""


def _npm(data: bytes) -> Iterator[str]:
    document = json.loads(data.decode("utf-8-sig"))
    for key in _NPM:
        yield from map(str, document.get(key) or {})


def _composer(data: bytes) -> Iterator[str]:
    """PHP itself and its extensions are no packages."""
    document = json.loads(data.decode("utf-8-sig"))
    for key in ("require", "require-dev"):
        yield from (name for name in document.get(key) or {} if "/" in name)


def _toml(data: bytes) -> dict[str, Any]:
    text = data.decode("utf-8-sig")
    if any(part.count(".") > _MOST_PARTS for part in re.split(r"[=\n]", text)):
        raise ValueError(f"a key of more than {_MOST_PARTS} parts")
    return tomllib.loads(text)


def _python(document: dict[str, Any]) -> Iterator[str]:
    project: dict[str, Any] = document.get("project") or {}
    yield from map(str, project.get("dependencies") or ())
    for extra in (project.get("optional-dependencies") or {}).values():
        yield from map(str, extra)
    for group in (document.get("dependency-groups") or {}).values():
        yield from (str(one) for one in group if isinstance(one, str))
    poetry = (document.get("tool") or {}).get("poetry") or {}
    yield from (str(one) for one in poetry.get("dependencies") or {} if one != "python")
    yield from (f"its dynamic {one}" for one in project.get("dynamic") or () if "depend" in one)


def _tables(document: dict[str, Any]) -> Iterator[str]:
    """Cargo.toml and Pipfile: the packages are the keys of tables."""
    inner = [document, *(document.get("target") or {}).values()]
    for table in (*inner, document.get("workspace") or {}):
        for key in ("dependencies", "dev-dependencies", "build-dependencies", "packages",
                    "dev-packages"):  # fmt: skip
            yield from map(str, table.get(key) or {})
