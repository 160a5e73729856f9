"""Who may call what: roles.yaml and policy.cedar as one set of Cedar rules. Deny by default.

Each tool call is one of two actions: "call" (it runs at once) and "ask" (it runs once a person has
approved it). A rule that forbids wins over every one that permits.
"""

from __future__ import annotations

import fnmatch
import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pilotage.domain.call import NO_RULE, Answer, Decision, Effect, Principal, ToolCall
from pilotage.domain.errors import BadInput
from pilotage.policy import cedar
from pilotage.policy.cedar import Book, Fired, Rule
from pilotage.policy.roles import Role, Roles
from pilotage.policy.roles import read as read_roles

logger = logging.getLogger(__name__)
REMEMBERED = 10_000
SHIPPED = "roles.yaml"
ACT = "act:"
_ACTIONS = (("call", Answer.ALLOW), ("ask", Answer.ASK))


class Rules:
    """One version of the policy; it never changes. `version` is a digest of all that an answer to a
    call depends on."""

    def __init__(self, roles: Roles, text: str = "", extra: tuple[Rule, ...] = ()) -> None:
        self.roles, self.extra = roles, extra
        own = roles.cedar()
        compiled = "".join(rule for _, rule in own)
        self._book = Book(compiled + text, (*(Rule(name) for name, _ in own), *extra))
        told = (compiled, text, roles.needs)
        self.version = hashlib.sha256(msgspec.json.encode(told)).hexdigest()[:16]
        self.contextual = tuple(rule for rule in extra if rule.context)
        self._remembered: dict[tuple[Principal, str, Effect, str], Decision] = {}
        self._seen: dict[tuple[int, str], tuple[Principal, Effect, Decision, str]] = {}

    def decide(
        self,
        by: Principal,
        tool: str,
        effect: Effect,
        call: ToolCall | None = None,
        behind: str = "",
    ) -> Decision:
        """May `by` call `tool`, which has `effect`? Remembered, unless a rule that may concern it
        looks at the call. Without a call, an answer that depends on it is ASK: not denied, and
        nothing to run by. `behind`: the tool of the house that is called by this name; what forbids
        that one forbids this, or a new name would lead past every rule.

        The same principal object asks again and again, and is quicker compared than hashed.
        """
        seen = self._seen.get((id(by), tool))
        if seen is not None and seen[0] is by and seen[1] is effect and seen[3] == behind:
            return seen[2]
        if self.contextual and (self.looking(by, tool) or (behind and self.looking(by, behind))):
            now = datetime.now(UTC)
            context = None if call is None else cedar.context(call, now)
            return self.answer(by, tool, effect, context, behind)
        key = (by, tool, effect, behind)
        known = self._remembered.get(key)
        if known is None:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            known = self._remembered[key] = self.answer(by, tool, effect, {}, behind)
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        self._seen[id(by), tool] = (by, effect, known, behind)
        return known

    def looking(self, by: Principal, tool: str) -> list[Rule]:
        """The rules for whose sake this is decided anew for each call."""
        return [rule for rule in self.contextual if rule.concerns(by, tool)]

    def answer(
        self,
        by: Principal,
        tool: str,
        effect: Effect,
        context: Mapping[str, Any] | None,
        behind: str = "",
    ) -> Decision:
        """The decision, never remembered. `context` as cedar.context makes it; None: not known."""
        if not any(fnmatch.fnmatchcase(tool, glob) for glob in by.tools):
            return self._deny("key.tools", f"{by.name} may call {', '.join(by.tools)} only")
        denied: Decision | None = None
        said = ""
        names = (tool, behind) if behind else (tool,)
        needed = max(self.roles.needed(name, effect) for name in names)
        for action, answer in _ACTIONS:
            heard = [self._book.ask(by, action, name, effect, context) for name in names]
            rules = [self._book.rules[place] for fired in heard for place in fired.rules]
            needed = max(needed, *(rule.needed for rule in rules), 1)
            refused = next(filter(None, map(self._refused, heard)), None)
            if refused is None and any(fired.allowed is None for fired in heard):
                why = "it depends on the call"
                return Decision(Answer.ASK, "policy.context", why, needed, self.version)
            if refused is None and heard[0].allowed:  # by a rule about its own name
                name, approved = rules[0].name, "" if action == "call" else ", once approved"
                plain = f"{name} lets {by.name} call {effect} tools{approved}"
                why = rules[0].why or said or plain
                return Decision(answer, name, why, needed, self.version)
            denied = denied or refused
            said = next((rule.why for rule in rules if rule.why), "")  # why it does not run at once
        roles = ", ".join(sorted(by.roles)) or "no role"
        why = f"no rule lets {by.name} ({roles}) call {effect} tool {tool}"
        return denied or self._deny(NO_RULE, why)

    def _refused(self, fired: Fired) -> Decision | None:
        """A rule that forbids, also one that could not be evaluated: what it would have said is not
        known, so it counts."""
        if fired.error:
            return self._deny("policy.error", f"the policy cannot read this call: {fired.error}")
        for place, error in sorted(fired.broken.items()):
            rule = self._book.rules[place]
            if not rule.permits:
                return self._deny(rule.name, f"{rule.name} could not be evaluated: {error}")
        if fired.allowed is False and fired.rules:
            rule = self._book.rules[fired.rules[0]]
            return self._deny(rule.name, rule.why or f"{rule.name} forbids it")
        return None

    def _deny(self, rule: str, why: str) -> Decision:
        return Decision(Answer.DENY, rule, why, 1, self.version)


class Decide(Protocol):
    """See Rules.decide."""

    def __call__(
        self,
        by: Principal,
        tool: str,
        effect: Effect,
        call: ToolCall | None = None,
        behind: str = "",
    ) -> Decision: ...


class Policy:
    """The rules of now: `take` swaps them whole, so that each decision is of one version."""

    decide: Decide

    def __init__(self, rules: Rules) -> None:
        self.take(rules)

    def take(self, rules: Rules) -> None:
        """From now on, these rules decide."""
        self.rules, self.roles, self.version = rules, rules.roles.roles, rules.version
        self.decide = rules.decide

    def may(self, by: Principal, action: str) -> bool:
        """May `by` do `action` (such as audit:read) at the management API? To speak for a person
        (act:for:NAME) must be said by that word: `*` does not mean it, or whoever may do everything
        would approve its own calls in the name of others."""
        roles = self.roles
        patterns = [p for name in by.roles if name in roles for p in roles[name].manage]
        if action.startswith(ACT):
            patterns = [p for p in patterns if p.startswith(ACT)]
        return any(fnmatch.fnmatchcase(action, pattern) for pattern in patterns)


def load(roles: Path | None = None, rules: Path | None = None) -> Policy:
    """The roles of a file, else those that ship with Pilotage; and the Cedar file, if one is
    named. BadInput says where a file is wrong."""
    return Policy(load_rules(roles, rules))


def load_rules(roles: Path | None = None, rules: Path | None = None) -> Rules:
    """The same, as what a running policy can take."""
    shipped = files("pilotage.policy").joinpath(SHIPPED)
    text = _text(roles) if roles else shipped.read_text("utf-8")
    more = _text(rules) if rules else ""
    extra = tuple(cedar.read(more, str(rules)))
    return Rules(read_roles(text, str(roles or SHIPPED)), more, extra)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", "mend or remove it") from None


__all__ = ["Policy", "Role", "Rules", "load", "load_rules"]
