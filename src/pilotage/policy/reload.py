"""A running server follows the files of its policy; one that is broken changes nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pilotage.domain.errors import PilotageError
from pilotage.policy.policy import Policy, Rules

logger = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
Stamp = tuple[tuple[int, int, int] | None, ...]
Tell = Callable[[str, str, Mapping[str, Any]], None]
"""Takes an event (policy.changed, policy.broken), the version that counts now, and the words."""


class Reload:
    """`load` reads the files; `tell` records what became of a change."""

    def __init__(
        self, policy: Policy, files: tuple[Path, ...], load: Callable[[], Rules], tell: Tell
    ) -> None:
        self._policy, self._files, self._load, self._tell = policy, files, load, tell
        self._taken = self._last = self._stamp()

    def look(self) -> None:
        """Take files that have changed and then stood still from one look to the next: half a file
        may read well and say something else."""
        stamp = self._stamp()
        still, self._last = stamp == self._last, stamp
        if stamp == self._taken or not still:
            return
        try:
            rules = self._load()
        except PilotageError as error:
            logger.error("the policy stays as it was: %s", error)
            self._tell("policy.broken", self._policy.version, {"error": str(error)})
        else:
            if self._stamp() != stamp:
                return
            before = self._policy.version
            self._policy.take(rules)
            logger.info("the policy is now version %s", rules.version)
            self._tell("policy.changed", rules.version, {"before": before})
        self._taken = stamp

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look each second, in a thread of its own, while this is open."""
        end = threading.Event()

        def look() -> None:
            while not end.wait(LOOK_SECONDS):
                try:
                    self.look()
                except Exception as error:
                    logger.error("the policy could not be looked at: %s", error)

        thread = threading.Thread(target=look, name="pilotage-policy", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    def _stamp(self) -> Stamp:
        return tuple(map(_stamp, self._files))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino
