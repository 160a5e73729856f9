"""The edge: does what a platform's functions say, in the job at hand."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator
from typing import TextIO

from pilotage.ci.guard import quiet, unguarded
from pilotage.ci.platform import Ability, Act, Acts, Append, Env, Platform
from pilotage.domain.errors import Unavailable

_CUT = "\n\n(Cut here: this summary is longer than the {limit:,} bytes that may be shown.)\n"


class Job:
    """One step of a job. What it prints goes past the guard; untrusted text goes through `show`."""

    def __init__(self, platform: Platform, env: Env, out: TextIO | None = None) -> None:
        self.platform, self.env, self._out = platform, env, out
        self._in_group = False

    def can(self, ability: Ability) -> bool:
        return ability in self.platform.abilities

    def mask(self, secret: str) -> None:
        """From now on the runner shows `***` for it. Where it cannot, nothing happens: do not print
        what you would have masked."""
        if self.can(Ability.MASK):
            self.act(self.platform.mask(secret))

    @contextlib.contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold what is printed inside. A group inside a group is a plain line: no runner nests."""
        if self._in_group:
            self.show(title + "\n")
            yield
            return
        self.act(self.platform.open_group(title))
        self._in_group = True
        try:
            yield
        finally:
            self._in_group = False
            self.act(self.platform.close_group())

    def show(self, text: str) -> None:
        """Print text that a repository or a tool wrote: quiet, and fenced where there is a fence.

        The token of the fence is made here and printed after the text is known, so the text cannot
        hold it."""
        text = quiet(text)
        text += "" if text.endswith("\n") else "\n"
        before, after = self.platform.fence(uuid.uuid4().hex)
        out = self._stream()
        for act in before:
            _do(act, out)
        out.write(text)
        for act in after:
            _do(act, out)
        out.flush()

    def act(self, acts: Acts) -> None:
        """Do them in order. A file that cannot be written is `Unavailable`."""
        out = self._stream()
        for act in acts:
            _do(act, out)
        out.flush()

    def _stream(self) -> TextIO:
        return unguarded(self._out or sys.stdout)


def _do(act: Act, out: TextIO) -> None:
    if isinstance(act, Append):
        _append(act)
    else:
        out.write(act.text)


def _append(act: Append) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if act.create else 0)
    try:
        with open(os.open(act.file, flags, 0o600), "ab") as file:
            data = act.text.encode("utf-8", "replace")
            if act.limit is not None:
                data = _within(data, act.limit - file.seek(0, os.SEEK_END), act.limit)
            file.write(data)
    except OSError as error:
        raise Unavailable(
            f"{act.file} cannot be written: {error.strerror}", "the runner makes this file"
        ) from None


def _within(data: bytes, room: int, limit: int) -> bytes:
    """At most `room` bytes, cut at the end of a line, an open code block closed, and said."""
    if len(data) <= room:
        return data
    note = _CUT.format(limit=limit).encode()
    kept = data[: max(0, room - len(note) - 5)]
    kept = kept[: kept.rfind(b"\n") + 1]
    fences = sum(line.startswith(b"```") for line in kept.split(b"\n"))
    closed = kept + (b"```\n" if fences % 2 else b"") + note
    return closed if len(closed) <= room else b""
