"""A running server follows the files of its policy; one that is broken changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pilotage.domain.errors import PilotageError
from pilotage.policy.policy import Policy, load_rules

logger = logging.getLogger(__name__)
Stamp = tuple[tuple[int, int, int] | None, ...]
Tell = Callable[[str, Mapping[str, Any]], None]
"""Takes an event, policy.changed or policy.broken, and what is to be said of it."""


class Reload:
    """`files` are the roles and the rules in Cedar; either may come and go."""

    def __init__(self, policy: Policy, files: tuple[Path, Path], tell: Tell) -> None:
        self._policy, self._files, self._tell = policy, files, tell
        self._taken = self._last = self._stamp()

    def look(self) -> None:
        """Take files that have changed and then stood still from one look to the next: half a file
        may read well and say something else. To be called once a second, not more often."""
        stamp = self._stamp()
        still, self._last = stamp == self._last, stamp
        if stamp == self._taken or not still:
            return
        before = self._policy.version
        try:
            roles, rules = (file if file.exists() else None for file in self._files)
            new = load_rules(roles, rules)
        except PilotageError as error:
            logger.error("the policy stays as it was: %s", error)
            self._tell("policy.broken", {"error": str(error)})
        else:
            if self._stamp() != stamp:
                return
            self._policy.take(new)
            logger.info("the policy is now version %s", new.version)
            self._tell("policy.changed", {"before": before, "after": new.version})
        self._taken = stamp

    def _stamp(self) -> Stamp:
        return tuple(map(_stamp, self._files))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino
