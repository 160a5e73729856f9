"""A tool that somebody registered while the server runs: what it is, and whose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.errors import BadInput
from pilotage.domain.pattern import pattern

NAME_LIMIT = 45
OWNER_LIMIT = 250
RESERVED = frozenset(("call", "call_tool", "search_tools"))
"""Words that stand where a tool's name does in the paths of the management API."""
OWNERS_OF_OURS = frozenset(("settings", "pilotage"))
"""The owner of what the settings file names, and the house: whoever registered something as theirs
would hold the pins of their tools, which go when a registration does."""
_NAME = pattern(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,43}[A-Za-z0-9])?")
_PLAIN_KIND = pattern(r"(?!(?i:key|local)$)[A-Za-z0-9_./-]*")
_GENERATION = pattern(r"(?P<holder>.+/.+)/(?P<number>[0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Registration:
    """One registered tool, or one source of tools. Times are Unix microseconds.

    `tool_id` is a ULID that stays while the registration does; `by` is the principal who made it;
    `kind` says which binder makes tools of `definition`, a JSON object without secrets.
    `disabled_by` is the principal who disabled it, "" while it is enabled.
    """

    tool_id: str
    name: str
    owner: str
    by: str
    kind: str
    definition: Mapping[str, Any]
    enabled: bool
    created: int
    changed: int
    disabled_by: str = ""

    @property
    def disabled_by_its_own(self) -> bool:
        """By who registered it, or a principal of the owner's name."""
        return self.disabled_by in ("", self.by, self.holder)

    @property
    def etag(self) -> str:
        """Changes whenever something that is said of it does (not quoted)."""
        said = [self.tool_id, self.owner, self.kind, self.definition, self.enabled]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def holder(self) -> str:
        """The owner without its generation."""
        return holder(self.owner)


def holder(owner: str) -> str:
    """The part of `cluster/uid/generation` that stays: an owner whose last part is a number is the
    same owner with any other number there, and a smaller number comes too late."""
    found = _GENERATION.fullmatch(owner)
    return found["holder"] if found else owner


def generation(owner: str) -> int:
    """The number at the end of the owner, 0 where it has none."""
    found = _GENERATION.fullmatch(owner)
    return int(found["number"]) if found else 0


def check_name(name: str) -> None:
    """Names go through clients that know letters, digits and _ . - only, and are short in the
    context of a model."""
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise BadInput(
            f"{name[:100]!r} is no name for a tool",
            f"1 to {NAME_LIMIT} letters, digits and _ . -, such as tickets_search",
        )


def check_owner_text(owner: str) -> None:
    """Free text on one line, such as a principal's name or cluster/uid/generation."""
    if owner.strip().lower() in OWNERS_OF_OURS:
        raise BadInput(f"the owner {owner.strip()!r} is ours", "leave it out, or name another")
    kind, colon, _ = owner.partition(":")
    if colon and kind not in ("key", "local") and not _PLAIN_KIND.fullmatch(kind):
        raise BadInput(f"the owner {owner[:100]!r} looks like a principal, and is none", "key:NAME")
    if owner != owner.strip() or not owner or len(owner) > OWNER_LIMIT or not owner.isprintable():
        raise BadInput(
            "that is no owner", f"1 to {OWNER_LIMIT} characters, such as cluster/uid/generation"
        )
