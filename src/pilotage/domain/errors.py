"""Errors that say what happened and what to do next. They never hold a secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PilotageError(Exception):
    """`what` names the thing that is wrong, `hint` the mend.

    `status` is the HTTP status a door answers with when nothing has run yet;
    `exit` is the exit code of the command line (2: the caller can mend it, 3: nothing can be said
    now, the same again may do, 4: our bug).
    """

    status = 500
    exit = 4

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})" if self.hint else self.what


class BadInput(PilotageError):
    """Arguments, a file or a flag that cannot be used as given."""

    status = 400
    exit = 2


class Unauthenticated(PilotageError):
    """No key, an unknown key, an expired or a revoked one."""

    status = 401
    exit = 2


class Denied(PilotageError):
    """Known, but not allowed: the policy, a role, a tool glob or a root says no."""

    status = 403
    exit = 2

    @classmethod
    def to_manage(cls, name: str, action: str) -> Denied:
        """No role of theirs lists `action` under `manage`."""
        hint = "a key of a role that does is needed: `pilotage policy show` says what each manages"
        return cls(f"no role of {name} allows {action}", hint)


class NeedsApproval(Denied):
    """A person must approve this very call before it runs. `approval`: its id, its state, how many
    are needed and have approved, and when it expires (Unix seconds)."""

    exit = 5

    def __init__(self, what: str, hint: str, approval: Mapping[str, Any]) -> None:
        super().__init__(what, hint)
        self.approval = approval


class Quarantined(Denied):
    """A tool that is not what was approved."""


class NotFound(PilotageError):
    """Names something that is not there."""

    status = 404
    exit = 2


class Conflict(PilotageError):
    """Somebody else holds it, or it has moved on."""

    status = 409
    exit = 2


class Stale(PilotageError):
    """It is not what the caller thinks it is (If-Match)."""

    status = 412
    exit = 2


class TooLarge(PilotageError):
    """Over a stated limit."""

    status = 413
    exit = 2


class Busy(PilotageError):
    """A bounded queue is full, or a limit is reached: try again in `retry_after` seconds."""

    status = 429
    exit = 3

    def __init__(self, what: str, hint: str = "", retry_after: float = 1.0) -> None:
        super().__init__(what, hint)
        self.retry_after = retry_after


class Unavailable(PilotageError):
    """A part that the work needs is not there or cannot be reached."""

    status = 503
    exit = 3
