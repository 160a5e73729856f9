"""The objects of a bare repository: which there are, and what is in them, a handful at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.scan.git import answer

BATCH = 16 << 20
"""Bytes of objects that are held in memory at a time; a larger object comes alone."""
LOOKED_AT = 8000
"""Bytes of the beginning of a file in which git looks for a zero byte, that it calls binary."""


@dataclass(slots=True)
class Objects:
    """Sizes by id. Of files, only those are here of which git does not look at everything before
    it takes them for text. Ids come in the order in which they lie in the pack."""

    commits: dict[str, int] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    long_files: dict[str, int] = field(default_factory=dict)


async def objects_of(bare: Path) -> Objects:
    """All that there are: in a repository that was packed from its refs, all that they reach."""
    listed = await answer(
        "cat-file", "--batch-all-objects", "--unordered", "--buffer",
        "--batch-check=%(objecttype) %(objectname) %(objectsize)",
        within=bare, seconds=600, output=1 << 30,
    )  # fmt: skip
    objects = Objects()
    kinds = {b"commit": objects.commits, b"tag": objects.tags, b"blob": objects.long_files}
    at = 0
    while at < len(listed):
        end = listed.index(b"\n", at)
        kind, name, size = listed[at:end].split(b" ")
        at = end + 1
        if kind in kinds and (kind != b"blob" or int(size) > LOOKED_AT):
            kinds[kind][name.decode()] = int(size)
    return objects


async def contents(bare: Path, sizes: Mapping[str, int]) -> AsyncIterator[list[tuple[str, bytes]]]:
    """Ids and bytes of these objects, so many at a time as `BATCH` allows."""
    for batch in _batches(sizes):
        data = await answer(
            "cat-file", "--batch", "--buffer", within=bare, stdin=_lines(batch), seconds=600,
            output=sum(sizes[name] for name in batch) + 200 * len(batch),
        )  # fmt: skip
        yield list(_split(data))


async def with_a_zero_byte(bare: Path, names: Iterable[str]) -> frozenset[str]:
    """Those of these objects that hold one. Nothing of them is kept in memory."""
    heard = _ZeroBytes()
    asked = _lines(names)
    if asked:
        await answer(
            "cat-file", "--batch", "--buffer", within=bare, stdin=asked, seconds=600,
            on_bytes=heard.hear,
        )  # fmt: skip
    return frozenset(heard.found)


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _batches(sizes: Mapping[str, int]) -> Iterable[list[str]]:
    batch: list[str] = []
    room = BATCH
    for name, size in sizes.items():
        if batch and size > room:
            yield batch
            batch, room = [], BATCH
        batch.append(name)
        room -= size
    if batch:
        yield batch


def _split(data: bytes) -> Iterable[tuple[str, bytes]]:
    """Object ids and bytes of `git cat-file --batch`."""
    at = 0
    while at < len(data):
        end = data.index(b"\n", at)
        name, _, size = data[at:end].split(b" ")
        at = end + 1 + int(size)
        yield name.decode(), data[end + 1 : at]
        at += 1


class _ZeroBytes:
    """Hears `git cat-file --batch`, in pieces of any length."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._head, self._name, self._left = b"", "", 0

    def hear(self, piece: bytes) -> None:
        at = 0
        while at < len(piece):
            if self._left:
                end = min(at + self._left, len(piece))
                if piece.find(b"\0", at, end) >= 0:
                    self.found.add(self._name)
                self._left -= end - at
                at = end
                continue
            line, ended, _ = piece[at : at + 200].partition(b"\n")
            self._head += line
            at += len(line) + len(ended)
            if ended:
                name, _, size = self._head.split(b" ")
                self._name, self._left, self._head = name.decode(), int(size) + 1, b""
