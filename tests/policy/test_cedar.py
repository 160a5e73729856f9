"""policy.cedar: a forbid wins, arguments count, each answer names its rule, errors their line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pilotage.domain.call import Answer, Decision, Effect, Principal, ToolCall
from pilotage.domain.errors import BadInput
from pilotage.policy import cedar, policy

READ, WRITE, DESTROY = Effect.READ, Effect.WRITE, Effect.DESTROY

RULES = """
// Nothing is deployed; by anybody
@id("frozen")
@why("deployments are frozen; ask the release manager")
forbid (principal, action, resource == Tool::"deploy");

@id("production-asks") @approvals("2")
forbid (principal, action == Action::"call", resource)
when { context.arguments has environment && context.arguments.environment == "production" };

@id("production-may-ask")
permit (principal in Role::"developer", action == Action::"ask", resource)
when { context.arguments has environment && context.arguments.environment == "production" };

@id("viewers-echo")
permit (principal in Role::"viewer", action == Action::"call", resource == Tool::"echo");

@id("small-only")
forbid (principal, action, resource == Tool::"scale") when { context.arguments.replicas > 10 };

@id("no-nights")
forbid (principal, action, resource == Tool::"restart") when { context.hour >= 22 };
"""


def made(tmp_path: Path, text: str = RULES, roles: str = "") -> policy.Policy:
    file = tmp_path / "policy.cedar"
    file.write_text(text, "utf-8")
    if roles:
        (tmp_path / "roles.yaml").write_text(roles, "utf-8")
    return policy.load(tmp_path / "roles.yaml" if roles else None, file)


def who(*roles: str) -> Principal:
    return Principal("key:k", frozenset(roles))


def decided(
    rules: policy.Policy, role: str, tool: str, effect: Effect, **arguments: Any
) -> Decision:
    by = who(role)
    return rules.decide(by, tool, effect, ToolCall("1", tool, arguments, by, "rest"))


def test_a_forbid_wins_and_says_why(tmp_path: Path) -> None:
    decision = decided(made(tmp_path), "admin", "deploy", WRITE)
    assert (decision.answer, decision.rule) == (Answer.DENY, "frozen")
    assert decision.why == "deployments are frozen; ask the release manager"


def test_a_permit_of_the_file_adds_to_the_roles(tmp_path: Path) -> None:
    rules = made(tmp_path)
    assert decided(rules, "viewer", "echo", READ).rule == "viewers-echo"
    assert decided(rules, "viewer", "other", READ).answer is Answer.DENY


def test_arguments_can_turn_a_call_into_one_that_asks(tmp_path: Path) -> None:
    rules = made(tmp_path)
    assert decided(rules, "developer", "move", WRITE, environment="test").answer is Answer.ALLOW
    asks = decided(rules, "developer", "move", WRITE, environment="production")
    assert (asks.answer, asks.rule, asks.needed) == (Answer.ASK, "production-may-ask", 2)
    denied = decided(rules, "ci", "move", WRITE, environment="production")
    assert (denied.answer, denied.rule) == (Answer.DENY, "production-asks")


@pytest.mark.parametrize(
    ("replicas", "answer"),
    [(3, "allow"), (11, "deny"), (3.0, "allow"), (3.5, "deny"), ("3", "deny"), (None, "deny"),
     (2**70, "deny"), ({"__extn": {"fn": "ip", "arg": "no"}}, "deny"), ([1], "deny")],
)  # fmt: skip
def test_a_forbid_that_cannot_be_evaluated_counts(
    tmp_path: Path, replicas: Any, answer: str
) -> None:
    decision = decided(made(tmp_path), "developer", "scale", WRITE, replicas=replicas)
    assert decision.answer == answer
    if answer == "deny":
        assert decision.rule == "small-only"
    missing = decided(made(tmp_path), "developer", "scale", WRITE)
    assert (missing.answer, missing.rule) == (Answer.DENY, "small-only")
    assert "replicas" in missing.why


def test_what_a_caller_writes_is_never_read_as_cedar(tmp_path: Path) -> None:
    text = """@id("mine") permit (principal, action == Action::"call", resource)
    when { context.arguments has owner && context.arguments.owner == principal };"""
    rules = made(tmp_path, text)
    forged = {"__entity": {"type": "Principal", "id": "key:k"}}
    assert decided(rules, "viewer", "t", READ, owner=forged).answer is Answer.DENY
    deep: Any = {}
    for _ in range(200):
        deep = {"a": deep}
    error = decided(rules, "viewer", "t", READ, owner=deep)
    assert (error.answer, error.rule) == (Answer.DENY, "policy.error")


def test_the_time_of_a_rule_is_utc() -> None:
    call = ToolCall("1", "restart", {}, who(), "mcp", run="R", step="s")
    at = datetime.fromisoformat("2026-11-26T00:30:00+02:00")
    seen = cedar.context(call, at)
    assert (seen["hour"], seen["weekday"], seen["date"]) == (22, 3, "2026-11-25")
    assert (seen["via"], seen["run"], seen["step"]) == ("mcp", "R", "s")


def test_only_what_looks_at_the_call_is_decided_anew(tmp_path: Path) -> None:
    text = RULES.replace("(principal, action ==", '(principal in Role::"admin", action ==')
    text = text.replace("resource)\nwhen", 'resource == Tool::"move")\nwhen')
    rules = made(tmp_path, text).rules
    by = who("developer")
    call = ToolCall("1", "t", {}, by, "rest")
    assert rules.decide(by, "t", WRITE, call) is rules.decide(by, "t", WRITE, call)
    assert rules.looking(by, "t") == []
    assert [rule.name for rule in rules.looking(by, "move")] == ["production-may-ask"]
    assert [rule.name for rule in rules.looking(by, "restart")] == ["no-nights"]
    looked = ToolCall("1", "move", {"environment": "production"}, by, "rest")
    assert rules.decide(by, "move", DESTROY, looked).answer is Answer.ASK
    plain = ToolCall("1", "move", {}, by, "rest")
    assert rules.decide(by, "move", DESTROY, plain).answer is Answer.DENY


def test_without_a_call_what_depends_on_it_is_neither_allowed_nor_denied(tmp_path: Path) -> None:
    rules = made(tmp_path)
    assert rules.decide(who("developer"), "move", WRITE).rule == "policy.context"
    assert rules.decide(who("developer"), "move", WRITE).answer is Answer.ASK
    assert rules.decide(who("developer"), "deploy", WRITE).answer is Answer.DENY
    assert rules.decide(who("viewer"), "restart", WRITE).answer is Answer.DENY


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ('// a; b\n\n@id("a") permit (principal action);', 3, "unexpected token"),
        ('@id("a") permit (principal, action, resource);\n\npermit (principal, action, resource);',
         3, "a name of its own"),
        ('@id("a;\n") permit (principal, action, resource);', 1, "a name of its own"),
        ('\n@id("a") forbid (principal, action == Action::"cal", resource);', 2, 'Action::"cal"'),
        ('\n@id("a") forbid (principal, action in [Action::"no"], resource);', 2, 'Action::"no"'),
        ('@id("a") forbid (principal in Group::"x", action, resource);', 1, "Group"),
        ('@id("a") forbid (principal is User, action, resource);', 1, "User"),
        ('@id("a") @aproval("2") forbid (principal, action, resource);', 1, "@aproval"),
        ('@id("a") @approvals("0") forbid (principal, action, resource);', 1, "1 to 20"),
        ('@id("role.x") forbid (principal, action, resource);', 1, "a name of its own"),
        ('@id("a") forbid (principal, action, resource);\n@id("a")\nforbid (principal, action, '
         'resource);', 2, "another rule is named"),
        ('@id("a") permit (principal == ?principal, action, resource);', 1, "no single rule"),
        ('@id("a") permit (principal, action, resource)', 1, "unexpected end"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, why: str
) -> None:
    with pytest.raises(BadInput) as caught:
        made(tmp_path, text)
    assert f"policy.cedar, line {line}: " in caught.value.what
    assert why in caught.value.what


def test_roles_say_how_many_must_approve(tmp_path: Path) -> None:
    roles = """
operator: {effects: [read], ask: [write, destroy]}
approvals:
  - {tools: ["k8s_*"], effects: [destroy], needed: 2}
  - {tools: ["*_all"], needed: 3}
"""
    rules = made(tmp_path, "", roles)
    assert "approvals" not in rules.roles
    for tool, effect, needed in (
        ("k8s_pod", DESTROY, 2),
        ("k8s_pod", WRITE, 1),
        ("k8s_all", DESTROY, 3),
        ("other", DESTROY, 1),
    ):
        assert decided(rules, "operator", tool, effect).needed == needed
    fewer = made(tmp_path, "", roles.replace("needed: 3", "needed: 1"))
    assert fewer.version != rules.version
    with pytest.raises(BadInput, match="needed is 0"):
        made(tmp_path, "", "approvals: [{needed: 0}]")
    with pytest.raises(BadInput, match=r"roles.yaml, line 3"):
        made(tmp_path, "", "a:\n  - b: [\n")


def test_the_version_changes_with_every_word_that_may_change_an_answer(tmp_path: Path) -> None:
    before = made(tmp_path, "").version
    assert made(tmp_path, "").version == before
    assert made(tmp_path, RULES).version != before
    assert before == policy.load().version


OWN = """
@id("shop-only")
forbid (principal, action, resource == Tool::"deploy")
when { principal has namespace && !(principal.cluster == "prod" && principal.namespace == "shop") };
"""


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("kubernetes:prod/shop via key:k", Answer.ALLOW),
        ("kubernetes:prod/other via key:k", Answer.DENY),
        ("kubernetes:test/shop via key:k", Answer.DENY),
        ("key:k", Answer.ALLOW),
        ("kubernetes:prod:x/shop via key:k", Answer.ALLOW),  # a person, who has no namespace
    ],
)
def test_a_rule_sees_for_which_namespace_somebody_acts(
    tmp_path: Path, name: str, answer: Answer
) -> None:
    rules = made(tmp_path, OWN)
    by = Principal(name, frozenset({"developer"}))
    assert rules.decide(by, "deploy", WRITE).answer is answer


@pytest.mark.parametrize(
    ("behind", "tool", "effect", "arguments", "answer", "rule"),
    [
        ("", "other", WRITE, {}, Answer.ALLOW, "role.developer.write"),
        ("deploy", "other", WRITE, {}, Answer.DENY, "frozen"),
        ("scale", "other", WRITE, {"replicas": 11}, Answer.DENY, "small-only"),
        ("scale", "other", WRITE, {"replicas": 10}, Answer.ALLOW, "role.developer.write"),
        ("scale", "other", WRITE, {}, Answer.DENY, "small-only"),  # it could not be evaluated
        ("echo", "deploy", WRITE, {}, Answer.DENY, "frozen"),  # its own name counts as well
    ],
)
def test_another_name_of_a_tool_leads_past_no_rule(
    tmp_path: Path,
    behind: str,
    tool: str,
    effect: Effect,
    arguments: dict[str, Any],
    answer: Answer,
    rule: str,
) -> None:
    rules, by = made(tmp_path), who("developer")
    for _ in range(2):  # what is remembered of a name is of what stood behind it then
        rules.decide(by, tool, effect, ToolCall("1", tool, arguments, by, "rest"))
        call = ToolCall("1", tool, arguments, by, "rest")
        decision = rules.decide(by, tool, effect, call, behind)
        assert (decision.answer, decision.rule) == (answer, rule)


def test_what_asks_about_a_tool_asks_about_its_other_name(tmp_path: Path) -> None:
    text = """
@id("two") @why("two persons") @approvals("2")
forbid (principal, action == Action::"call", resource == Tool::"deploy");
"""
    roles = """
operator: {effects: [write], ask: [write], tools: ["*"]}
approvals: [{tools: [deploy], needed: 3}]
"""
    rules = made(tmp_path, text, roles)
    decision = rules.decide(who("operator"), "other", WRITE, behind="deploy")
    assert (decision.answer, decision.needed, decision.why) == (Answer.ASK, 3, "two persons")
