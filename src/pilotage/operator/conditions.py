"""Conditions of a status: what is said, of which generation, and since when. Pure.

As the API conventions have it: status True, False or Unknown; a reason in CamelCase for programs,
a message for people; lastTransitionTime moves only when the status does.
Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.text import cut

MESSAGE_LIMIT = 4_000
READY = "Ready"
TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is said of an object. `reason` is one word in CamelCase."""

    type: str
    status: str
    reason: str
    message: str = ""


def written(
    said: Iterable[Condition], old: Iterable[Mapping[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    """The conditions as the status holds them. One whose status is what it was keeps its time, so
    that saying the same again changes nothing. `now` as RFC 3339, in UTC, to the second."""
    before = {one["type"]: one for one in old}
    return [_written(one, before.get(one.type), generation, now) for one in said]


def _written(
    one: Condition, before: Mapping[str, Any] | None, generation: int, now: str
) -> dict[str, Any]:
    since = now
    if before is not None and before.get("status") == one.status:
        since = before.get("lastTransitionTime", now)
    return {
        "type": one.type,
        "status": one.status,
        "reason": one.reason,
        "message": cut(one.message, MESSAGE_LIMIT),
        "observedGeneration": generation,
        "lastTransitionTime": since,
    }


def find(status: Mapping[str, Any], type: str) -> Mapping[str, Any] | None:
    """The condition of that type that a status holds."""
    return next((one for one in status.get("conditions", ()) if one["type"] == type), None)


def turned(old: Mapping[str, Any] | None, new: Condition) -> bool:
    """Is this news: another status, or another reason? Only then is there an event."""
    return old is None or (old["status"], old["reason"]) != (new.status, new.reason)
