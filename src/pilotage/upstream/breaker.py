"""When to stop asking a server that does not answer, and when to try again.

Only failures of the transport count: refused, reset, broken off, no JSON-RPC. An error that the
server itself sends is an answer, so a tool that fails says nothing about its server.
"""

from __future__ import annotations

import random

THRESHOLD = 3
FIRST_SECONDS = 0.5
LAST_SECONDS = 30.0


class Breaker:
    """Closed: calls go through. Open (`why` is not ""): none does, until a probe succeeds."""

    def __init__(self, threshold: int = THRESHOLD) -> None:
        self._threshold = threshold
        self._failures = 0
        self._opened = 0
        self.why = ""

    def succeeded(self) -> None:
        """The server answered a call: whatever it said, it is there. An open breaker stays open: it
        may be an answer of before, and who probes puts the tools back."""
        if not self.why:
            self._failures = 0

    def close(self) -> None:
        """A probe succeeded."""
        self._failures = self._opened = 0
        self.why = ""

    def failed(self, why: str) -> bool:
        """The transport failed. True where this opened the breaker."""
        self._failures += 1
        if self.why or self._failures < self._threshold:
            return False
        self.open(why)
        return True

    def open(self, why: str) -> None:
        """At once, as a failed probe or a lost connection tells."""
        self.why = why
        self._opened += 1

    def pause(self) -> float:
        """Seconds until the next probe: twice as long each time it was in vain, and spread, so that
        many of us do not come back at once."""
        whole = min(LAST_SECONDS, FIRST_SECONDS * 2.0 ** min(max(0, self._opened - 1), 10))
        return whole * random.uniform(0.5, 1.0)
