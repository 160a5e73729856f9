"""Roles, compiled to Cedar: deny by default, and each answer names its rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.domain.call import Answer, Effect, Principal
from pilotage.domain.errors import BadInput
from pilotage.policy import policy

RULES = policy.load()
READ, WRITE, DESTROY = Effect.READ, Effect.WRITE, Effect.DESTROY


def who(*roles: str, tools: tuple[str, ...] = ("*",)) -> Principal:
    return Principal("key:k", frozenset(roles), tools)


@pytest.mark.parametrize(
    ("role", "answers"),
    [
        ("viewer", ("deny", "deny", "deny")),
        ("developer", ("allow", "allow", "deny")),
        ("ci", ("allow", "allow", "deny")),
        ("operator", ("allow", "allow", "ask")),
        ("admin", ("allow", "allow", "ask")),
        ("nobody", ("deny", "deny", "deny")),
    ],
)
def test_what_each_role_may_do_by_effect(role: str, answers: tuple[str, ...]) -> None:
    given = tuple(RULES.decide(who(role), "t", e).answer.value for e in (READ, WRITE, DESTROY))
    assert given == answers


def test_without_a_role_everything_is_denied_by_the_default() -> None:
    decision = RULES.decide(who(), "t", READ)
    assert (decision.answer, decision.rule) == (Answer.DENY, "default")
    assert "no role" in decision.why


def test_the_globs_of_a_key_can_only_narrow() -> None:
    by = who("developer", tools=("scan_*", "echo"))
    assert RULES.decide(by, "scan_code", READ).answer is Answer.ALLOW
    refused = RULES.decide(by, "deploy", READ)
    assert (refused.answer, refused.rule) == (Answer.DENY, "key.tools")
    assert RULES.decide(who("viewer", tools=("echo",)), "echo", READ).answer is Answer.DENY


def test_the_rule_that_fired_is_named() -> None:
    assert RULES.decide(who("ci"), "t", WRITE).rule == "role.ci.write"
    assert RULES.decide(who("viewer", "operator"), "t", DESTROY).rule == "role.operator.destroy"


def test_an_answer_belongs_to_one_principal_tool_and_effect(tmp_path: Path) -> None:
    by = who("developer")
    assert RULES.decide(by, "t", READ).answer is Answer.ALLOW
    assert RULES.decide(by, "t", DESTROY).answer is Answer.DENY
    assert RULES.decide(by, "t", READ).answer is Answer.ALLOW
    assert RULES.decide(who("viewer"), "t", READ).answer is Answer.DENY


def test_names_that_look_like_cedar_stay_names(tmp_path: Path) -> None:
    path = tmp_path / "roles.yaml"
    path.write_text(
        """
'a" || true //':
  effects: [read]
  tools: ['scan_*']
b:
  effects: [read]
  tools: ['"); permit(principal, action, resource); //']
""",
        "utf-8",
    )
    rules = policy.load(path)
    for role in ('a" || true //', "b"):
        assert rules.decide(who(role), "deploy", READ).answer is Answer.DENY
        assert rules.decide(who(role), "scan_x", WRITE).answer is Answer.DENY
    assert rules.decide(who('a" || true //'), "scan_x", READ).answer is Answer.ALLOW
    odd = Principal('k" in Role::"a', frozenset({"viewer"}))
    assert rules.decide(odd, 'scan_x"', READ).answer is Answer.DENY


def test_management_is_by_pattern() -> None:
    assert RULES.may(who("admin"), "keys:create")
    assert RULES.may(who("viewer"), "tools:read")
    assert not RULES.may(who("viewer"), "audit:read")
    assert not RULES.may(who("nobody"), "tools:read")


@pytest.mark.parametrize(
    "text",
    ["viewer: [read]", "viewer: {effects: [explode]}", "viewer: {efects: [read]}", "a: [", "5"],
)
def test_a_roles_file_that_is_wrong_stops_the_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "roles.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput):
        policy.load(path)


def test_an_empty_roles_file_denies_everything(tmp_path: Path) -> None:
    path = tmp_path / "roles.yaml"
    path.write_text("", "utf-8")
    assert policy.load(path).decide(who("admin"), "t", READ).answer is Answer.DENY
