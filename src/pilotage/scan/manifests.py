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

LOCKS = {
    "package.json": ("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml"),
    "pyproject.toml": (
        "*[Rr]equirements*.txt",
        "**/requirements/*.txt",
        "poetry.lock",
        "uv.lock",
        "Pipfile.lock",
        "pdm.lock",
        "pylock.toml",
    ),
}
"""Each manifest with the lock files that say what it resolves to, as globs."""

MANIFESTS = tuple(LOCKS)
_NPM = ("dependencies", "devDependencies", "optionalDependencies")
_MOST_PARTS = 200
"""tomllib takes the square of a key's parts."""


class LockFolders:
    """Where lock files lie, asked once for all manifests of a project."""

    def __init__(self, files: Collection[str]) -> None:
        self._folders = {
            name: {posixpath.dirname(lock) for lock in matching(globs, files)}
            for name, globs in LOCKS.items()
        }
        self._above = {above for one in self._folders["pyproject.toml"] for above in _up(one)}

    def near(self, path: str) -> bool:
        """Whether a lock file answers for the manifest at `path`: in its folder or above (a
        workspace), for Python below it as well (requirements/)."""
        name, folder = posixpath.basename(path), posixpath.dirname(path)
        if name == "pyproject.toml" and folder in self._above:
            return True
        return not self._folders[name].isdisjoint(_up(folder))


def asks_for(path: str, data: bytes) -> str:
    """The first package that a manifest asks for, or "". Raises ValueError for what is none."""
    name = posixpath.basename(path)
    try:
        return next(_npm(data) if name == "package.json" else _python(data), "")[:80]
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise ValueError(f"it is not a {name}: {type(error).__name__}: {error}"[:200]) from None


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


def _python(data: bytes) -> Iterator[str]:
    text = data.decode("utf-8-sig")
    if any(part.count(".") > _MOST_PARTS for part in re.split(r"[=\n]", text)):
        raise ValueError(f"a key of more than {_MOST_PARTS} parts")
    document = tomllib.loads(text)
    project: dict[str, Any] = document.get("project") or {}
    yield from map(str, project.get("dependencies") or ())
    for extra in (project.get("optional-dependencies") or {}).values():
        yield from map(str, extra)
    for group in (document.get("dependency-groups") or {}).values():
        yield from (str(one) for one in group if isinstance(one, str))
    poetry = (document.get("tool") or {}).get("poetry") or {}
    yield from (str(one) for one in poetry.get("dependencies") or {} if one != "python")
