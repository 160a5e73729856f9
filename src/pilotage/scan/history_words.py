"""The words of a history: the messages of its commits and tags, who made them, what else they say.

What is said often ("Merge branch main") is there once, for the oldest commit that says it.
"""

from __future__ import annotations

import re
from asyncio import to_thread
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from pilotage.domain.scan import Unread
from pilotage.domain.text import counted
from pilotage.scan.encoding import as_text
from pilotage.scan.history_objects import Objects, contents
from pilotage.scan.history_page import Page, name

MOST = 500_000
"""Commits and tags whose words are made text."""
MOST_BYTES = 256 << 20
LARGEST = 8 << 20
"""Bytes of all of them, and of one."""
_PERSON = re.compile(rb"(?:author|committer|tagger) (.*?)(?: (-?\d+) [-+]\d+)?")
_TAG = re.compile(rb"[^/.\0- \x7f][^/\0- \x7f]{,200}(?:/[^/.\0- \x7f][^/\0- \x7f]{,200})*")
"""What git allows as the name of a tag, more or less; in an object may be anything."""
_LINK = re.compile(rb"(tree|parent|object) ([0-9a-f]{40,64})|(type) (commit|tree|blob|tag)")
_KINDS = {"commit": ("message", "people", "header"), "tag": ("tag", "tagger", "taghead")}


async def words_of(bare: Path, objects: Objects, page: Page) -> list[Unread]:
    """Write them to `page`. Returns what was too much."""
    known: set[bytes] = set()
    left: list[Unread] = []
    for sort, sizes in (("tag", objects.tags), ("commit", objects.commits)):
        fits, over = _that_fit(sizes)
        if over:
            why = f"the words of {counted(over, sort)} are more than is searched"
            left.append(Unread(".git", why))
        async for batch in contents(bare, fits):
            await page.add(await to_thread(list, _texts(sort, batch, known)))
    return left


def _that_fit(sizes: dict[str, int]) -> tuple[dict[str, int], int]:
    """As many as there is room for, the last in the pack first: it begins with the newest."""
    fits, room = dict[str, int](), MOST_BYTES
    for each, size in reversed(sizes.items()):
        if size <= min(room, LARGEST) and len(fits) < MOST:
            fits[each] = size
            room -= size
    return fits, len(sizes) - len(fits)


def _texts(
    sort: str, batch: list[tuple[str, bytes]], known: set[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    for own, data in batch:
        head, _, message = data.partition(b"\n\n")
        people, others, links = _read(head)
        commit, path = own, b""
        if sort == "tag":
            tag = _TAG.fullmatch(links.get(b"tag", b""))
            path = own.encode() + b"/" + (tag[0] if tag else b"?")
            if links.get(b"type") == b"commit":
                commit = links[b"object"].decode()
        said = (message, b"\n".join(dict.fromkeys(people)), b"\n".join(others))
        for kind, text in zip(_KINDS[sort], said, strict=True):
            key = blake2b(kind.encode() + text, digest_size=16).digest()
            if text.strip() and key not in known:
                known.add(key)
                named = path if kind != "taghead" else own.encode()
                yield name(commit, kind, named), as_text(text)


def _read(head: bytes) -> tuple[list[bytes], list[bytes], dict[bytes, bytes]]:
    """Who made it; what else is said (a signature, the name of a tag, what is of other programs);
    the first line of each word."""
    people, others, links = list[bytes](), list[bytes](), dict[bytes, bytes]()
    for line in head.split(b"\n"):
        word, _, rest = line.partition(b" ")
        if person := _PERSON.fullmatch(line):
            people.append(person[1])
            continue
        if not _LINK.fullmatch(line):
            others.append(line)
        links.setdefault(word, rest)
    return people, others, links
