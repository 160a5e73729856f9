"""Who looks at a project, and why."""

from __future__ import annotations

import pytest

from pilotage.domain.call import Outcome
from pilotage.domain.errors import BadInput
from pilotage.domain.finding import ScanType
from pilotage.domain.scan import Choice, Coverage, Inventory
from pilotage.domain.verdict import Ruling
from pilotage.scan.choose import choose, unavailable, unlooked, unlooked_notes
from pilotage.scan.gate import judge
from pilotage.scan.rules import parse_rules
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner


def nothing(raw: Raw) -> Parsed:
    return Parsed()


def look(name: str, type: ScanType, *reads: str, target: str = "stage") -> Pass:
    return Pass(name, type, reads, nothing, Control({}, "x"), Coverage.NONE, target=target)


def scanner(name: str, *passes: Pass) -> Scanner:
    return Scanner(name, "", "", passes, Install("none"))


SCANNERS = {
    each.name: each
    for each in (
        scanner("bandit", look("bandit", ScanType.CODE, "*.py")),
        scanner("pylint", look("pylint", ScanType.CODE, "*.py")),
        scanner("eslint", look("eslint", ScanType.CODE, "*.js")),
        scanner(
            "trivy",
            look("config", ScanType.INFRASTRUCTURE, "*.tf"),
            look("secret", ScanType.SECRET, "*"),
            look("image", ScanType.CONTAINER, target="image"),
        ),
        scanner(
            "gitleaks",
            look("tree", ScanType.SECRET, "*"),
            look("history", ScanType.SECRET, target="history"),
        ),
    )
}

RULES = parse_rules(
    b"""
scan_tools:
  code: [bandit, eslint, pylint, sonarqube]
  container: [trivy, mystery]
  dependency: [gitleaks]
  infrastructure: [trivy]
  secret: [gitleaks]
risk_level_config:
  critical: {threshold: 0, action: fail}
  high: {threshold: 0, action: fail}
  medium: {threshold: 5, action: warn}
  low: {threshold: 10, action: info}
scan_profiles:
  default: {code: true, container: true, dependency: false, infrastructure: true, secret: true,
            leave_out: [pylint]}
  all: {code: true, container: true, dependency: true, infrastructure: true, secret: true}
optional: [sonarqube]
""",
    "rules.yaml",
)
PROJECT = Inventory(("a.py", "sub/b.py", "main.go"), {"python": ("a.py", "sub/b.py"),
                    "go": ("main.go",)}, has_history=True)  # fmt: skip


def of(choices: tuple[Choice, ...], scanner: str, pass_name: str = "") -> Choice:
    return next(c for c in choices if c.scanner == scanner and c.pass_name == pass_name)


def test_each_pass_is_chosen_or_not_with_its_reason() -> None:
    choices = choose(SCANNERS, RULES, PROJECT)
    bandit = of(choices, "bandit", "bandit")
    assert (bandit.chosen, bandit.why) == (True, "2 files to read (a.py, ...)")
    eslint = of(choices, "eslint", "eslint")
    assert (eslint.chosen, eslint.why) == (False, "nothing to read: no file matches *.js")
    assert of(choices, "pylint").why == "the profile default leaves pylint out"
    assert of(choices, "gitleaks", "history").why == "the git history"
    image = of(choices, "trivy", "image")
    assert (image.chosen, image.why) == (False, "no image was given")
    left = [c for c in choices if c.type is ScanType.DEPENDENCY]
    assert [(c.chosen, c.why) for c in left] == [
        (False, "the profile default does not look at dependency")
    ]


def test_a_scanner_we_do_not_have_is_chosen_and_ends_unavailable() -> None:
    choices = choose(SCANNERS, RULES, PROJECT)
    mystery, sonar = of(choices, "mystery"), of(choices, "sonarqube")
    assert mystery.chosen
    assert mystery.required
    assert mystery.why == "mystery is not a part of this installation"
    assert sonar.chosen
    assert not sonar.required
    assert "a SonarQube server and a token" in sonar.why
    run = unavailable(mystery)
    assert (run.outcome, run.required, run.why) == (Outcome.UNAVAILABLE, True, mystery.why)
    reason = judge(RULES, [mystery], [run], []).reasons[0]
    assert (reason.ruling, reason.rule) == (Ruling.INCOMPLETE, "required.mystery")
    assert reason.hint == (
        "take it out of scan_tools.container; or write `optional: [mystery]` in rules.yaml"
    )


def test_a_scanner_named_for_a_type_it_cannot_look_at_does_not_vanish() -> None:
    choices = choose(SCANNERS, RULES, PROJECT, profile="all")
    gitleaks = next(c for c in choices if c.type is ScanType.DEPENDENCY)
    assert gitleaks.chosen
    assert "gitleaks has nothing here that looks at dependency" in gitleaks.why


def test_without_history_its_pass_is_not_chosen() -> None:
    choices = choose(SCANNERS, RULES, Inventory(("a.py",), {}))
    history = of(choices, "gitleaks", "history")
    assert (history.chosen, history.why) == (False, "there is no git history to read")


def test_types_take_the_place_of_the_profiles() -> None:
    choices = choose(SCANNERS, RULES, PROJECT, types=[ScanType.SECRET])
    assert {c.scanner for c in choices if c.chosen} == {"gitleaks"}
    assert of(choices, "bandit").why == "code was not asked for"


def test_only_names_scanners_whatever_the_policy_says() -> None:
    choices = choose(SCANNERS, RULES, PROJECT, only=["trivy", "pylint"])
    assert {(c.scanner, c.pass_name) for c in choices if c.chosen} == {
        ("trivy", "secret"),
        ("pylint", "pylint"),
    }
    choices = choose(SCANNERS, RULES, PROJECT, only=["trivy"], types=[ScanType.INFRASTRUCTURE])
    assert not any(c.chosen for c in choices)
    (sonar,) = choose(SCANNERS, RULES, PROJECT, only=["sonarqube"])
    assert sonar.chosen
    with pytest.raises(BadInput, match="no scanner 'nobody'"):
        choose(SCANNERS, RULES, PROJECT, only=["nobody"])


def test_an_image_is_looked_at_or_refused() -> None:
    choices = choose(SCANNERS, RULES, PROJECT, image="app.tar")
    assert of(choices, "trivy", "image").why == "the image app.tar"
    with pytest.raises(BadInput, match="no chosen scanner looks at images"):
        choose(SCANNERS, RULES, PROJECT, types=[ScanType.CODE], image="app.tar")


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInput) as caught:
        choose(SCANNERS, RULES, PROJECT, profile="paranoid")
    assert caught.value.hint == "it has default, all"


def test_source_that_no_chosen_scanner_knows_is_said() -> None:
    choices = choose(SCANNERS, RULES, PROJECT)
    left = unlooked(SCANNERS, PROJECT, choices)
    assert left == {"go": ("main.go",)}
    assert unlooked_notes(left, PROJECT) == ("go: no chosen scanner knows 1 of 1 file (main.go)",)
