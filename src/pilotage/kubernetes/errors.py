"""What the API server refuses, by kind of refusal. `reason` is the word of its Status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pilotage.domain.errors import PilotageError


class ApiError(PilotageError):
    """A refusal. `status` is its HTTP status, `reason` the API's word for it, `details` what the
    Status object says of its causes, `retry_after` the seconds that the server wants us to wait."""

    exit = 3

    def __init__(
        self,
        what: str,
        hint: str = "",
        *,
        status: int = 500,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what, hint)
        self.status, self.reason = status, reason
        self.details, self.retry_after = details or {}, retry_after


class Unreachable(ApiError):
    """No answer, half an answer, or none in time. Whether a write was done is not known."""


class BadRequest(ApiError):
    """400: the request makes no sense to it; an unknown field, say."""


class Unauthorized(ApiError):
    """401: the credential is not accepted, or not any more."""


class Forbidden(ApiError):
    """403: the account may not do this (RBAC), or admission says no."""


class NotFound(ApiError):
    """404: no such object, or no such resource."""


class Conflict(ApiError):
    """409: it has changed meanwhile, or a field belongs to another manager."""


class AlreadyExists(Conflict):
    """409: there is one of this name."""


class Gone(ApiError):
    """410: this resourceVersion or continue token is too old."""


class Invalid(ApiError):
    """422: the object breaks its schema or a rule."""


class TooManyRequests(ApiError):
    """429: the server sheds load, or a disruption budget says no."""


_KINDS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}
_HINTS = {
    400: "mend what it names",
    401: "its token or certificate has expired or belongs to another cluster",
    403: "bind a Role that allows it to this account; `kubectl auth can-i --list` shows its rights",
    409: "read the object again and make the change on what it is now",
    410: "list again",
    422: "mend the fields that it names",
    429: "try again later",
}
_NO_RESOURCE = ("the server could not find the requested resource", "404 page not found")
_KEPT = 2_000
"""Characters kept of an answer that is not a Status: a proxy's page, say."""


def refusal(status: int, body: bytes, asked: str, retry_after: str | None = None) -> ApiError:
    """The error for an answer. `asked` says what was asked, for answers that do not."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = None
    if not isinstance(told, dict) or told.get("kind") != "Status":
        text = body[:_KEPT].decode("utf-8", "replace").strip()
        told = {"message": text or f"HTTP {status} without a word"}
    return of_status(told, asked, status, retry_after)


def of_status(
    told: Mapping[str, Any], asked: str, status: int = 0, retry_after: str | None = None
) -> ApiError:
    """The error for a Status object, as answers and watches bring it."""
    status = int(told.get("code") or status or 500)
    reason, details = str(told.get("reason") or ""), told.get("details") or {}
    message = str(told.get("message") or reason or f"HTTP {status}")
    seconds = retry_after or details.get("retryAfterSeconds")
    kind, hint = _KINDS.get(status, ApiError), _HINTS.get(status, "see the API server's log")
    if reason == "AlreadyExists":
        kind, hint = AlreadyExists, "take another name, or change the one that is there"
    elif status == 404:
        missing = message.startswith(_NO_RESOURCE)
        hint = (
            "is its CRD installed? see `kubectl api-resources`" if missing else "look at its name"
        )
    elif status == 409 and "conflict" in message and details.get("causes"):
        hint = "another manager owns these fields; force the apply to take them over"
    return kind(
        f"{asked}: {message}",
        hint,
        status=status,
        reason=reason,
        details=details,
        retry_after=_seconds(seconds),
    )


def _seconds(given: object) -> float | None:
    try:
        return max(0.0, float(str(given)))
    except ValueError:
        return None
