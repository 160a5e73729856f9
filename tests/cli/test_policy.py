"""pilotage policy: questions with known answers, one question, and the whole policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage.cli import main

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/06-a-colleague-approves"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path))
    return tmp_path


def test_the_questions_of_the_example_are_answered_as_it_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rules = ["--rules", str(EXAMPLE / "policy.cedar")]
    assert main.main(["policy", "test", str(EXAMPLE / "questions.yaml"), *rules]) == 0
    said = capsys.readouterr().out
    assert "ok     CI does not move production at all: deny by production-asks" in said
    assert "(policy.cedar, line 2)" in said.splitlines()[2]
    assert said.endswith("5 asked, all as expected\n")


def test_another_answer_than_expected_names_the_rule_that_fired_and_exits_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.main(["policy", "test", str(EXAMPLE / "questions.yaml")]) == 1
    said = capsys.readouterr().out
    assert "WRONG  CI does not move production at all: allow by role.ci.write" in said
    assert "expected answer deny, not allow: role.ci.write lets key:anybody" in said
    assert "expected rule production-asks, not role.ci.write" in said
    assert said.endswith("5 asked, 3 wrong\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "asks nothing"),
        ("- {tool: t, effect: read}", "question 1 expects no answer"),
        ("- {tool: t, effect: read, answer: perhaps}", "perhaps"),
        ("- {tool: t, effect: read, answer: allow, rol: [a]}", "rol"),
        ("- [", "expected the node content"),
    ],
)
def test_a_file_of_questions_that_is_wrong_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    file = home / "questions.yaml"
    file.write_text(text, "utf-8")
    assert main.main(["policy", "test", str(file)]) == 2
    assert why in capsys.readouterr().err


def test_one_question_is_answered_with_its_rule_and_whether_it_is_remembered(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "policy.cedar").write_text((EXAMPLE / "policy.cedar").read_text("utf-8"), "utf-8")
    ask = ["policy", "ask", "--role", "developer", "--tool", "deploy", "--effect", "write"]
    assert main.main([*ask, "--arg", "environment=production"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "ask by developers-may-ask (policy.cedar, line 7), 1 must approve"
    assert said[2].startswith("  decided anew for each call")
    assert "production-asks" in said[2]
    (home / "policy.cedar").unlink()
    assert main.main(ask) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "allow by role.developer.write"
    assert said[2].startswith("  remembered")
    assert main.main(["policy", "ask", "--role", "emperor", "--tool", "t"]) == 2
    assert main.main(["policy", "ask", "--role", "ci", "--tool", "nowhere"]) == 2
    assert main.main(["policy", "ask", "--role", "ci", "--tool", "security_scanner"]) == 0


def test_the_policy_is_shown_with_the_rules_that_look_at_calls(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "policy.cedar").write_text((EXAMPLE / "policy.cedar").read_text("utf-8"), "utf-8")
    (home / "roles.yaml").write_text(
        "a: {ask: [destroy]}\napprovals: [{needed: 2, tools: [k8s_*]}]\n", "utf-8"
    )
    assert main.main(["policy", "show"]) == 0
    said = capsys.readouterr().out
    assert "role      a asks before destroy (tools *)" in said
    assert "approvals 2 persons for k8s_* (read, write, destroy)" in said
    assert "rule      production-asks forbids (line 2; looks at the call)" in said
    assert "decided anew" in said


def test_a_broken_file_stops_the_start_with_its_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "policy.cedar").write_text('\n@id("a") permit (principal, action);\n', "utf-8")
    for verb in (["policy", "show"], ["serve", "--port", "0"], ["call", "x"]):
        assert main.main(verb) == 2
        assert "policy.cedar, line 2: " in capsys.readouterr().err
