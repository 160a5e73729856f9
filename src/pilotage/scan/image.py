"""A container image as scanners take it: a docker-archive file, or an OCI layout folder.

An OCI archive is unpacked first, within bounds: plain files and folders with plain names only.
"""

from __future__ import annotations

import asyncio
import bz2
import gzip
import hashlib
import json
import lzma
import os
import shutil
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from pilotage.domain.errors import BadInput, TooLarge
from pilotage.domain.text import visible

LARGEST = 8 << 30
MOST_FILES = 100_000
LARGEST_HEADER = 1 << 20
"""Bytes of a tar header: `tarfile` reads one into memory, however large it says it is."""
_LARGEST_INDEX = 16 << 20
_PACKED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
_BROKEN = (tarfile.TarError, EOFError, OSError, ValueError, RecursionError, zlib.error,
           lzma.LZMAError)  # fmt: skip
_KINDS = "a docker-archive (docker save), an OCI layout folder or an OCI archive"


@dataclass(frozen=True, slots=True)
class Image:
    """`path` is what a scanner is given; `digest` names its content, `kind` says what it was."""

    path: Path
    digest: str
    kind: str


async def open_image(path: Path, into: Path) -> Image:
    """Recognise the image at `path`; what has to be unpacked goes to `into`, an empty folder.

    Raises BadInput for anything that is not an image, TooLarge past 8 GiB or 100,000 files.
    """
    return await asyncio.to_thread(_open, path, into)


def _open(path: Path, into: Path) -> Image:
    if path.is_dir():
        if not _layout(path):
            raise BadInput(f"{visible(str(path))} is no OCI layout", f"give {_KINDS}")
        return Image(path, _index_digest(path), "an OCI layout")
    if not path.is_file():
        raise BadInput(f"there is no image {visible(str(path))}", f"give {_KINDS}")
    try:
        with _archive(path) as archive:
            names = {PurePosixPath(name).as_posix() for name in _names(archive)}
            if "manifest.json" in names:
                return Image(path, _digest(path), "a docker-archive")
            if "index.json" not in names:
                raise BadInput(f"{visible(str(path))} holds no image", f"give {_KINDS}")
            target = into / "layout"
            _unpack(archive, target)
    except _BROKEN as error:
        raise BadInput(
            f"{visible(str(path))} cannot be read as an archive: {visible(str(error))[:200]}",
            f"give {_KINDS}",
        ) from None
    if not _layout(target):
        raise BadInput(f"{visible(str(path))} holds no OCI layout", f"give {_KINDS}")
    return Image(target, _digest(path), "an OCI archive")


class _Bounded:
    """A file of which nobody can read more than a tar header has, or a copy takes, at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_HEADER:
            raise TooLarge(f"the image has a header of more than {LARGEST_HEADER >> 20} MiB")
        return self._file.read(size)


@contextmanager
def _archive(path: Path) -> Iterator[tarfile.TarFile]:
    with ExitStack() as stack:
        plain = stack.enter_context(path.open("rb"))
        start = plain.read(6)
        plain.seek(0)
        file: IO[bytes] = plain
        for magic, opened in _PACKED:
            if start.startswith(magic):
                file = cast("IO[bytes]", stack.enter_context(opened(plain)))
        bounded = cast("IO[bytes]", _Bounded(file))
        yield stack.enter_context(tarfile.open(fileobj=bounded, mode="r:"))


def _names(archive: tarfile.TarFile) -> list[str]:
    names, size = [], 0
    for count, member in enumerate(archive):  # to reach the next, this one is unpacked
        size += member.size
        if count > MOST_FILES or size > LARGEST:
            raise TooLarge(f"the image is larger than {MOST_FILES} files, {LARGEST >> 30} GiB")
        names.append(member.name)
    return names


def _unpack(archive: tarfile.TarFile, target: Path) -> None:
    """Regular files and folders below `target`; any other member or name is refused."""
    target.mkdir()
    left = LARGEST
    for member in archive.getmembers():
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts or not (member.isreg() or member.isdir()):
            raise BadInput(f"the image holds {visible(member.name)!r}, which no OCI layout has")
        path = target / name
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        left -= member.size
        source = archive.extractfile(member)
        if left < 0:
            raise TooLarge(f"the image is larger than {LARGEST >> 30} GiB unpacked")
        if source is None:
            raise BadInput(f"the image's {visible(member.name)!r} cannot be read")
        path.parent.mkdir(parents=True, exist_ok=True)
        with source, path.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)


def _layout(folder: Path) -> bool:
    """An OCI layout, of which every entry is a file or a folder: a link could lead outside."""
    for count, (at, folders, files) in enumerate(os.walk(folder)):
        for name in (*folders, *files):
            mode = os.lstat(os.path.join(at, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or count > MOST_FILES:
                return False
    try:
        with (folder / "index.json").open("rb") as file:
            index = json.loads(file.read(_LARGEST_INDEX))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(index, dict) and isinstance(index.get("manifests"), list)


def _index_digest(folder: Path) -> str:
    """The index names everything else by digest."""
    return hashlib.sha256((folder / "index.json").read_bytes()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
