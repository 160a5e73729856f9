"""Lock files: which package in which version a project installs. Pure: bytes in, pins out.

What a file does not pin, or names from elsewhere than a package index, is Unread: nothing is known
of it, so it is not clean.
"""

from __future__ import annotations

import codecs
import json
import posixpath
import re
import shlex
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pilotage.domain.scan import Unread

Load = Callable[[str], bytes | None]
"""The content of a file of the project by its relative name, None where there is none."""

NOT_READ = ("yarn.lock", "pnpm-lock.yaml", "Pipfile.lock", "pdm.lock", "pylock.toml", "go.sum",
            "Gemfile.lock", "composer.lock", "Cargo.lock", "gradle.lockfile")  # fmt: skip
"""Lock files that we know of and do not read: said of each of them."""

FAMILIES = ("*[Rr]equirements*.txt", "**/requirements/*.txt", "poetry.lock", "uv.lock",
            "package-lock.json", "npm-shrinkwrap.json")  # fmt: skip

ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

LARGEST = 16 << 20
"""Bytes of one lock file. They are read in our own process, so what they can cost is bounded: a
file, all of them, a line, the parts of a TOML key (whose reader is quadratic in them), and how much
of them is kept."""
LARGEST_OF_ALL = 128 << 20
_LONGEST_LINE = 10_000
_MOST_PARTS = 50
_MOST_PINS = 200_000
_MOST_UNREAD = 1_000

_ENTRY = re.compile(r'[ \t]*+"((?:[^"\\]|\\.)*+)": \{')
_INCLUDES = ("-r", "--requirement")
_CONSTRAINTS = ("-c", "--constraint")
_EDITABLE = ("-e", "--editable")
_WITH_VALUE = (*_INCLUDES, *_CONSTRAINTS, *_EDITABLE, "-i", "--index-url", "--pypi-url", "-f",
               "--find-links", "--extra-index-url", "--no-binary", "--only-binary",
               "--trusted-host", "--use-feature")  # fmt: skip
_ALONE = ("--no-index", "--prefer-binary", "--require-hashes", "--pre")
_CODING = re.compile(rb"#[^\n]*?coding[:=][ \t]*([-\w.]+)")
_LIKE_ASCII = (
    "utf-8",
    "utf8",
    "ascii",
    "us-ascii",
    "latin-1",
    "iso-8859-1",
    "iso-8859-15",
    "cp1252",
)


@dataclass(frozen=True, slots=True)
class Pin:
    """One package that is installed. `ecosystem` as OSV spells it, `name` normalised."""

    ecosystem: str
    name: str
    version: str
    path: str
    line: int | None = None


@dataclass(slots=True)
class Locked:
    """What lock files say; `read` are the files that were looked at, included ones too."""

    pins: list[Pin] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    taken: int = 0
    _named: set[str] = field(default_factory=set)

    def skip(self, path: str, why: str) -> None:
        """Each file's first is kept, and so many in all."""
        if len(self.unread) < _MOST_UNREAD or path not in self._named:
            self.unread.append(Unread(path, why))
            self._named.add(path)

    def take(self, path: str, data: bytes) -> None:
        """Count what is read; too much leaves it unread."""
        self.taken += len(data)
        if len(data) > LARGEST or self.taken > LARGEST_OF_ALL:
            what = "one" if len(data) > LARGEST else "all"
            most = LARGEST if len(data) > LARGEST else LARGEST_OF_ALL
            raise ValueError(f"{path} is over the {most >> 20} MiB that {what} may have")

    def pin(self, pin: Pin) -> None:
        """One that is too many leaves its file unread."""
        if len(self.pins) >= _MOST_PINS:
            raise ValueError(f"more than {_MOST_PINS} packages are pinned")
        self.pins.append(pin)


def read_lock(path: str, load: Load, locked: Locked) -> None:
    """Add what the lock file at `path` says. Never raises for what is in the file."""
    name = posixpath.basename(path)
    data = load(path)
    if data is None:
        return locked.skip(path, "it is not there")
    if name in NOT_READ:
        return locked.skip(path, f"{name} is not a kind of lock file that is read yet")
    try:
        if name.endswith((".json", ".lock")):
            locked.take(path, data)
        if name.endswith(".json"):
            _npm(path, data, locked)
        elif name.endswith(".lock"):
            _toml(path, data, locked)
        else:
            _Requirements(load, locked).read(path)
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        return locked.skip(path, f"it is not a {name}: {type(error).__name__}: {error}"[:200])
    locked.read.add(path)
    return None


class _Requirements:
    """pip's requirements format. Source: https://pip.pypa.io/en/stable/reference/"""

    def __init__(self, load: Load, locked: Locked) -> None:
        self._load, self._locked = load, locked
        self._open: list[tuple[str, int, Requirement]] = []
        self._constraints: dict[str, list[str]] = defaultdict(list)
        self._seen: set[tuple[str, bool]] = set()

    def read(self, path: str) -> None:
        """This file and all that it includes; then what only constraints pin."""
        self._file(path, constraint=False)
        for where, line, requirement in self._open:
            name = canonicalize_name(requirement.name)
            for version in self._constraints[name]:
                self._pin(where, line, name, version)
            if not self._constraints[name]:
                self._locked.skip(where, f"line {line}: {name} is not pinned to one version")

    def _file(self, path: str, *, constraint: bool) -> None:
        if (path, constraint) in self._seen:
            return
        self._seen.add((path, constraint))
        data = self._load(path)
        if data is None:
            self._locked.skip(path, "it is included, but not in the project")
            return
        self._locked.take(path, data)
        self._locked.read.add(path)
        for coding in filter(None, map(_CODING.match, data.split(b"\n", 2)[:2])):
            if coding[1].decode().lower().replace("_", "-") not in _LIKE_ASCII:
                self._locked.skip(path, "it is in an encoding that is not read")
        for number, text in _logical_lines(_text(data)):
            if len(self._locked.unread) >= _MOST_UNREAD:
                raise ValueError(f"more than {_MOST_UNREAD} lines could not be read")
            if len(text) > _LONGEST_LINE:
                self._locked.skip(path, f"line {number}: too long")
            elif text.startswith("-"):
                self._options(path, number, text)
            else:
                self._requirement(path, number, text, constraint)

    def _options(self, path: str, line: int, text: str) -> None:
        """All options of a line: pip takes several, and a beginning for the whole word."""
        try:
            words = shlex.split(text)
        except ValueError:
            words = ["?"]
        while words:
            word, equals, value = words.pop(0).partition("=")
            if not word.startswith("--"):  # -rFILE
                word, equals, value = word[:2], word[2:], word[2:] + equals + value
            if word in _WITH_VALUE and (equals or words):
                self._option(path, line, word, value if equals else words.pop(0))
            elif word not in _ALONE:
                self._locked.skip(path, f"line {line}: an option that is not known")

    def _option(self, path: str, line: int, word: str, value: str) -> None:
        if word in (*_INCLUDES, *_CONSTRAINTS):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), value))
            if "://" in value or target.startswith(("..", "/")):
                self._locked.skip(path, f"line {line}: includes {value}, outside of the project")
            else:  # what a constraint file includes is installed all the same
                self._file(target, constraint=word in _CONSTRAINTS)
        elif word in _EDITABLE and ("://" in value or "git+" in value):
            self._locked.skip(path, f"line {line}: a repository, not a version of a package")

    def _requirement(self, path: str, line: int, text: str, constraint: bool) -> None:
        text = re.split(r"\s--[a-z]", text, maxsplit=1)[0].strip()  # --hash, --config-settings
        place = text.partition(";")[0].partition("#")[0].rstrip().lower()
        if text.startswith("/") or ("@" not in text and place.endswith(ARCHIVES)):
            self._locked.skip(path, f"line {line}: a file, not a version of a package")
            return
        if text.startswith("."):
            return  # the project's own code
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            self._locked.skip(path, f"line {line}: not a requirement that can be read")
            return
        if requirement.url:
            self._locked.skip(path, f"line {line}: {requirement.name} comes from an address")
            return
        exact = [
            one.version
            for one in requirement.specifier
            if one.operator in ("==", "===") and not one.version.endswith("*")
        ]
        name = canonicalize_name(requirement.name)
        if constraint:
            self._constraints[name] += exact[:1]
        elif exact:
            self._pin(path, line, name, exact[0])
        else:
            self._open.append((path, line, requirement))

    def _pin(self, path: str, line: int, name: str, version: str) -> None:
        self._locked.pin(Pin("PyPI", name, version, path, line))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """As pip joins and ends lines, without comments, with the number of their first line."""
    start, joined, number = 0, "", 1
    for line in text.splitlines(keepends=True):  # a form feed ends a line too
        here, number = number, number + line.endswith(("\n", "\r"))
        line = line.splitlines()[0]
        start = start or here
        comment = re.match(r"\s*#", line)
        if line.endswith("\\") and not comment:
            joined += line.strip("\\")
            continue
        whole = re.sub(r"(?:^|\s)#.*$", "", joined + (" " if comment else "") + line).strip()
        if whole:
            yield start, whole
        start, joined = 0, ""
    if whole := re.sub(r"(?:^|\s)#.*$", "", joined).strip():
        yield start, whole


def _text(data: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    return data.decode("utf-8", "replace")


def _toml(path: str, data: bytes, locked: Locked) -> None:
    """poetry.lock and uv.lock: both list `[[package]]` with a name, a version and a source."""
    text = _text(data)
    if any(part.count(".") > _MOST_PARTS for part in re.split(r"[=\n]", text)):
        raise ValueError(f"a key of more than {_MOST_PARTS} parts")
    document = tomllib.loads(text)
    if "metadata" not in document and "version" not in document:  # poetry ends, uv begins with it
        raise ValueError("it has neither poetry's metadata nor uv's version")
    packages = document.get("package", [])
    lines = [n for n, line in enumerate(text.split("\n"), 1) if line.strip() == "[[package]]"]
    for index, package in enumerate(packages):
        name = canonicalize_name(str(package["name"]))
        line = lines[index] if index < len(lines) else None
        source: Mapping[str, Any] = package.get("source") or {}
        kind = str(source.get("type") or next(iter(source), "registry"))
        if kind in ("virtual", "editable", "directory"):
            continue  # the project's own code
        if kind in ("git", "url", "file", "path"):
            locked.skip(path, f"line {line}: {name} comes from a {kind}, not from an index")
        elif "version" not in package:
            locked.skip(path, f"line {line}: {name} has no version")
        else:
            locked.pin(Pin("PyPI", name, str(package["version"]), path, line))


def _npm(path: str, data: bytes, locked: Locked) -> None:
    """package-lock.json, versions 2 and 3: `packages` maps a folder to what lies in it."""
    text = _text(data)
    document = json.loads(text)
    version = document.get("lockfileVersion")
    if version not in (2, 3):
        locked.skip(path, f"lock file version {version}: write it anew with npm 7 or later")
        return
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if start := _ENTRY.match(line):
            lines.setdefault(start[1], number)
    for folder, entry in document["packages"].items():
        name = str(entry.get("name") or folder.rpartition("node_modules/")[2])
        resolved, found = str(entry.get("resolved") or ""), str(entry.get("version") or "")
        if "node_modules/" not in folder or (entry.get("link") and ":" not in resolved):
            continue  # the project's own code
        if not found or (resolved and not _is_of(name, found, resolved)):
            locked.skip(path, f"{name} comes from {resolved or 'nowhere'}, not from a registry")
        else:
            locked.pin(Pin("npm", name, found, path, lines.get(folder)))


def _is_of(name: str, version: str, address: str) -> bool:
    """Whether a registry's address is that of this version: npm installs what lies there, whatever
    name and version stand beside it. GitHub's registry has its own form of address."""
    parts = urlsplit(address)
    at, plain = unquote(parts.path), version.partition("+")[0]
    files = {f"/{name}/-/{base}-{plain}.tgz" for base in (name, name.rpartition("/")[2])}
    return (
        parts.scheme in ("http", "https")
        and "/../" not in at
        and (at.endswith(tuple(files)) or ("/-/" not in at and f"/{name}/{plain}/" in at))
    )
