"""News of a scan while it runs: which scanner runs, for how long, what is done, what was found."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType

from pilotage.domain.call import Outcome, Progress, Report
from pilotage.domain.scan import ScannerRun
from pilotage.domain.text import counted, visible

EVERY = 2.0
"""Seconds between two lines about what still runs."""


class Watch:
    """Tells `report` of each start and end, and every two seconds of what runs meanwhile.

    `total` is the number of passes. Use it as a context inside a running loop.
    """

    def __init__(self, report: Report, total: int) -> None:
        self._report, self._total = report, total
        self._running: dict[str, float] = {}
        self._done = self._findings = 0
        self._beat: asyncio.Task[None] | None = None

    def __enter__(self) -> Watch:
        self._beat = asyncio.create_task(self._tell_of_running())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._beat is not None:
            self._beat.cancel()

    def report(self, news: Progress) -> None:
        """News of somebody else (an installation), with the count of this scan."""
        self._report(Progress(news.message, self._done, self._total))

    def started(self, scanner: str, pass_name: str) -> None:
        self._running[f"{scanner} {pass_name}"] = time.monotonic()
        self._tell(f"{scanner} {pass_name}: runs")

    def done(self, run: ScannerRun) -> None:
        self._running.pop(f"{run.scanner} {run.pass_name}", None)
        self._done += 1
        self._findings += len(run.findings)
        self._tell(f"{run.scanner} {run.pass_name}: {ending(run)}")

    def _tell(self, message: str) -> None:
        self._report(Progress(message, self._done, self._total))

    async def _tell_of_running(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(EVERY)
                if self._running:
                    now = time.monotonic()
                    names = [f"{n} {now - since:.0f} s" for n, since in self._running.items()]
                    self._tell(
                        f"running: {', '.join(names)} · {self._done} of {self._total} done · "
                        f"{counted(self._findings, 'finding')}"
                    )


def ending(run: ScannerRun) -> str:
    """How a run ended, in a few words."""
    if run.outcome is not Outcome.SUCCEEDED:
        return f"{run.outcome.value.replace('_', ' ')}: {visible(run.why)[:200]}"
    unread = f", {counted(len(run.unread), 'file')} unread" if run.unread else ""
    found = counted(len(run.findings), "finding")
    return f"{run.seconds:.1f} s, {found}{unread}"
