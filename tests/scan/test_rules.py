"""The rules file: the article's, ours, and errors that name the key and the mend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pilotage.domain.errors import BadInput
from pilotage.domain.finding import ScanType, Severity
from pilotage.scan.rules import Action, InSource, Level, load_rules, parse_rules

ARTICLE = Path(__file__).parents[3] / "shared/seed/000_1ac00eae005894be.txt"

GOOD = """
scan_tools: {code: [bandit], secret: [gitleaks]}
risk_level_config:
  critical: {threshold: 0, action: fail}
  high: {threshold: 2, action: fail}
  medium: {threshold: 5, action: warn}
  low: {threshold: 10, action: info}
"""


@pytest.mark.skipif(not ARTICLE.exists(), reason="the article is not on this machine")
def test_the_articles_file_is_read_unchanged(tmp_path: Path) -> None:
    text = ARTICLE.read_text("utf-8")
    block = re.search(r"^scan_tools:\n.*?(?=^附录 C)", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    file = tmp_path / "security_scan_configs.yaml"
    file.write_text(block[0])
    rules = load_rules(file)
    assert rules.name == "security_scan_configs.yaml"
    assert rules.tools[ScanType.CODE] == ("sonarqube", "eslint", "pylint")
    assert rules.levels[Severity.HIGH] == Level(2, Action.FAIL)
    assert rules.levels[Severity.LOW] == Level(10, Action.INFO)
    assert rules.profiles["default"].types == frozenset(ScanType) - {ScanType.INFRASTRUCTURE}
    assert rules.profiles["minimal"].types == {ScanType.CODE, ScanType.DEPENDENCY}
    assert rules.in_source is InSource.NEVER
    assert rules.unknown_severity is Severity.HIGH


def test_our_own_rules_name_only_what_runs_without_a_network() -> None:
    rules = load_rules()
    assert set(rules.profiles) == {"default", "strict", "minimal"}
    assert ScanType.INFRASTRUCTURE in rules.profiles["default"].types
    named = {name for tools in rules.tools.values() for name in tools}
    assert named == {"bandit", "ruff", "pylint", "eslint", "hadolint", "trivy", "osv", "checkov",
                     "zizmor", "gitleaks"}  # fmt: skip
    assert not rules.optional


def test_without_profiles_the_default_one_looks_at_all_that_has_a_scanner() -> None:
    rules = parse_rules(GOOD.encode(), "r.yaml")
    assert rules.profiles["default"].types == {ScanType.CODE, ScanType.SECRET}


def test_our_additions_are_read() -> None:
    more = "optional: [snyk]\nin_source: with_reason\nunknown_severity: low\nmin_coverage: 0.9\n"
    more += "require_evidence: true\nunread_allowed: ['*.bin']\n"
    rules = parse_rules((GOOD + more).encode(), "r.yaml")
    assert rules.optional == {"snyk"}
    assert rules.in_source is InSource.WITH_REASON
    assert rules.unknown_severity is Severity.LOW
    assert (rules.min_coverage, rules.require_evidence) == (0.9, True)
    assert rules.unread_allowed == ("*.bin",)
    assert rules.digest != parse_rules(GOOD.encode(), "r.yaml").digest


PROFILE = "scan_profiles: {default: {code: %s, container: false, dependency: false, "
PROFILE += "infrastructure: false, secret: false%s}}\n"


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("", "the file is None", "scan_tools"),
        ("[1, 2]", "the file is [1, 2]", "scan_tools"),
        ("a: [", "is not YAML", "mend that line"),
        ("x: &a [*a]", "unknown key 'x'", "known: scan_tools"),
        (GOOD + "scan_tool: {}\n", "unknown key 'scan_tool'", "known: scan_tools"),
        (GOOD + "optional: []\noptional: [bandit]\n", "optional is written twice", "mend"),
        (GOOD + "optional: bandit\n", "optional is 'bandit'", "optional: [a, b]"),
        (GOOD + "optional: [a, a]\n", "names a twice", "once"),
        (GOOD + "in_source: yes\n", "in_source is True", "never, with_reason, always"),
        (GOOD + "unknown_severity: unknown\n", "unknown_severity is 'unknown'", "critical"),
        (GOOD + "min_coverage: 90\n", "min_coverage is 90", "0 to 1"),
        (GOOD + "require_evidence: 1\n", "require_evidence is 1", "true"),
        (GOOD.replace("code:", "codes:"), "scan_tools has an unknown key 'codes'", "code"),
        (GOOD.replace("[bandit]", "bandit"), "scan_tools.code is 'bandit'", "list"),
        (GOOD.replace("{code: [bandit], secret: [gitleaks]}", "{}"), "names no scanner", "code"),
        (GOOD.replace("threshold: 2", "threshold: -1"), "high.threshold is -1", "whole number"),
        (GOOD.replace("threshold: 2", "threshold: true"), "high.threshold is True", "whole number"),
        (GOOD.replace("action: warn", "action: block"), "medium.action is 'block'", "fail, warn"),
        (GOOD.replace(", action: warn", ""), "medium.action is missing", "action"),
        (GOOD.replace("  low:", "  lowest:"), "unknown key 'lowest'", "low"),
        (GOOD.replace("  low: {threshold: 10, action: info}\n", ""), "low is missing", "low:"),
        (GOOD + PROFILE % ("yes please", ""), "code is 'yes please'", "true"),
        (GOOD + PROFILE % ("false", ""), "looks at nothing", "true"),
        (GOOD + PROFILE % ("true", ", leave_out: ruff"), "leave_out is 'ruff'", "[a, b]"),
        (GOOD + "scan_profiles: {default: {code: true}}\n", "does not say", "container: false"),
        (
            GOOD + (PROFILE % ("true", "")).replace("container: false", "container: true"),
            "names no scanner for it",
            "scan_tools.container",
        ),
        (GOOD + "scan_profiles: []\n", "scan_profiles is []", "default"),
        ("? [a]\n: 1\n", "found unhashable key", "mend"),
        ("[" * 100000, "is not YAML", "mend"),
        ("a\x1b: 1", "is not YAML", "mend"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_the_key_and_the_mend(
    text: str, what: str, hint: str
) -> None:
    with pytest.raises(BadInput) as caught:
        parse_rules(text.encode(), "r.yaml")
    assert caught.value.what.startswith("r.yaml")
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.what.isprintable()


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        load_rules(tmp_path / "none.yaml")
