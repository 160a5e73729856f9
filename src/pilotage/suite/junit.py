"""JUnit XML. What is tested writes it, so it is read as if it were an attack.

A document type (the way to entities that swell or read files) is refused, depth and size are
bounded, and only what stands in test cases counts: the sums that the file gives for itself do not.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path
from xml.parsers import expat

from pilotage.suite.results import Failure, Results

LARGEST = 64 << 20
SHOWN = 100
MESSAGE = 1_000
_DEEP = 64


class Unreadable(ValueError):
    """These are no results, with the reason."""


def load(path: Path) -> Results:
    """Read a file that the tests may have replaced by a link, a pipe or a flood."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(f"{path.name}: {error.strerror}") from None
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
            raise Unreadable(f"{path.name} is no file of at most {LARGEST >> 20} MiB")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(LARGEST)
    finally:
        os.close(descriptor)
    return parse(data)


def parse(data: bytes) -> Results:
    """Count the test cases. Raises Unreadable for anything that is not JUnit XML."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Unreadable(f"this is no XML: {error}") from None
    if reader.root not in ("testsuites", "testsuite"):
        raise Unreadable(f"this is no JUnit XML: its root is {reader.root[:40]!r}")
    return Results(
        reader.counts["passed"],
        reader.counts["failed"],
        reader.counts["error"],
        reader.counts["skipped"],
        tuple(reader.failures),
    )


class _Reader:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self.root = ""
        self._depth = 0
        self._case: dict[str, str] | None = None
        self._verdict = "passed"
        self._message = ""
        self._listening = False

    def refuse(self, *_: object) -> None:
        raise Unreadable("it holds a document type, which no test report needs")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEP:
            raise Unreadable(f"it is nested more than {_DEEP} deep")
        self.root = self.root or name
        kind = {"failure": "failed", "error": "error", "skipped": "skipped"}.get(name)
        if name == "testcase":
            self._case, self._verdict, self._message = attributes, "passed", ""
        elif self._case is not None and kind:
            worst = max(self._verdict, kind, key=("passed", "skipped", "failed", "error").index)
            if worst != self._verdict:
                self._verdict, self._message = worst, attributes.get("message", "")
            self._listening = kind == self._verdict

    def text(self, data: str) -> None:
        if self._listening and len(self._message) < MESSAGE:
            self._message += ("\n" if self._message else "") + data

    def end(self, name: str) -> None:
        self._depth -= 1
        if name in ("failure", "error", "skipped"):
            self._listening = False
        if name != "testcase" or self._case is None:
            return
        self.counts[self._verdict] += 1
        if self._verdict in ("failed", "error") and len(self.failures) < SHOWN:
            self.failures.append(self._failure(self._case))
        self._case = None

    def _failure(self, case: dict[str, str]) -> Failure:
        name = "::".join(word for word in (case.get("classname"), case.get("name")) if word)
        line = case.get("line", "")
        return Failure(
            name[:300],
            self._verdict,
            self._message[:MESSAGE],
            case.get("file", "")[:300],
            int(line) if line.isdecimal() and len(line) < 9 else None,
        )
