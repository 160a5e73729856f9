"""Whatever our process prints in a CI job cannot be read by the runner as a command.

A runner reads both output streams line by line and obeys what looks like a command. What we print
quotes repositories and tools. So inside a CI job both streams are guarded from the start, and only
`job.py` writes past the guard.

What is obeyed, by source: GitHub `::name ...::` after leading white space, and `##[name ...]`
anywhere in a line (actions/runner src/Runner.Common/ActionCommand.cs); act both at the start of a
line (nektos/act pkg/runner/command.go); Azure `##vso[...]` anywhere; TeamCity `##teamcity[...]`.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import stat
import sys
from collections.abc import Mapping
from typing import Any, TextIO, cast

_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_BLANK = (
    r"[\x00-\x09\x0e-\x1b\x1f\x20\x7f\xa0\xad\u1680\u180e"
    r"\u2000-\u200f\u202f\u205f\u2060\u3000\ufeff]"
)
_LINE_COMMAND = re.compile(rf"((?:^|[{_ENDS}]){_BLANK}*:)(?=:)")
_INLINE_COMMAND = re.compile(r"(##\w*)(?=\[)")
_REMEMBERED = 256
_CI = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "GITLAB_CI", "JENKINS_URL", "TEAMCITY_VERSION")


def quiet(text: str) -> str:
    """The text with a space put into whatever a runner would obey; all else is as it was."""
    return _INLINE_COMMAND.sub(r"\1 ", _LINE_COMMAND.sub(r"\1 ", text))


class Guarded(io.TextIOBase):
    """A text stream that is `quiet`, also where a command is written in pieces.

    The space always goes before the last character of a command's start, so it lies in the piece
    at hand whatever was written before. `raw` is the stream behind.
    """

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw
        self._line = ""

    def write(self, text: str, /) -> int:
        before = self._line
        done = quiet(before + text)
        self.raw.write(done[len(before) :])
        self._line = _rest_of_line(done)
        return len(text)

    def flush(self) -> None:
        self.raw.flush()

    def isatty(self) -> bool:
        return self.raw.isatty()

    def fileno(self) -> int:
        return self.raw.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.raw.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.raw.errors

    @property
    def buffer(self) -> _Bytes:
        return _Bytes(self)


class _Bytes(io.RawIOBase):
    """The binary side of a guarded stream, which is guarded as well."""

    def __init__(self, text: Guarded) -> None:
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: Any, /) -> int:
        self._text.write(self._decoder.decode(bytes(data)))
        return len(data)

    def flush(self) -> None:
        self._text.flush()

    def writable(self) -> bool:
        return True


def _rest_of_line(text: str) -> str:
    """What the next piece may complete: a blank start of a line, or the tail of a line.

    A tail that is not the line's start gets a letter put before it, so that it is not taken for it.
    """
    line = text[max(map(text.rfind, _ENDS)) + 1 :]
    if len(line) <= _REMEMBERED:
        return line
    if re.fullmatch(rf"{_BLANK}*:?", line):
        return ":" if line.endswith(":") else ""
    return "x" + line[-_REMEMBERED:]


def install(env: Mapping[str, str]) -> None:
    """Guard both streams, where these variables are those of a CI job. One that goes to a file
    stays as it is: no runner reads it, and what is in it are data."""
    if any(env.get(name) for name in _CI):
        sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)


def _guarded(stream: TextIO) -> TextIO:
    if isinstance(stream, Guarded):
        return stream
    try:
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return stream
    except (OSError, ValueError):
        pass
    return cast("TextIO", Guarded(stream))


def unguarded(stream: TextIO) -> TextIO:
    """The stream behind a guard, with everything that was written before on its way."""
    stream.flush()
    return stream.raw if isinstance(stream, Guarded) else stream
