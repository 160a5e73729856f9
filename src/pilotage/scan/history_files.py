"""The files of a history that a log does not show as text, or not all of them.

Of what git calls binary (a zero byte at its beginning) `git log -p` says only that it differs.
Where the first zero byte comes later it prints all, and letters with zero bytes between them are
no word to anybody: of such a file, the lines that have one are text besides, each where it was.
"""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pilotage.domain.scan import Unread
from pilotage.domain.text import visible
from pilotage.scan.encoding import as_text
from pilotage.scan.git import answer
from pilotage.scan.history_objects import Objects, contents, with_a_zero_byte
from pilotage.scan.history_page import Page, name

LOG = ("--full-history", "--all", "--diff-filter=d", "--diff-merges=first-parent",
       "--no-textconv", "--no-ext-diff")  # fmt: skip
"""Which changes of a history are looked at: those that merges brought too, and every branch."""
LARGEST = 32 << 20
MOST = 256 << 20
"""Bytes of one file, and of all, that are made text."""
_PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf",
           b"Rar!")  # fmt: skip
_WORD = re.compile(rb"[^\0]+")
_COMMIT = re.compile(rb"\s*commit ([0-9a-f]{40,64})")
_RAW = re.compile(rb"\s*:\d+ (\d+) [0-9a-f]+ ([0-9a-f]+) \w+")
_COUNTS = re.compile(rb"\s*(-|\d+)\t(?:-|\d+)\t(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Blob:
    """A file of the past: the first commit that holds it, its path there, and whether all of it
    has to be made text."""

    commit: str
    path: bytes
    binary: bool

    def unread(self, why: str) -> Unread:
        return Unread(
            visible(self.path.decode("utf-8", "replace")), f"{why}, in {self.commit[:12]}"
        )


async def strange_files(bare: Path, objects: Objects, page: Page) -> tuple[int, list[Unread]]:
    """Write the text of them to `page`. Returns how many there are, and what could not be made
    text or says nothing so. May raise GitFailed."""
    zeros = await with_a_zero_byte(bare, objects.long_files)
    listed = await answer(
        "log", *LOG, "--raw", "--numstat", "-z", "--no-abbrev", "--no-renames",
        "--format=commit %H", within=bare, seconds=600, output=1 << 30,
    )  # fmt: skip
    blobs = _strange(listed, zeros)
    if not blobs:
        return 0, []
    names = "\n".join(blobs).encode() + b"\n"
    told = await answer(
        "cat-file", "--batch-check=%(objectname) %(objectsize)", within=bare, stdin=names
    )
    fits, unread = _that_fit(told, blobs)
    async for batch in contents(bare, fits):
        unread += [
            blobs[each].unread("an archive; what is packed inside was not searched")
            for each, data in batch
            if data.startswith(_PACKED)
        ]
        await page.add(await to_thread(list, _texts(batch, blobs)))
    return len(fits), unread


def _strange(listed: bytes, zeros: Collection[str]) -> dict[str, _Blob]:
    """By object id: what `--numstat` gives no lines for ("-"), and what holds a zero byte further
    on; the oldest place of each."""
    found: dict[str, _Blob] = {}
    commit, written = "", dict[bytes, str]()
    words = (match[0] for match in _WORD.finditer(listed))
    for word in words:
        if head := _COMMIT.fullmatch(word):
            commit, written = head[1].decode(), {}
        elif raw := _RAW.fullmatch(word):
            written[next(words)] = raw[2].decode() if raw[1] != b"160000" else ""
        elif counts := _COUNTS.fullmatch(word):
            each, binary = written.get(counts[2], ""), counts[1] == b"-"
            if each and (binary or each in zeros):  # the log goes back in time
                before = found.get(each)
                found[each] = _Blob(commit, counts[2], binary or bool(before and before.binary))
    return found


def _that_fit(told: bytes, blobs: Mapping[str, _Blob]) -> tuple[dict[str, int], list[Unread]]:
    """The smallest first, as far as the room goes."""
    pairs = [line.split() for line in told.splitlines()]
    fits, unread, room = dict[str, int](), list[Unread](), MOST
    for size, each in sorted((int(size), each.decode()) for each, size in pairs):
        room -= size
        if size > LARGEST or room < 0:
            kind = "binary" if blobs[each].binary else "in more than one encoding"
            unread.append(blobs[each].unread(f"{kind}, and too large to be searched as text"))
        else:
            fits[each] = size
    return fits, unread


def _texts(
    batch: list[tuple[str, bytes]], blobs: Mapping[str, _Blob]
) -> Iterator[tuple[bytes, bytes]]:
    for each, data in batch:
        blob = blobs[each]
        if not blob.binary:
            data = b"\n".join(line if b"\0" in line else b"" for line in data.split(b"\n"))
        yield name(blob.commit, "file", blob.path), as_text(data)
