"""roles.yaml: what each role may call and manage, and how many must approve. Compiled to Cedar."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from pilotage.domain.call import Effect
from pilotage.domain.errors import BadInput
from pilotage.domain.limit import Cap, cap

APPROVALS = "approvals"
"""The one name at the top of the file that is no role."""
MOST = 20
"""Persons that a call can need, at most."""


class Share(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A rate (600/minute, or none), and how many calls at once (0: no limit); None says nothing."""

    rate: str | None = None
    concurrency: int | None = None

    def cap(self, where: str = "") -> Cap:
        return cap(self.rate or "", self.concurrency or 0, where)


class Limit(Share, forbid_unknown_fields=True, frozen=True):
    """The share of each who has a role, in all and at tools (globs). See tool/limits.py."""

    tools: dict[str, Share] = {}


class Role(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One role of the file: tools it may call, by effect and by name, and what it may manage."""

    effects: tuple[Effect, ...] = ()
    ask: tuple[Effect, ...] = ()
    tools: tuple[str, ...] = ("*",)
    manage: tuple[str, ...] = ()
    limits: Limit | None = None


class Needs(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Calls of these tools (globs) and effects that ask need so many persons."""

    needed: int
    tools: tuple[str, ...] = ("*",)
    effects: tuple[Effect, ...] = tuple(Effect)


@dataclass(frozen=True, slots=True)
class Roles:
    """The whole file."""

    roles: Mapping[str, Role] = field(default_factory=dict)
    needs: Sequence[Needs] = ()

    def needed(self, tool: str, effect: Effect) -> int:
        """How many must approve a call that asks."""
        fits = (
            one.needed
            for one in self.needs
            if effect in one.effects and any(fnmatch.fnmatchcase(tool, g) for g in one.tools)
        )
        return max(fits, default=1)

    def cedar(self) -> list[tuple[str, str]]:
        """The same as rules of Cedar: the name of each and its text."""
        return [
            (
                f"role.{name}.{effect}",
                f"permit(principal in Role::{quoted(name)}, "
                f'action == Action::"{action}", resource) when {{ '
                f'resource.effect == "{effect}" && resource.name like {quoted(glob)} }};\n',
            )
            for name, role in sorted(self.roles.items())
            for action, effects in (("call", role.effects), ("ask", role.ask))
            for effect in effects
            for glob in role.tools
        ]


def read(text: str, where: str) -> Roles:
    """A file's roles. BadInput says which line, or which field, is wrong."""
    hint = "see the roles.yaml that ships with pilotage"
    try:
        content: Any = yaml.safe_load(text) or {}
        needs: Any = content.pop(APPROVALS, []) if isinstance(content, dict) else []
        roles = msgspec.convert(content, dict[str, Role], strict=True)
        wants = msgspec.convert(needs, tuple[Needs, ...], strict=True)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{where}, line {line}: {error.problem}", hint) from None
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadInput(f"{where}: {error}", hint) from None
    for name, role in roles.items():
        for share in (role.limits, *role.limits.tools.values()) if role.limits else ():
            share.cap(f"{where}: {name}: limits")
    for one in wants:
        if not 1 <= one.needed <= MOST:
            raise BadInput(f"{where}: {APPROVALS}: needed is {one.needed}", f"1 to {MOST}")
    return Roles(roles, wants)


def quoted(text: str) -> str:
    """A Cedar string: whatever could end it, or is not printable, as its code point."""
    plain = (c if c.isprintable() and c not in '"\\' else f"\\u{{{ord(c):x}}}" for c in text)
    return '"' + "".join(plain) + '"'
