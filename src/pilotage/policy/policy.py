"""Roles in YAML, compiled to Cedar. Deny by default; each rule that fires has a name."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from pilotage.domain.call import Answer, Decision, Effect, Principal
from pilotage.domain.errors import BadInput

REMEMBERED = 10_000


class Role(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One role of the file: tools it may call, by effect and by name, and what it may manage."""

    effects: tuple[Effect, ...] = ()
    ask: tuple[Effect, ...] = ()
    tools: tuple[str, ...] = ("*",)
    manage: tuple[str, ...] = ()


class Policy:
    """`version` is a digest of the roles: it changes whenever an answer may."""

    def __init__(self, roles: Mapping[str, Role]) -> None:
        self.roles = dict(roles)
        self._text = _cedar(self.roles)
        self.version = hashlib.sha256(self._text.encode()).hexdigest()[:16]
        self._remembered: dict[tuple[Principal, str, Effect], Decision] = {}
        self._seen: dict[tuple[int, str], tuple[Principal, Effect, Decision]] = {}

    def decide(self, by: Principal, tool: str, effect: Effect) -> Decision:
        """May `by` call `tool`, which has `effect`? Remembered: no rule looks at arguments.

        The same principal object asks again and again, and is quicker compared than hashed.
        """
        seen = self._seen.get((id(by), tool))
        if seen is not None and seen[0] is by and seen[1] is effect:
            return seen[2]
        key = (by, tool, effect)
        known = self._remembered.get(key)
        if known is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            known = self._remembered[key] = self._decide(by, tool, effect)
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        self._seen[id(by), tool] = (by, effect, known)
        return known

    def may(self, by: Principal, action: str) -> bool:
        """May `by` do `action` (such as audit:read) at the management API?"""
        patterns = [p for name in by.roles if name in self.roles for p in self.roles[name].manage]
        return any(fnmatch.fnmatchcase(action, pattern) for pattern in patterns)

    def _decide(self, by: Principal, tool: str, effect: Effect) -> Decision:
        if not any(fnmatch.fnmatchcase(tool, glob) for glob in by.tools):
            return Decision(
                Answer.DENY, "key.tools", f"{by.name} may call {', '.join(by.tools)} only"
            )
        for action, answer in (("call", Answer.ALLOW), ("ask", Answer.ASK)):
            rule = self._ask_cedar(by, tool, effect, action)
            if rule:
                why = f"{rule} lets {by.name} {action} {effect} tools"
                return Decision(answer, rule, why)
        roles = ", ".join(sorted(by.roles)) or "no role"
        return Decision(
            Answer.DENY, "default", f"no rule lets {by.name} ({roles}) call {effect} tool {tool}"
        )

    def _ask_cedar(self, by: Principal, tool: str, effect: Effect, action: str) -> str | None:
        import cedarpy

        user = {"type": "Principal", "id": by.name}
        thing = {"type": "Tool", "id": tool}
        entities: list[dict[Any, Any]] = [
            {
                "uid": user,
                "attrs": {},
                "parents": [{"type": "Role", "id": r} for r in sorted(by.roles)],
            },
            {"uid": thing, "attrs": {"effect": effect.value, "name": tool}, "parents": []},
            *(
                {"uid": {"type": "Role", "id": r}, "attrs": {}, "parents": []}
                for r in sorted(by.roles)
            ),
        ]
        request = {
            "principal": f"Principal::{msgspec.json.encode(by.name).decode()}",
            "action": f'Action::"{action}"',
            "resource": f"Tool::{msgspec.json.encode(tool).decode()}",
            "context": {},
        }
        answer = cedarpy.is_authorized(request, self._text, entities)
        if not answer.allowed:
            return None
        policy_ids = sorted(answer.diagnostics.reasons)
        return self._rule_name(policy_ids[0]) if policy_ids else "policy"

    def _rule_name(self, policy_id: str) -> str:
        number = int(policy_id.removeprefix("policy"))
        return _rules(self.roles)[number][0]


def load(path: Path | None = None) -> Policy:
    """The roles of `path`, else those that ship with Pilotage."""
    text = (
        path.read_text("utf-8")
        if path
        else files("pilotage.policy").joinpath("roles.yaml").read_text("utf-8")
    )
    where = str(path or "roles.yaml")
    import yaml

    try:
        return Policy(msgspec.convert(yaml.safe_load(text) or {}, dict[str, Role], strict=True))
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadInput(f"{where}: {error}", "see the roles.yaml that ships with pilotage") from None


def _rules(roles: Mapping[str, Role]) -> list[tuple[str, str]]:
    """Name and Cedar text of each rule, in the order in which Cedar numbers them."""
    rules = []
    for name, role in sorted(roles.items()):
        for action, effects in (("call", role.effects), ("ask", role.ask)):
            for effect in effects:
                for glob in role.tools:
                    pattern = msgspec.json.encode(glob).decode()
                    rules.append(
                        (
                            f"role.{name}.{effect}",
                            f"permit(principal in Role::{msgspec.json.encode(name).decode()}, "
                            f'action == Action::"{action}", resource) when {{ resource.effect == '
                            f'"{effect}" && resource.name like {pattern} }};',
                        )
                    )
    return rules


def _cedar(roles: Mapping[str, Role]) -> str:
    return "\n".join(text for _, text in _rules(roles))
