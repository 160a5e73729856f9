"""A container image as scanners take it: a docker-archive file, or an OCI layout folder.

An OCI archive is unpacked first, within bounds: plain files and folders with plain names only.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pilotage.domain.errors import BadInput, TooLarge
from pilotage.domain.text import visible

LARGEST = 8 << 30
MOST_FILES = 100_000
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
        with tarfile.open(path, "r:*") as archive:
            names = {PurePosixPath(name).as_posix() for name in _names(archive)}
            if "manifest.json" in names:
                return Image(path, _digest(path), "a docker-archive")
            if "index.json" not in names:
                raise BadInput(f"{visible(str(path))} holds no image", f"give {_KINDS}")
            target = into / "layout"
            _unpack(archive, target)
    except (tarfile.TarError, EOFError, OSError, UnicodeError) as error:
        raise BadInput(
            f"{visible(str(path))} cannot be read as an archive: {visible(str(error))[:200]}",
            f"give {_KINDS}",
        ) from None
    if not _layout(target):
        raise BadInput(f"{visible(str(path))} holds no OCI layout", f"give {_KINDS}")
    return Image(target, _digest(path), "an OCI archive")


def _names(archive: tarfile.TarFile) -> list[str]:
    names = []
    for count, member in enumerate(archive):
        if count > MOST_FILES:
            raise TooLarge(f"the image holds more than {MOST_FILES} files")
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
        index = json.loads((folder / "index.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(index, dict) and isinstance(index.get("manifests"), list)


def _index_digest(folder: Path) -> str:
    """The index names everything else by digest."""
    return hashlib.sha256((folder / "index.json").read_bytes()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
