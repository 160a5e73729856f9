"""What git calls binary in a history, as text in a commit of its own, so that it is searched.

`git log -p` says of such a file only that it differs: a key in UTF-16, or after a zero byte, would
never be seen. Here each is written as `<commit>/<path>`, its zero bytes left out, to one more
commit of the bare repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pilotage.domain.scan import Unread
from pilotage.domain.text import visible
from pilotage.scan.git import failure, git
from pilotage.scan.plain import as_utf8

LOG = ("--full-history", "--all", "--diff-filter=d", "--diff-merges=first-parent",
       "--no-textconv", "--no-ext-diff")  # fmt: skip
"""Which changes of a history are looked at: those that merges brought too, and every branch."""
PLACE = re.compile(r"(?P<commit>[0-9a-f]{40,64})/(?P<path>.+)", re.DOTALL)
"""How a file of the past is called in the commit that holds them as text."""
REF = "refs/pilotage/binaries"
LARGEST = 32 << 20
MOST = 256 << 20
"""Bytes of one file, and of all, that are made text."""
_PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf",
           b"Rar!")  # fmt: skip
_COMMIT = re.compile(rb"\s*commit ([0-9a-f]{40,64})\Z")
_RAW = re.compile(rb"\s*:\d+ (\d+) [0-9a-f]+ ([0-9a-f]+) \w+\Z")


@dataclass(frozen=True, slots=True)
class _Blob:
    """A file of the past: the first commit that holds it, and its path there."""

    commit: str
    path: bytes

    def unread(self, why: str) -> Unread:
        return Unread(
            visible(self.path.decode("utf-8", "replace")), f"{why}, in {self.commit[:12]}"
        )


async def searchable(bare: Path) -> tuple[tuple[str, ...], tuple[Unread, ...]]:
    """Write the text of the history's binary files to `bare`. Returns notes, and what could not
    be made text."""
    where = ("--git-dir", str(bare))
    listed = await git(
        *where, "log", *LOG, "--raw", "--numstat", "-z", "--no-abbrev", "--no-renames",
        "--format=commit %H", seconds=600, output=1 << 30,
    )  # fmt: skip
    if why := failure(listed):
        return (), (Unread(".git", f"its binary files could not be listed: {visible(why)}"),)
    blobs = _binaries(listed.stdout)
    if not blobs:
        return (), ()
    names = "\n".join(blobs).encode() + b"\n"
    sizes = await git(*where, "cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=names)
    fits, unread = _that_fit(sizes.stdout, blobs)
    contents = await git(
        *where, "cat-file", "--batch", stdin="".join(f"{name}\n" for name in fits).encode(),
        seconds=600, output=2 * MOST,
    )  # fmt: skip
    why = failure(sizes) or failure(contents)
    if not why:
        whole, packed = _commit(_split(contents.stdout), blobs)
        unread += packed
        written = await git(*where, "fast-import", "--quiet", "--force", stdin=whole, seconds=600)
        why = failure(written)
    if why:
        unread.append(Unread(".git", f"its binary files could not be read: {visible(why)}"))
    many = f"{len(fits)} binary files of the past were"
    what = "1 binary file of the past was" if len(fits) == 1 else many
    return (f"history: {what} searched as text",), tuple(unread)


def _binaries(listed: bytes) -> dict[str, _Blob]:
    """By object id: what `--numstat` gives no lines for ("-"), the oldest place of each."""
    found: dict[str, _Blob] = {}
    commit, written = "", dict[bytes, str]()
    words = iter(listed.split(b"\0"))
    for word in words:
        if head := _COMMIT.match(word):
            commit, written = head[1].decode(), {}
        elif raw := _RAW.match(word):
            written[next(words)] = raw[2].decode() if raw[1] != b"160000" else ""
        elif word.lstrip().startswith(b"-\t-\t"):
            path = word.lstrip().split(b"\t", 2)[2]
            if name := written.get(path):
                found[name] = _Blob(commit, path)  # the log goes back in time
    return found


def _that_fit(sizes: bytes, blobs: Mapping[str, _Blob]) -> tuple[list[str], list[Unread]]:
    """The smallest first, as far as the room goes."""
    pairs = [line.split() for line in sizes.splitlines()]
    fits, unread, room = list[str](), list[Unread](), MOST
    for size, name in sorted((int(size), name.decode()) for name, size in pairs):
        room -= size
        if size > LARGEST or room < 0:
            unread.append(blobs[name].unread("binary, and too large to be searched as text"))
        else:
            fits.append(name)
    return fits, unread


def _split(contents: bytes) -> Iterator[tuple[str, bytes]]:
    """Object ids and bytes of `git cat-file --batch`."""
    at = 0
    while at < len(contents):
        end = contents.index(b"\n", at)
        name, _, size = contents[at:end].split(b" ")
        at = end + 1 + int(size)
        yield name.decode(), contents[end + 1 : at]
        at += 1


def _commit(
    files: Iterable[tuple[str, bytes]], blobs: Mapping[str, _Blob]
) -> tuple[bytes, list[Unread]]:
    """What `git fast-import` makes one commit of, and archives, whose bytes say nothing."""
    who = b"pilotage <pilotage@localhost> 0 +0000"
    parts = [b"commit %s\ncommitter %s\ndata 0\n" % (REF.encode(), who)]
    packed = []
    for name, data in files:
        blob = blobs[name]
        if data.startswith(_PACKED):
            packed.append(blob.unread("an archive; what is packed inside was not searched"))
        text = as_utf8(data).replace(b"\0", b"")
        path = _quoted(blob.commit.encode() + b"/" + blob.path)
        parts.append(b"M 100644 inline %s\ndata %d\n" % (path, len(text)))
        parts += [text, b"\n"]
    return b"".join(parts), packed


def _quoted(path: bytes) -> bytes:
    return b'"%s"' % b"".join(b"\\%03o" % byte if byte < 32 or byte in b'"\\' else b"%c" % byte
                              for byte in path)  # fmt: skip
