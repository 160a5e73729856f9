"""Copy a project's own files into a stage: by open folders, without following a single link."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.domain.finding import Suppression
from pilotage.domain.scan import Unread
from pilotage.domain.text import visible
from pilotage.scan.aliases import Kind, alias, kind_of
from pilotage.scan.defuse import MAGIC, defuse
from pilotage.scan.encoding import as_utf8
from pilotage.scan.listing import CACHES, ENVIRONMENTS, Listing, some
from pilotage.scan.plain import as_python_notebook, suffix_of

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_PATH = 1024
_MOST_UNREAD = 1000
_MOST_WORDS = 20_000
_TRIES = 3


@dataclass(frozen=True, slots=True)
class StageLimits:
    """How much is staged: files, bytes in all, bytes of one file, folders inside one another."""

    files: int = 200_000
    total: int = 2 << 30
    file: int = 32 << 20
    depth: int = 100


@dataclass(slots=True)
class Copied:
    """What came of it. `files` maps a staged name to the real one; `aliases` a staged name to the
    one to report, where they differ."""

    files: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    suppressions: list[Suppression] = field(default_factory=list)
    bytes: int = 0
    vendored: list[str] = field(default_factory=list)
    repositories: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    made: list[Path] = field(default_factory=list)
    dropped: int = 0
    words_dropped: int = 0

    def notes(self) -> list[str]:
        """What was left out on purpose, in sentences."""
        said = []
        if self.vendored:
            said.append(f"left out as installed packages and caches: {some(self.vendored)}")
        if self.repositories:
            inner = some(self.repositories)
            said.append(f"repositories inside, whose history was not looked at: {inner}")
        if self.dangling:
            said.append(f"symbolic links to nothing that was staged: {some(self.dangling)}")
        if self.missing:
            said.append(f"tracked, but not in the work tree: {some(self.missing)}")
        if self.words_dropped:
            said.append(f"{self.words_dropped} more words that silence scanners are not listed")
        return said

    def digest(self) -> str:
        """Names and original contents, in the order of the names."""
        whole = hashlib.sha256()
        for path in sorted(self.hashes):
            name = os.fsencode(path)
            whole.update(b"%d:%s%s" % (len(name), name, self.hashes[path].encode()))
        return whole.hexdigest()

    def leave(self, path: str, why: str) -> None:
        """Record what was not read; a flood of such files is counted, not listed."""
        if len(self.unread) < _MOST_UNREAD:
            self.unread.append(Unread(visible(path), why))
        else:
            self.dropped += 1

    def record(self, found: Sequence[Suppression]) -> None:
        """Keep so many words in all; one that is not kept suppresses nothing."""
        room = max(0, _MOST_WORDS - len(self.suppressions))
        self.suppressions += found[:room]
        self.words_dropped += len(found[room:])

    def unlock(self) -> None:
        """Make the folders writable again, so that they can be removed."""
        for folder in self.made:
            folder.chmod(0o700)


def copy_tree(source: Path, target: Path, listing: Listing, limits: StageLimits) -> Copied:
    """Copy what `listing` names from `source` (resolved) to the new folder `target`."""
    copier = _Copier(source, target, listing, limits)
    copier.run()
    return copier.copied


class _Copier:
    def __init__(self, source: Path, target: Path, listing: Listing, limits: StageLimits) -> None:
        self.source, self.target, self.listing, self.limits = source, target, listing, limits
        self.copied = Copied(unread=list(listing.unread))
        self.entered = listing.folders()
        self.seen: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.reported: set[str] = set()
        self.over = 0
        self.ours = target.parent.stat()

    def run(self) -> None:
        self._make(self.target)
        fd = os.open(self.source, _FOLDER)
        try:
            self._folder(fd, "", "", "" in self.listing.walked)
        finally:
            os.close(fd)
        goals = {**self.copied.folders, **{real: g for g, real in self.copied.files.items()}}
        for path, staged in self.links:
            self._link(path, staged, goals)
        self.copied.missing = sorted(self.listing.wanted - self.seen)
        if self.over:
            self.copied.unread.append(
                Unread(".", f"{self.over} files lie over the limits of the stage "
                       f"({self.limits.files} files, {self.limits.total >> 20} MiB)")
            )  # fmt: skip
        if self.copied.dropped:
            self.copied.unread.append(
                Unread(".", f"{self.copied.dropped} more files could not be read")
            )
        for folder in self.copied.made:
            folder.chmod(0o555)

    def _make(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.copied.made.append(folder)

    def _folder(self, fd: int, path: str, staged: str, everything: bool) -> None:
        """Copy what is in one open folder. `path` is its real path, `staged` the staged one."""
        try:
            with os.scandir(fd) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            self.copied.leave(path or ".", f"cannot be listed: {error.strerror}")
            return
        for name in names:
            inner = f"{path}/{name}" if path else name
            if name == ".git":
                self._repository(fd, path)
                continue
            try:
                about = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                if everything or inner in self.listing.wanted:
                    self.copied.leave(inner, f"cannot be read: {error.strerror}")
                continue
            if stat.S_ISDIR(about.st_mode):
                self._enter(fd, name, inner, staged, everything)
            elif everything or inner in self.listing.wanted:
                self.seen.add(inner)
                self._entry(fd, name, inner, staged, about)

    def _enter(self, fd: int, name: str, path: str, staged: str, everything: bool) -> None:
        if not everything and path not in self.entered:
            return
        all_of_it = everything or path in self.listing.walked
        if path.count("/") >= self.limits.depth:
            self.copied.leave(path, f"lies deeper than {self.limits.depth} folders")
            return
        try:
            inner = os.open(name, _FOLDER, dir_fd=fd)
        except OSError as error:
            self.copied.leave(path, f"cannot be opened: {error.strerror}")
            return
        try:
            if os.path.samestat(os.fstat(inner), self.ours):
                return  # we copy into a folder of what we copy
            if all_of_it and _installed(inner, name):
                self.copied.vendored.append(path + "/")
                return
            given = self._given(name, path, staged, folder=True)
            if given is not None:
                self._make(self.target / given)
                self.copied.folders[path] = given
                self._folder(inner, path, given, all_of_it)
        finally:
            os.close(inner)

    def _repository(self, fd: int, path: str) -> None:
        """A `.git` is never staged. Where it is not what its name says, it may hold anything."""
        if not _is_repository(fd):
            name = f"{path}/.git" if path else ".git"
            self.copied.leave(name, "is not a repository, and its name keeps scanners out")
        elif path:
            self.copied.repositories.append(path + "/")

    def _entry(self, fd: int, name: str, path: str, staged: str, about: os.stat_result) -> None:
        if stat.S_ISLNK(about.st_mode):
            self.links.append((path, staged))
        elif not stat.S_ISREG(about.st_mode):
            self.copied.leave(path, f"is {_what(about.st_mode)}, not a file")
        elif about.st_size > self.limits.file:
            self.copied.leave(
                path,
                f"has {about.st_size >> 20} MiB, more than the {self.limits.file >> 20} MiB "
                "that are read of one file",
            )
        elif self._is_full(about.st_size):
            self.over += 1
        else:
            self._file(fd, name, path, staged)

    def _is_full(self, size: int) -> bool:
        files, total = len(self.copied.files), self.copied.bytes + size
        return files >= self.limits.files or total > self.limits.total

    def _file(self, fd: int, name: str, path: str, staged: str) -> None:
        try:
            data = _read(fd, name, self.limits.file)
        except OSError as error:
            self.copied.leave(path, f"cannot be read: {error.strerror}")
            return
        if data is None:
            self.copied.leave(path, "changed while it was read")
            return
        text = data if data.startswith(MAGIC) else as_utf8(data)
        if name.lower().endswith(".ipynb"):
            text = as_python_notebook(text)
        given = self._given(name, path, staged, suffix=suffix_of(name, text))
        if given is None:
            return
        safe, found = defuse(self.copied.aliases.get(given, given), text)
        self._write(given, path, safe)
        self.copied.record(found)
        self.copied.hashes[path] = hashlib.sha256(data).hexdigest()

    def _write(self, given: str, path: str, data: bytes) -> None:
        out = os.open(self.target / given, _NEW, 0o600)
        with open(out, "wb") as file:
            file.write(data)
            os.fchmod(out, 0o444)
        self.copied.files[given] = path
        self.copied.bytes += len(data)

    def _given(
        self, name: str, path: str, staged: str, *, folder: bool = False, suffix: str = ""
    ) -> str | None:
        """The staged name of what is called `name`, recorded with the name to report."""
        kind = kind_of(name, path.rpartition("/")[0], folder)
        plain = f"{staged}/{name}" if staged else name
        given, tries, other = plain, 0, bool(suffix) or kind is not Kind.PLAIN
        while other or given in self.names:
            another = alias(name, f"{path}\0{tries}" if tries else path, suffix)
            given, other, tries = f"{staged}/{another}" if staged else another, False, tries + 1
        if len(os.fsencode(given)) > _LONGEST_PATH:
            self.copied.leave(path, f"has a path longer than {_LONGEST_PATH} bytes")
            return None
        self.names.add(given)
        if kind_of(name, path.rpartition("/")[0], folder) is Kind.CONFIGURATION:
            self.copied.record((Suppression(visible(path), 0, "configuration"),))
        shown = visible(path)
        if shown in self.reported:  # two names that print alike stay two
            shown = visible(given)
        self.reported.add(shown)
        if shown != given:
            self.copied.aliases[given] = shown
        return given

    def _link(self, path: str, staged: str, goals: Mapping[str, str]) -> None:
        """Keep a link to a staged folder, copy a staged file for a link to it (scanners go by the
        name, and some pass over links); say which one leads out of the tree."""
        end = os.path.realpath(self.source / path)
        inside = os.path.relpath(end, self.source)
        if inside == ".." or inside.startswith("../"):
            self.copied.leave(path, "is a symbolic link out of the tree")
            return
        goal = goals.get(inside)
        own = path == inside or path.startswith(inside + "/") or inside == "."
        if goal is None or own:
            self.copied.dangling.append(path)
            return
        name, data = path.rpartition("/")[2], b""
        is_file = goal in self.copied.files
        if is_file:
            if self._is_full((self.target / goal).stat().st_size):
                self.over += 1
                return
            data = (self.target / goal).read_bytes()
        given = self._given(name, path, staged, suffix=suffix_of(name, data))
        if given is None:
            return
        if is_file:
            self._write(given, path, data)
        else:
            here = os.path.dirname(given) or "."
            os.symlink(os.path.relpath(goal, here), self.target / given)
        self.copied.hashes[path] = "->" + inside


def _read(fd: int, name: str, limit: int) -> bytes | None:
    """The bytes of a regular file, or None where it would not hold still."""
    for _ in range(_TRIES):
        file = os.open(name, _FILE, dir_fd=fd)
        try:
            before = os.fstat(file)
            if not stat.S_ISREG(before.st_mode):
                return None
            data = _read_all(file, limit + 1)
            after = os.fstat(file)
        finally:
            os.close(file)
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if same and len(data) == after.st_size:
            return data
    return None


def _read_all(file: int, most: int) -> bytes:
    parts = []
    while most > 0 and (part := os.read(file, min(most, 1 << 20))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _installed(fd: int, name: str) -> bool:
    """Whether a folder, outside of git, holds installed packages or a cache."""
    if name in CACHES:
        return True
    if name not in ENVIRONMENTS:
        return False
    try:
        return stat.S_ISREG(os.stat("pyvenv.cfg", dir_fd=fd, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _is_repository(fd: int) -> bool:
    """Whether `.git` of an open folder is a repository, or the file that points to one."""
    try:
        about = os.stat(".git", dir_fd=fd, follow_symlinks=False)
        if stat.S_ISREG(about.st_mode):
            return (_read(fd, ".git", 4096) or b"").startswith(b"gitdir: ")
        kinds = [os.stat(f".git/{name}", dir_fd=fd).st_mode for name in ("HEAD", "objects")]
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and stat.S_ISREG(kinds[0]) and stat.S_ISDIR(kinds[1])


def _what(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISBLK, "a device"),
             (stat.S_ISCHR, "a device"))  # fmt: skip
    return next((word for test, word in kinds if test(mode)), "something special")
