"""What a terminal shows while a call runs, and a report made safe to print."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from pilotage.config import Settings
from pilotage.domain.call import Progress, Report
from pilotage.domain.text import visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

QUIET = 10.0
"""Seconds in which plain output, of which nothing is ever taken back, says the same kind of news
once: for a log, that something still runs is enough."""
NEWS = 4
"""Lines of the live area."""
_SGR = re.compile("\x1b\\[[0-9;]{0,20}m")


def rows(text: str) -> int:
    """A number of rows, for argparse: none, or less, is not what anybody asks for."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no number from 1 up")
    return int(text)


def say_local(settings: Settings, what: str) -> None:
    """That a verb works on the state folder of here, where somebody may think of the server."""
    server = settings.text("mcp.serverUrl")
    if server:
        said = f"note: the {what} of {settings.home}, and not of {server} (mcp.serverUrl)"
        print(visible(said), file=sys.stderr)


@contextmanager
def progress(stream: TextIO | None = None) -> Iterator[Report]:
    """A report that shows news on `stream` (stderr): what runs, for how long, what is done.

    On a terminal a line stays where `done` has grown, and all other news stand below in an area
    that is drawn over and goes away at the end. Elsewhere news are lines.
    """
    out = sys.stderr if stream is None else stream
    if not _live(out):
        yield _Lines(out)
        return
    from rich.console import Console  # a third of the start-up time of a verb that draws nothing
    from rich.live import Live

    console = Console(file=out, markup=False, highlight=False, emoji=False)
    area = _Area(console)
    with Live(area, console=console, refresh_per_second=8, transient=True):
        yield area.news


def show(text: str, stream: TextIO | None = None) -> None:
    """Print a report. Colours stay on a terminal whose user has not set NO_COLOR; every other
    control character is spelled out, also in what a server sent."""
    out = sys.stdout if stream is None else stream
    colour = _is_terminal(out) and not os.environ.get("NO_COLOR")
    out.write("\n".join(_safe(line, colour) for line in text.removesuffix("\n").split("\n")) + "\n")
    out.flush()


def as_json(value: Any, stream: TextIO | None = None) -> str:
    """JSON for people and programs. On a terminal, letters of any script stand as they are, and
    what it could obey or hide is escaped; elsewhere all that is not ASCII is."""
    if not _is_terminal(sys.stdout if stream is None else stream):
        return json.dumps(value, indent=2)
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(line if visible(line) == line else _escaped(line) for line in text.split("\n"))


def _escaped(line: str) -> str:
    return "".join(char if visible(char) == char else json.dumps(char)[1:-1] for char in line)


def _safe(line: str, colour: bool) -> str:
    codes = _SGR.findall(line) if colour else []
    pieces = [visible(piece) for piece in _SGR.split(line)]
    if not colour:
        return "".join(pieces).rstrip()
    return "".join(a + b for a, b in zip(pieces, [*codes, ""], strict=True))


def _live(stream: TextIO) -> bool:
    return _is_terminal(stream) and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


class _Lines:
    """News as lines. What says the same as a line of a moment ago (by its first word) is dropped,
    unless something was done since."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._done = out, 0.0
        self._said: dict[str, float] = {}

    def __call__(self, news: Progress) -> None:
        word, now = news.message.partition(" ")[0], time.monotonic()
        grown = news.done > self._done
        if not grown and now - self._said.get(word, -QUIET) < QUIET and word.endswith(":"):
            return
        self._done = max(news.done, self._done)
        self._said[word] = now
        print(f"  {_count(news)}{visible(news.message)}", file=self._out, flush=True)


class _Area:
    """The live area: the last news, how much is done, and the time since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._news: dict[str, str] = {}  # by the first word: what is newer replaces it
        self._last = Progress("")
        self._began = time.monotonic()

    def news(self, news: Progress) -> None:
        from rich.text import Text

        text = visible(news.message)
        about = text.partition(" ")[0]
        self._news.pop(about, None)
        if news.done > self._last.done:
            self._console.print(Text.assemble(("  • ", "cyan"), text), soft_wrap=True)
        else:
            self._news[about] = text
        self._last = news

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        seconds = time.monotonic() - self._began
        row = Table.grid(padding=(0, 1))
        cells: list[RenderableType] = [Spinner("dots", style="cyan"), Text(f"{seconds:.0f} s")]
        if self._last.total:
            total, done = self._last.total, self._last.done
            cells += [ProgressBar(total=total, completed=done, width=30)]
            cells += [Text(f"{done:.0f} of {total:.0f}")]
        row.add_row(*cells)
        latest = list(self._news.values())[-NEWS:]  # a copy: this is drawn in a thread
        lines = [Text(f"    {line}", "dim", no_wrap=True, overflow="ellipsis") for line in latest]
        return Group(*lines, row)


def _count(news: Progress) -> str:
    return f"[{news.done:.0f}/{news.total:.0f}] " if news.total else ""
