"""YAML -> a document of plain values, with the place of each.

Bounded: a small file must not become a large document by its aliases, nor a deep one.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilotage.domain.errors import BadInput
from pilotage.domain.pipeline import Level, Problem

BYTES, NODES, DEPTH, DIGITS, PROBLEMS = 1 << 20, 200_000, 60, 400, 200
Path = tuple[str | int, ...]
_TEXT, _TIME = "tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp"


@dataclass(frozen=True, slots=True)
class Document:
    """`places` holds line and column (from 1) of each value, and of each key under ("key", name)
    at the end of its path. `problems` are those that reading found; `value` is then partial."""

    value: Any
    places: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def problem(self, path: Path, what: str, hint: str = "", level: Level = Level.ERROR) -> Problem:
        """A problem with the value at `path`, or with the nearest value around it."""
        at: Path = path
        while at and at not in self.places:
            at = at[:-1]
        line, column = self.places.get(at, (0, 0))
        return Problem(level, what, hint, spelt(path), line, column)


def spelt(path: Path) -> str:
    """steps[0].params.ref"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".")


def file(path: pathlib.Path) -> Document:
    """The document in a file. BadInput where it cannot be read at all."""
    try:
        with path.open("rb") as opened:
            return document(opened.read(BYTES + 1))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", "check its name") from None


def given(pipeline: str | dict[str, Any]) -> Document:
    """The document that a caller sends: a pipeline file as text (YAML), or as an object."""
    return document(pipeline) if isinstance(pipeline, str) else Document(pipeline)


def document(text: str | bytes) -> Document:
    """Read YAML (so JSON as well). What cannot be read is a problem, not an exception."""
    import yaml

    if len(text) > BYTES:
        return _unread(f"the file is larger than {BYTES >> 20} MiB")
    loader = yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        node = yaml.compose(text, loader)
        reader = _Reader()
        value = reader.value(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        what = f"this is not YAML: {error.problem or error.context}"
        return Document(None, {}, (Problem(Level.ERROR, what, "", "", line, column),))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return _unread(f"this is not YAML: {error}")
    except RecursionError:
        return _unread(f"the file is nested deeper than {DEPTH}")
    except _Bomb as bomb:
        return _unread(str(bomb))
    return Document(value, reader.places, tuple(reader.problems))


def _unread(what: str) -> Document:
    return Document(None, {(): (1, 1)}, (Problem(Level.ERROR, what, "", "", 1, 1),))


class _Bomb(Exception):
    pass


class _Reader:
    """Turns nodes into values. An alias is read again wherever it stands, so it counts again."""

    def __init__(self) -> None:
        self.places: dict[Path, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._nodes = 0

    def value(self, node: Any, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > NODES:
            raise _Bomb(f"the file grows to more than {NODES} values: aliases within aliases?")
        if len(path) > DEPTH:
            raise _Bomb(f"the file is nested deeper than {DEPTH}")
        self._mark(path, node)
        if node.id == "mapping":
            return self._mapping(node, path)
        if node.id == "sequence":
            return [self.value(item, (*path, n)) for n, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in node.value:
            name = key.value if key.id == "scalar" else None
            if not isinstance(name, str):
                self._wrong(key, path, "a key must be text")
                continue
            if name in found:
                self._wrong(key, (*path, name), f"{name!r} stands here twice")
                continue
            self._mark((*path, "key", name), key)
            found[name] = self.value(item, (*path, name))
        return found

    def _scalar(self, node: Any, path: Path) -> Any:
        import yaml

        if node.tag in (_TEXT, _TIME):
            return node.value
        if len(node.value) > DIGITS:  # 1:1:1:... is a number as well, and takes the square of it
            self._wrong(node, path, f"{node.value[:20]}... is longer than {DIGITS} characters")
            return None
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self._wrong(node, path, f"{node.value!r} cannot be read: {error}")
            return None
        if isinstance(value, float) and value not in (float("inf"), float("-inf")):
            if value == value:
                return value
        elif value is None or isinstance(value, (bool, int, str)):
            return value
        self._wrong(node, path, f"{node.value!r} ({node.tag}) is not JSON")
        return None

    def _mark(self, path: Path, node: Any) -> None:
        self.places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)

    def _wrong(self, node: Any, path: Path, what: str) -> None:
        if len(self.problems) >= PROBLEMS:
            raise _Bomb(f"more than {PROBLEMS} things are wrong with this file")
        mark = node.start_mark
        self.problems.append(
            Problem(Level.ERROR, what, "", spelt(path), mark.line + 1, mark.column + 1)
        )
