"""When a call must have ended. What a person takes to answer is not the tool's time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Deadline:
    """One call's. Whoever runs the call lets it `begin`; while its client is asked, the time of the
    call stands still, and that of the answer runs. `why` says which of them was over."""

    def __init__(self) -> None:
        self._timeout: asyncio.Timeout | None = None
        self._left: float | None = None
        self._questions = 0
        self.why = ""

    def begin(self, timeout: asyncio.Timeout) -> None:
        """From now on, this is the time of the call."""
        self._timeout = timeout

    @contextmanager
    def asking(self, seconds: float) -> Iterator[None]:
        """While this is open, the client is asked, and has so many seconds. Of several questions at
        once, the last one counts."""
        now = asyncio.get_running_loop().time()
        if not self._questions and self._timeout is not None:
            ends = self._timeout.when()
            self._left = None if ends is None else ends - now
        self._questions += 1
        self._move(now + seconds, f"its client did not answer within {seconds:g} s")
        try:
            yield
        finally:
            self._questions -= 1
            if not self._questions and not (self._timeout and self._timeout.expired()):
                left = self._left
                now = asyncio.get_running_loop().time()
                self._move(None if left is None else now + left, "")

    def _move(self, ends: float | None, why: str) -> None:
        if self._timeout is not None:
            with suppress(RuntimeError):  # the call has ended
                self._timeout.reschedule(ends)
                self.why = why
