"""What somebody wants of a registration, under which condition, and whether it is theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.call import Principal
from pilotage.domain.errors import Conflict, Denied, Stale
from pilotage.domain.registration import Registration, generation, holder

May = Callable[[Principal, str], bool]
"""May this principal do this action at the management API?"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to be registered. `owner` "": who asks."""

    kind: str
    definition: Mapping[str, Any]
    owner: str = ""


@dataclass(frozen=True, slots=True)
class If:
    """What must hold for a change: `match` is the etag that it has now, "*" any; `none`: it is not
    there yet."""

    match: str | None = None
    none: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What a put did: `created`, changed, or neither."""

    one: Registration
    created: bool
    changed: bool


def check_owner(old: Registration | None, owner: str, by: Principal, may: May) -> None:
    """May `by` act as `owner` on what is there? Conflict: it is another's; Denied: `by` is neither
    who registered it, nor of the owner's name, nor has `tools:own:OWNER`."""
    if old is None:
        if _is_principal(owner) and owner != by.name:
            _must_own(owner, by, may)
        return
    if holder(owner) != old.holder:
        raise Conflict(f"{old.name} is owned by {old.owner}", "choose another name")
    if generation(owner) < generation(old.owner):
        raise Conflict(f"{old.name} is of generation {generation(old.owner)} already")
    if by.name not in (old.by, old.holder):
        _must_own(old.holder, by, may)


def _must_own(owner: str, by: Principal, may: May) -> None:
    if not may(by, f"tools:own:{owner}"):
        raise Denied(f"{by.name} may not act for {owner}", f"roles.yaml: manage tools:own:{owner}")


def check_enabling(one: Registration, by: Principal, may: May) -> None:
    """Raises Denied where somebody who is not its own has disabled it, and it is not them who asks,
    nor who may approve tools."""
    if not one.disabled_by_its_own and by.name != one.disabled_by and not may(by, "tools:approve"):
        raise Denied(
            f"{one.name} was disabled by {one.disabled_by}: {by.name} may not enable it again",
            "ask them, or who has tools:approve",
        )


def outranks(by: Principal, one: Registration, may: May) -> bool:
    """Does it count that `by` disables what is disabled already? Then it is theirs to enable."""
    if by.name in (one.by, one.holder):
        return False
    return one.disabled_by_its_own or may(by, "tools:approve")


def owned_by(owner: str, asked: str) -> bool:
    """Is it that owner, or below it (`cluster` has all of `cluster/uid/generation`)?"""
    return owner == asked or holder(owner) == asked or owner.startswith(asked + "/")


def check_when(when: If, old: Registration | None, name: str) -> None:
    if when.none and old is not None:
        raise Stale(f"{name} is there already", "If-None-Match: * is for what is not")
    if when.match is not None and (old is None or (when.match != "*" and when.match != old.etag)):
        what = "is not there" if old is None else f"has the etag {old.etag} now"
        raise Stale(f"{name} {what}", "GET it again, and send that etag in If-Match")


def _is_principal(owner: str) -> bool:
    return owner.startswith(("key:", "local:"))
