"""Known vulnerabilities from a folder of OSV exports, matched without a network.

The folder has OSV's own layout: one folder an ecosystem with its `all.zip`, or loose JSON files.
Format and matching: https://ossf.github.io/osv-schema/ (`affected`, "Evaluation").
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import semver
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pilotage.config import cache_folder, state_folder
from pilotage.domain.errors import Unavailable

MIRROR = "https://storage.googleapis.com/osv-vulnerabilities"
LAYOUT = 2  # of the index that is kept; another number makes it anew
BIGGEST = 8 << 20  # bytes of one advisory: the largest real ones have half a megabyte


class _Package(msgspec.Struct):
    ecosystem: str = ""
    name: str = ""


class Score(msgspec.Struct):
    type: str
    score: str


class _Event(msgspec.Struct):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None


class _Range(msgspec.Struct):
    type: str
    events: list[_Event] = []


class Affected(msgspec.Struct):
    package: _Package = msgspec.field(default_factory=_Package)
    ranges: list[_Range] = []
    versions: list[str] = []
    severity: list[Score] = []
    database_specific: dict[str, Any] | None = None


class Advisory(msgspec.Struct):
    """What we read of an OSV record; the rest of it is let through."""

    id: str
    modified: str = ""
    aliases: list[str] = []
    summary: str = ""
    details: str = ""
    withdrawn: str | None = None
    severity: list[Score] = []
    affected: list[Affected] = []
    database_specific: dict[str, Any] | None = None


class _Head(msgspec.Struct):
    """Enough of a record to index it."""

    modified: str
    withdrawn: str | None = None
    affected: list[_Named] = []


class _Named(msgspec.Struct):
    package: _Package = msgspec.field(default_factory=_Package)


class Index(msgspec.Struct):
    """Which members of an export speak of a package. `broken` counts unreadable ones."""

    layout: int
    newest: str
    count: int
    broken: int
    members: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Export:
    """One ecosystem's advisories. `date` is that of the newest (RFC 3339), `digest` of all."""

    ecosystem: str
    path: Path
    digest: str
    index: Index

    @property
    def date(self) -> str:
        return self.index.newest

    def about(self, name: str) -> Iterator[Advisory]:
        """The advisories that name this package and were not withdrawn."""
        members = self.index.members.get(name, ())
        if not members:
            return
        with _Members(self.path) as export:
            for member in members:
                advisory = msgspec.json.decode(export.read(member), type=Advisory)
                if advisory.withdrawn is None:
                    yield advisory


def folder(environment: Mapping[str, str] | None = None) -> Path:
    """`$PILOTAGE_ADVISORIES`, else `advisories` in the state folder. Never the tree scanned."""
    env = os.environ if environment is None else environment
    named = env.get("PILOTAGE_ADVISORIES")
    return Path(named).expanduser().absolute() if named else state_folder(env) / "advisories"


def load(ecosystem: str, source: Path, cache: Path | None = None) -> Export:
    """One ecosystem's export, its index from the cache where it was made before.

    Raises Unavailable where there is none, or nothing in it: that is not the same as safe.
    """
    path = source / ecosystem
    if not path.exists():
        raise Unavailable(
            f"no advisories of {ecosystem} in {source}",
            f"mirror {MIRROR}/{ecosystem}/all.zip to {path / 'all.zip'}",
        )
    try:
        digest = _digest(path)
        index = _index(path, ecosystem, digest, cache or cache_folder(os.environ) / "advisories")
    except (OSError, zipfile.BadZipFile) as error:
        raise Unavailable(f"{path} cannot be read: {error}", "mirror it again") from None
    if not index.count:
        raise Unavailable(f"{path} holds no advisory of {ecosystem}", "mirror it again")
    return Export(ecosystem, path, digest, index)


class _Members:
    """The records of an ecosystem's folder by name: those of its `all.zip`, and loose ones."""

    def __init__(self, folder: Path) -> None:
        self._folder, zipped = folder, folder / "all.zip"
        self._zip = zipfile.ZipFile(zipped) if zipped.is_file() else None

    def __enter__(self) -> _Members:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()

    def loose(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if path.suffix == ".json")

    def names(self) -> list[str]:
        packed = self._zip.infolist() if self._zip is not None else []
        return [
            *self.loose(),
            *(f"all.zip/{info.filename}" for info in packed if info.filename.endswith(".json")),
        ]

    def read(self, name: str) -> bytes:
        """Raises ValueError for a record that no advisory is as large as."""
        if self._zip is not None and name.startswith("all.zip/"):
            info = self._zip.getinfo(name.removeprefix("all.zip/"))
            if info.file_size > BIGGEST:
                raise ValueError(f"{name} has {info.file_size} bytes")
            return self._zip.read(info)
        return (self._folder / name).read_bytes()


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    with _Members(folder) as records:
        for name in records.loose():
            digest.update(name.encode() + b"\0" + hashlib.sha256(records.read(name)).digest())
    if (folder / "all.zip").is_file():
        with (folder / "all.zip").open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _index(path: Path, ecosystem: str, digest: str, cache: Path) -> Index:
    kept = cache / f"{ecosystem.replace('/', '_')}-{digest[:32]}.json"
    try:
        index = msgspec.json.decode(kept.read_bytes(), type=Index)
        if index.layout == LAYOUT:
            return index
    except (OSError, msgspec.MsgspecError):
        pass  # not made yet, or by another version
    index = _made(path, ecosystem)
    cache.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f".{os.getpid()}")
    part.write_bytes(msgspec.json.encode(index))
    part.rename(kept)
    return index


def _made(path: Path, ecosystem: str) -> Index:
    decoder = msgspec.json.Decoder(_Head)
    index = Index(LAYOUT, "", 0, 0, {})
    with _Members(path) as records:
        for member in records.names():
            try:
                head = decoder.decode(records.read(member))
            except (ValueError, zipfile.BadZipFile, OSError):
                index.broken += 1
                continue
            index.newest = max(index.newest, head.modified)
            index.count += 1
            names = {
                normal(ecosystem, one.package.name)
                for one in head.affected
                if one.package.ecosystem.partition(":")[0] == ecosystem
            }
            if head.withdrawn is None:
                for name in names:
                    index.members.setdefault(name, []).append(member)
    return index


def normal(ecosystem: str, name: str) -> str:
    """A package's name as its ecosystem compares it (PyPI: PEP 503)."""
    return canonicalize_name(name) if ecosystem == "PyPI" else name


class NotComparable(ValueError):
    """A version that its ecosystem's order does not know."""


def _python(version: str) -> Any:
    try:
        return Version(version)
    except InvalidVersion:
        raise NotComparable(version) from None


def _node(version: str) -> Any:
    try:
        return semver.Version.parse(version.removeprefix("v"), optional_minor_and_patch=True)
    except (ValueError, TypeError):
        raise NotComparable(version) from None


ORDERS: Mapping[str, Callable[[str], Any]] = {"PyPI": _python, "npm": _node}
"""How each ecosystem that we match orders its versions."""


def hits(advisory: Advisory, ecosystem: str, name: str, version: str) -> list[Affected]:
    """The parts of the advisory that hit this version, empty where none does.

    Raises NotComparable where its ranges cannot be decided.
    """
    return [
        part
        for part in advisory.affected
        if part.package.ecosystem.partition(":")[0] == ecosystem
        and normal(ecosystem, part.package.name) == name
        and _hit(part, ORDERS[ecosystem], version)
    ]


def _hit(part: Affected, order: Callable[[str], Any], version: str) -> bool:
    if version in part.versions:
        return True
    mine = order(version)
    if any(_in(one.events, order, mine) for one in part.ranges if one.type != "GIT"):
        return True
    return any(_same(order, listed, mine) for listed in part.versions)


def _same(order: Callable[[str], Any], listed: str, mine: Any) -> bool:
    try:
        return bool(order(listed) == mine)
    except NotComparable:
        return False


def _in(events: Iterable[_Event], order: Callable[[str], Any], mine: Any) -> bool:
    """The schema's own evaluation: events in the order of their versions, each one a switch."""
    inside = False
    for at, event in sorted(_switches(events, order), key=lambda switch: switch[0]):
        if event == "introduced" and (at == START or mine >= at[1]):
            inside = True
        elif (event == "fixed" and mine >= at[1]) or (event == "last_affected" and mine > at[1]):
            inside = False
    return inside


START = (0,)


def _switches(
    events: Iterable[_Event], order: Callable[[str], Any]
) -> Iterator[tuple[tuple[Any, ...], str]]:
    for event in events:
        for name in ("introduced", "fixed", "last_affected"):
            version = getattr(event, name)
            if version == "0" and name == "introduced":
                yield START, name
            elif version is not None:
                yield (1, order(version)), name


def fixes(part: Affected, ecosystem: str, version: str) -> tuple[str, ...]:
    """The versions that mend it and come after this one, the nearest first."""
    order = ORDERS[ecosystem]
    mine = order(version)
    found = {
        event.fixed: order(event.fixed)
        for one in part.ranges
        if one.type != "GIT"
        for event in one.events
        if event.fixed is not None and order(event.fixed) > mine
    }
    return tuple(sorted(found, key=lambda fixed: found[fixed]))


def groups(advisories: Iterable[Advisory]) -> list[list[Advisory]]:
    """Advisories that share an id or an alias, directly or through others, tell one thing."""
    told: list[tuple[set[str], list[Advisory]]] = []
    for advisory in advisories:
        ids, members = {advisory.id, *advisory.aliases}, [advisory]
        for other in [other for other in told if other[0] & ids]:
            told.remove(other)
            ids, members = ids | other[0], [*other[1], *members]
        told.append((ids, members))
    return [sorted(members, key=lambda one: one.id) for _, members in told]
