"""Plugins are what a person has trusted, byte for byte, or the start is refused.

A plugin runs in our process, so all that matters happens before its first import: each file of the
distribution is hashed and compared with what was trusted. Bytecode that lies beside it is never
read. What it imports of other distributions is not looked at. Source: facts, mcp 5.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from pilotage.domain.call import Principal
from pilotage.domain.errors import BadInput, Denied, NotFound
from pilotage.store import plugins as rows
from pilotage.store.database import Database
from pilotage.store.plugins import Trusted
from pilotage.tool import plugin_manifest

Record = Callable[[str, str, Principal, Mapping[str, Any]], None]
GROUP = "pilotage.tools"
BYTECODE = "plugin-bytecode"
HOUSE = Principal("pilotage", frozenset())


class Plugins:
    """`publishers` are the keys that signatures are checked by, see plugin_manifest.py."""

    def __init__(
        self, database: Database, record: Record, home: Path, publishers: Iterable[str] = ()
    ) -> None:
        self._database, self._record, self._home = database, record, home
        self._publishers = tuple(publishers)
        self._trusted = rows.read_all(database)

    def check(self, one: Distribution) -> None:
        """To be called before anything of it is imported. Raises Denied, which is audited, for
        what is not what was trusted."""
        sys.pycache_prefix = str(self._home / BYTECODE)
        why = self.why(one)
        if not why:
            return
        name = _name(one)
        self._record("plugin.refused", name, HOUSE, {"version": one.version, "why": why})
        raise Denied(
            f"the plugin {name} {why}",
            f"look at what is installed, then: pilotage plugins trust {name}",
        )

    def why(self, one: Distribution) -> str:
        """Why it must not be loaded, "" where it may."""
        pinned = self._trusted.get(_name(one))
        if pinned is None:
            return "is not trusted"
        if one.version != pinned.version:
            return f"is {one.version}, and {pinned.version} was trusted"
        try:
            found = measured(one)
        except BadInput as error:
            return f"cannot be compared with what was trusted: {error.what}"
        for path in sorted(pinned.files.keys() | found.keys()):
            if path not in pinned.files:
                return f"is not what was trusted: {path} is new"
            if path not in found:
                return f"is not what was trusted: {path} is gone"
            if pinned.files[path] != found[path]:
                return f"is not what was trusted: {path} has changed"
        return ""

    def trust(self, name: str, by: Principal, publisher: str = "") -> Trusted:
        """From now on it may be loaded as it is installed now. With `publisher`, only if that key
        has signed it; a signature is checked in any case where a key is known."""
        one = find(name)
        files = measured(one)
        keys = (publisher,) if publisher else self._publishers
        signer = plugin_manifest.signer(one, _name(one), files, keys)
        if publisher and not signer:
            raise Denied(f"{_name(one)} is not signed", "trust it without --publisher, or do not")
        at = time.time_ns() // 1000
        trusted = Trusted(_name(one), one.version, files, signer, by.name, at)
        digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        words = {"version": one.version, "files": len(files), "digest": digest, "publisher": signer}

        def put(connection: Any) -> None:
            rows.put(connection, trusted)
            self._record("plugin.trusted", trusted.name, by, words)

        self._database.write_now(put)
        self._trusted[trusted.name] = trusted
        return trusted

    def distrust(self, name: str, by: Principal) -> None:
        """It is loaded no more: at the next start. Raises NotFound."""
        key = _normal(name)

        def delete(connection: Any) -> None:
            if not rows.delete(connection, key):
                raise NotFound(f"the plugin {name!r} is not trusted", "pilotage plugins list")
            self._record("plugin.distrusted", key, by, {})

        self._database.write_now(delete)
        del self._trusted[key]

    def standings(self) -> Iterator[tuple[str, str, str]]:
        """Each plugin that is installed or trusted: its name, its version, why it is not loaded."""
        installed = {_name(one): one for one in offering()}
        for name in sorted(installed.keys() | self._trusted.keys()):
            if name in installed:
                yield name, installed[name].version, self.why(installed[name])
            else:
                yield name, self._trusted[name].version, "is not installed"


def offering() -> Iterator[Distribution]:
    """The distributions that offer tools, the first of each name, as Python finds them."""
    seen = set()
    for one in distributions():
        if _name(one) not in seen:
            seen.add(_name(one))
            if any(entry.group == GROUP for entry in one.entry_points):
                yield one


def find(name: str) -> Distribution:
    """By its name, or by that of one of its entry points. Raises NotFound."""
    found = list(offering())
    fitting = [one for one in found if _name(one) == _normal(name)] or [
        one for one in found if name in one.entry_points.select(group=GROUP).names
    ]
    if not fitting:
        have = ", ".join(sorted(map(_name, found))) or "none"
        raise NotFound(f"the plugin {name!r} is not installed", f"installed: {have}")
    return fitting[0]


def measured(one: Distribution) -> dict[str, str]:
    """SHA-256 of each of its files, by the path that RECORD has, and of what else lies in its
    folders. Raises BadInput for what cannot be pinned, such as an editable installation."""
    named = [path for path in one.files or () if "__pycache__" not in path.parts]
    if not named:
        raise BadInput(f"{_name(one)} has no list of its files (RECORD)", "install a wheel of it")
    found = {str(path): Path(str(one.locate_file(path))) for path in named}
    tops = {path.parts[0] for path in named if path.parts[0] != ".."}
    for top in tops:
        found |= _inside(Path(str(one.locate_file(top))), top)
    files = {path: _sha256(file) for path, file in found.items() if os.path.lexists(file)}
    _whose(one, tops, {file.resolve() for file in found.values()})
    return files


def _inside(folder: Path, top: str) -> dict[str, Path]:
    found = {}
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in (*files, *(one for one in folders if Path(at, one).is_symlink())):
            path = Path(at, name)
            found[f"{top}/{path.relative_to(folder).as_posix()}"] = path
    return found


def _sha256(file: Path) -> str:
    """Of a file. A link would lead to bytes that change elsewhere."""
    if file.is_symlink() or not file.is_file():
        raise BadInput(f"{file.name} is no plain file", "install a wheel of it")
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _whose(one: Distribution, tops: set[str], files: set[Path]) -> None:
    """Would Python import these files by their names, and none that lie before them?"""
    modules = {top.partition(".")[0] for top in tops if not top.endswith((".dist-info", ".data"))}
    named = {entry.value.partition(":")[0].split(".")[0] for entry in one.entry_points}
    for module in sorted(modules | named):
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        if spec is None and module not in named:
            continue  # data, such as a folder of licences
        origin = None if spec is None else spec.origin
        if origin is None or Path(origin).resolve() not in files:
            where = origin or "nowhere"
            raise BadInput(f"{module} would be imported from {where}, not from {_name(one)}")


def _name(one: Distribution) -> str:
    return _normal(one.metadata["Name"])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
