"""Cedar: a file of rules read with its lines, and a question answered with the rules that fired.

Every rule of the file has a name (@id), since each decision names one. What a rule asks about a
call beyond principal, tool and effect is its context; see docs/guides/policy.md.
Source: https://docs.cedarpolicy.com
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pilotage.domain.call import Effect, Principal, ToolCall, tenant_of
from pilotage.domain.errors import BadInput
from pilotage.domain.pattern import pattern
from pilotage.policy.roles import MOST, quoted

ACTIONS = ("call", "ask")
ANNOTATIONS = ("id", "why", "approvals")
_TYPES = ("Principal", "Role", "Tool", "Action")
_RESERVED = pattern(r"role\.|default$|key\.|policy\.")
_PIECE = pattern(r'//[^\n]*|"(?:[^"\\]|\\.)*"|;|[^;"/]+|.', re.DOTALL)
HINT = "each rule ends with a semicolon; docs/guides/policy.md, https://docs.cedarpolicy.com"
_BROKEN = pattern(r"error while evaluating policy `(policy\d+)`: (.*)", re.DOTALL)
_ESCAPES = ("__entity", "__extn", "__expr")
_LONG = 2**63


@dataclass(frozen=True, slots=True)
class Rule:
    """One permit or forbid. `line` is 0 for those made of roles.yaml. `context`: it looks at more
    than who calls which tool. `principal` and `resource` are its head, as Cedar's JSON has it."""

    name: str
    line: int = 0
    permits: bool = True
    context: bool = False
    needed: int = 1
    why: str = ""
    principal: Mapping[str, Any] = field(default_factory=dict)
    resource: Mapping[str, Any] = field(default_factory=dict)

    def concerns(self, by: Principal, tool: str) -> bool:
        """Could its head fit? False only where it surely does not."""
        who, what = self.principal.get("entity", {}), self.resource.get("entity", {})
        if self.resource.get("op") == "==" and what.get("id") != tool:
            return False
        if self.principal.get("op") == "==":
            return bool(who.get("id") == by.name)
        return who.get("type") != "Role" or who.get("id") in by.roles


@dataclass(frozen=True, slots=True)
class Fired:
    """What Cedar says to one action: True, False, or None where the rules cannot say without the
    context. `rules` are the places of those that decided; `broken` is why one could not be
    evaluated, by its place."""

    allowed: bool | None
    rules: tuple[int, ...]
    broken: Mapping[int, str]
    error: str = ""


def read(text: str, where: str) -> list[Rule]:
    """The rules of a file. BadInput names the line on which a wrong one begins."""
    rules: list[Rule] = []
    for line, statement in _statements(text):
        try:
            rule = _rule(statement, line)
        except ValueError as error:
            what = f"{where}, line {line}: the rule that begins there: {error}"
            raise BadInput(what, HINT) from None
        if any(rule.name == other.name for other in rules):
            what = f"{where}, line {line}: another rule is named {rule.name!r} already"
            raise BadInput(what, "a decision names its rule, so each has a name of its own")
        rules.append(rule)
    return rules


def _statements(text: str) -> list[tuple[int, str]]:
    """Each up to its semicolon, with the line on which it begins."""
    found: list[tuple[int, str]] = []
    line, begins, pieces = 1, 0, list[str]()
    for match in _PIECE.finditer(text):
        piece = match[0]
        if not begins and piece.strip() and not piece.startswith("//"):
            begins = line + piece[: len(piece) - len(piece.lstrip())].count("\n")
        pieces.append(piece)
        line += piece.count("\n")
        if piece == ";":
            found.append((begins, "".join(pieces)))
            begins, pieces = 0, []
    return [*found, (begins, "".join(pieces))] if begins else found


def _rule(statement: str, line: int) -> Rule:
    import cedarpy

    parsed = json.loads(cedarpy.policies_to_json_str(statement))
    if parsed["templates"] or len(parsed["staticPolicies"]) != 1:
        raise ValueError("this is no single rule; templates with ?principal have no use here")
    (one,) = parsed["staticPolicies"].values()
    notes = one.get("annotations", {})
    unknown = sorted(set(notes) - set(ANNOTATIONS))
    if unknown:
        raise ValueError(
            f"there is no annotation @{unknown[0]}; there are @{', @'.join(ANNOTATIONS)}"
        )
    name = notes.get("id") or ""
    if not name.isprintable() or not name or _RESERVED.match(name):
        raise ValueError(f'a rule needs a name of its own, such as @id("no-nights"), not {name!r}')
    needed = notes.get("approvals") or "1"
    if not needed.isdecimal() or not 1 <= int(needed) <= MOST:
        raise ValueError(f'@approvals({needed!r}) is no number from 1 to {MOST}, such as "2"')
    for entity in _entities([one["principal"], one["action"], one["resource"]]):
        _check(entity)
    looks = _looks_at_context(one["conditions"])
    return Rule(
        name, line, one["effect"] == "permit", looks, int(needed), notes.get("why") or "",
        one["principal"], one["resource"],
    )  # fmt: skip


def _check(entity: Mapping[str, str]) -> None:
    """A misspelt head would make a rule that never fires."""
    kind, name = entity.get("type", ""), entity.get("id", "")
    if kind not in _TYPES:
        raise ValueError(f"there is no entity type {kind}; there are {', '.join(_TYPES)}")
    if kind == "Action" and name not in ACTIONS:
        both = '", "'.join(ACTIONS)
        raise ValueError(f'there is no Action::"{name}"; there are "{both}"')


def _entities(heads: Sequence[Mapping[str, Any]]) -> list[Mapping[str, str]]:
    found: list[Mapping[str, str]] = []
    for head in heads:
        found += [head["entity"]] if "entity" in head else head.get("entities", [])
        if "entity_type" in head:
            found.append({"type": head["entity_type"]})
        if "in" in head and isinstance(head["in"], Mapping):
            found += _entities([head["in"]])
    return found


def _looks_at_context(condition: Any) -> bool:
    if isinstance(condition, Mapping):
        return condition.get("Var") == "context" or any(map(_looks_at_context, condition.values()))
    return isinstance(condition, list) and any(map(_looks_at_context, condition))


class Book:
    """A set of rules, parsed once. `rules` are in the order of `text`."""

    def __init__(self, text: str, rules: Sequence[Rule]) -> None:
        self.rules, self._text = tuple(rules), text

    @functools.cached_property
    def _set(self) -> Any:
        """Made for the first question: many a process asks none."""
        import cedarpy

        return cedarpy.PolicySet.from_str(self._text)

    def ask(
        self,
        by: Principal,
        action: str,
        tool: str,
        effect: Effect,
        context: Mapping[str, Any] | None,
    ) -> Fired:
        """May `by` do `action` to the tool? Context None: not known, so only an answer that does
        not depend on it is True or False."""
        import cedarpy

        asked = (("principal", "Principal", by.name), ("action", "Action", action))
        named = (*asked, ("resource", "Tool", tool))
        entities = _known(by, tool, effect)
        try:
            if context is None:
                texts = {part: f"{kind}::{quoted(name)}" for part, kind, name in named}
                partial = cedarpy.is_authorized_partial(texts, self._set, entities)
                unknown = partial.decision is cedarpy.Decision.NoDecision
                return self._fired(None if unknown else partial.allowed, partial.diagnostics)
            request: dict[str, Any] = {"context": dict(context)}
            request |= {part: {"type": kind, "id": name} for part, kind, name in named}
            answer = cedarpy.is_authorized(request, self._set, entities)
        except (ValueError, RecursionError) as error:
            return Fired(False, (), {}, str(error) or type(error).__name__)
        if answer.decision is cedarpy.Decision.NoDecision:
            return Fired(False, (), {}, "; ".join(answer.diagnostics.errors))
        return self._fired(answer.allowed, answer.diagnostics)

    def _fired(self, allowed: bool | None, diagnostics: Any) -> Fired:
        broken = {}
        for error in diagnostics.errors:
            found = _BROKEN.match(error)
            if found:
                broken[_place(found[1])] = found[2]
        return Fired(allowed, tuple(sorted(map(_place, diagnostics.reasons))), broken)


def _place(policy: str) -> int:
    return int(policy.removeprefix("policy"))


def _known(by: Principal, tool: str, effect: Effect) -> list[dict[Any, Any]]:
    roles = [{"type": "Role", "id": role} for role in sorted(by.roles)]
    who = {"type": "Principal", "id": by.name}
    attributes, tenant = {"name": by.name}, tenant_of(by)
    if tenant is not None:
        attributes |= {"cluster": tenant.cluster, "namespace": tenant.namespace}
    what = {"type": "Tool", "id": tool}
    return [
        {"uid": who, "attrs": attributes, "parents": roles},
        {"uid": what, "attrs": {"effect": effect.value, "name": tool}, "parents": []},
        *({"uid": role, "attrs": {}, "parents": []} for role in roles),
    ]


def context(call: ToolCall, at: datetime) -> dict[str, Any]:
    """What rules see of a call beside who, which tool and which effect. Times are UTC."""
    at = at.astimezone(UTC)
    try:
        arguments = _value(call.arguments)
    except RecursionError:
        raise BadInput("the arguments are nested too deep for the policy to read") from None
    return {
        "arguments": arguments,
        "via": call.via,
        "run": call.run or "",
        "step": call.step or "",
        "hour": at.hour,
        "weekday": at.isoweekday(),
        "date": f"{at:%Y-%m-%d}",
    }


def _member(item: tuple[str, Any]) -> tuple[str, Any]:
    return item[0], _value(item[1])


def _name(name: str) -> str:
    """A caller must not write Cedar's own escapes into its arguments."""
    return f"{name}_" if name in _ESCAPES else name


def _value(value: Any) -> Any:
    """A JSON value as Cedar can have it. It knows no null, which is left out, and no fractions and
    no numbers over 64 bits, which become text: a rule that compares them fails, and denies."""
    if isinstance(value, float):
        value = int(value) if value.is_integer() else repr(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -_LONG <= value < _LONG else str(value)
    if isinstance(value, Mapping):
        return {_name(k): v for k, v in map(_member, value.items()) if v is not None}
    if isinstance(value, (list, tuple)):
        return [item for item in map(_value, value) if item is not None]
    return value
