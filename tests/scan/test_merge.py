"""Many scanners, one list: nothing is told twice, nothing is lost, each knows itself again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from pilotage.domain.call import Outcome
from pilotage.domain.finding import (
    Confidence,
    Finding,
    Location,
    Package,
    ScanType,
    Severity,
    Suppression,
)
from pilotage.domain.scan import ScannerRun
from pilotage.scan.line_hash import line_hashes
from pilotage.scan.merge import merge
from pilotage.scan.rules import InSource, load_rules

RULES = load_rules()
SOURCE = "import subprocess\nsubprocess.call(x, shell=True)\n"


def code(scanner: str, rule: str, line: int, **more: object) -> Finding:
    base = Finding(scanner, rule, ScanType.CODE, Severity.MEDIUM, "m", Location("a.py", line))
    return replace(base, **more)  # type: ignore[arg-type]


def reader(text: str, path: str = "a.py") -> Callable[[str], Sequence[str]]:
    lines = text.replace("\r\n", "\n").split("\n")
    return lambda name: lines if name == path else []


def merged(
    *findings: Finding,
    source: str = SOURCE,
    words: Sequence[Suppression] = (),
    in_source: InSource = InSource.NEVER,
) -> tuple[Finding, ...]:
    runs = [ScannerRun(f.scanner, "p", f.type, Outcome.SUCCEEDED, findings=(f,)) for f in findings]
    return merge(runs, replace(RULES, in_source=in_source), words, reader(source))


def test_the_same_rule_under_two_names_is_one_finding_with_both_sources() -> None:
    (one,) = merged(
        code("ruff", "S602", 2), code("bandit", "B602", 2, cwe=(78,), severity=Severity.HIGH)
    )
    assert (one.scanner, one.also, one.severity) == ("bandit", ("ruff",), Severity.HIGH)
    assert one.cwe == (78,)


def test_rules_pair_up_with_their_own_before_their_like() -> None:
    found = merged(
        code("bandit", "B602", 2), code("bandit", "B607", 2),
        code("ruff", "S607", 2), code("ruff", "S602", 2),
    )  # fmt: skip
    assert sorted((f.rule, f.also) for f in found) == [("B602", ("ruff",)), ("B607", ("ruff",))]


def test_one_weakness_under_two_cwes_is_one_finding() -> None:
    (one,) = merged(code("semgrep", "x.y", 2, cwe=(77,)), code("bandit", "B602", 2, cwe=(78,)))
    assert set(one.cwe) == {77, 78}


def test_other_weaknesses_other_lines_and_other_types_stay_apart() -> None:
    secret = replace(code("gitleaks", "aws", 2), type=ScanType.SECRET)
    found = merged(
        code("bandit", "B602", 2), code("ruff", "S102", 2), code("ruff", "S602", 1), secret
    )
    assert len(found) == 4
    assert not any(f.also for f in found)


def test_one_scanner_that_says_two_things_about_a_line_keeps_both() -> None:
    found = merged(code("x", "a", 2, cwe=(78,)), code("x", "b", 2, cwe=(78,)))
    assert {f.rule for f in found} == {"a", "b"}
    again = code("x", "a", 2)
    assert len(merged(again, again)) == 1


def test_findings_without_a_line_are_not_taken_for_one_another() -> None:
    found = merged(
        code("checkov", "a", 0, location=Location("Dockerfile"), cwe=(78,)),
        code("trivy", "b", 0, location=Location("Dockerfile"), cwe=(78,)),
    )
    assert len(found) == 2
    assert len({f.fingerprint for f in found}) == 2


def secret(scanner: str, rule: str, line: int, commit: str | None = None) -> Finding:
    where = Location(".env", line, commit=commit)
    return Finding(scanner, rule, ScanType.SECRET, Severity.HIGH, "m", where)


def test_secrets_on_one_line_are_one_and_history_adds_only_what_the_tree_lacks() -> None:
    found = merged(
        secret("gitleaks", "aws", 3), secret("trivy", "aws-key", 3),
        secret("gitleaks", "aws", 3, "c0ffee"), secret("gitleaks", "rsa", 9, "c0ffee"),
        secret("gitleaks", "rsa", 9, "beef"),
    )  # fmt: skip
    tree = next(f for f in found if f.location.line == 3)
    assert tree.location.commit is None
    assert set(tree.also) == {"trivy", "gitleaks (history)"}
    assert {f.location.commit for f in found if f.location.line == 9} == {"c0ffee", "beef"}
    assert len(found) == 3


def package(scanner: str, rule: str, *ids: str, name: str = "jinja2", **more: object) -> Finding:
    base = Finding(
        scanner, rule, ScanType.DEPENDENCY, Severity.UNKNOWN, "m", Location("requirements.txt", 1),
        ids=ids, package=Package("PyPI", name, "2.4.1", ("2.10",)),
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]


def test_one_vulnerability_under_many_ids_is_one_finding() -> None:
    (one,) = merged(
        package("osv", "PYSEC-1", "PYSEC-1", "CVE-2019-1"),
        package("trivy", "GHSA-1", "GHSA-1", severity=Severity.HIGH,
                package=Package("PyPI", "Jinja2", "2.4.1", ("2.11",))),
        package("grype", "CVE-2019-1", "GHSA-1", "CVE-2019-1"),
    )  # fmt: skip
    assert (one.scanner, one.also) == ("trivy", ("grype", "osv"))
    assert one.severity is Severity.HIGH
    assert set(one.ids) == {"PYSEC-1", "CVE-2019-1", "GHSA-1"}
    assert one.package is not None
    assert set(one.package.fixed) == {"2.10", "2.11"}


def test_two_vulnerabilities_and_two_packages_stay_apart() -> None:
    found = merged(
        package("osv", "CVE-1", "CVE-1"), package("osv", "CVE-2", "CVE-2"),
        package("osv", "CVE-1", "CVE-1", name="flask"),
        package("osv", "CVE-1", "CVE-1", location=Location("poetry.lock", 1)),
    )  # fmt: skip
    assert len({f.fingerprint for f in found}) == 4


def test_a_dependencys_identity_outlives_its_version_and_its_line() -> None:
    first = package("osv", "CVE-1", "CVE-1")
    later = replace(first, location=Location("requirements.txt", 7),
                    package=Package("PyPI", "Jinja2", "2.5"))  # fmt: skip
    assert merged(first)[0].fingerprint == merged(later)[0].fingerprint


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("# new\n\n# lines\n" + SOURCE, 5),
        (SOURCE.replace("\n", "\r\n"), 2),
        ("import subprocess\nif y:\n\tsubprocess.call( x, shell=True )\n", 3),
        (SOURCE + "more()\n", 2),
    ],
)
def test_a_finding_knows_itself_again_after_edits_around_it(source: str, line: int) -> None:
    before = merged(code("bandit", "B602", 2))[0].fingerprint
    assert merged(code("bandit", "B602", line), source=source)[0].fingerprint == before
    assert before.startswith("v1:")


def test_a_changed_line_another_rule_and_another_path_are_other_findings() -> None:
    before = merged(code("bandit", "B602", 2))[0].fingerprint
    changed = merged(code("bandit", "B602", 2), source=SOURCE.replace("x,", "y,"))
    other = merged(code("bandit", "B101", 2))
    moved = merged(code("bandit", "B602", 2, location=Location("b.py", 2)))
    assert len({before, changed[0].fingerprint, other[0].fingerprint, moved[0].fingerprint}) == 4


def test_either_scanner_alone_gives_the_same_fingerprint() -> None:
    both = merged(code("bandit", "B602", 2), code("ruff", "S602", 2))
    alone = merged(code("ruff", "S602", 2))
    assert both[0].fingerprint == alone[0].fingerprint


def test_two_equal_lines_stay_two_and_keep_their_order() -> None:
    source = "eval(x)\neval(x)\n"
    found = merged(code("bandit", "B307", 1), code("bandit", "B307", 2), source=source)
    assert len({f.fingerprint for f in found}) == 2
    lower = merged(code("bandit", "B307", 3), code("bandit", "B307", 4), source="a\nb\n" + source)
    assert [f.fingerprint for f in lower] == [f.fingerprint for f in found]


def test_githubs_line_hash_is_filled_in() -> None:
    (found,) = merged(code("bandit", "B602", 2))
    assert found.line_hash == line_hashes(SOURCE)[1]
    (history,) = merged(code("g", "x", 2, location=Location("a.py", 2, commit="c")))
    assert history.line_hash == ""


def test_the_worst_comes_first_and_an_unknown_severity_never_hides_a_known_one() -> None:
    found = merged(
        code("a", "1", 1, severity=Severity.LOW),
        code("a", "2", 1, severity=Severity.UNKNOWN),
        code("a", "3", 2, severity=Severity.CRITICAL),
    )
    assert [f.severity for f in found] == [Severity.CRITICAL, Severity.UNKNOWN, Severity.LOW]
    (one,) = merged(
        code("ruff", "S602", 2, severity=Severity.UNKNOWN, confidence=Confidence.HIGH),
        code("bandit", "B602", 2, severity=Severity.LOW),
    )
    assert one.severity is Severity.LOW


HERE = Suppression("a.py", 2, "nosec B602", "fixed input")


@pytest.mark.parametrize(
    ("in_source", "word", "counts"),
    [
        (InSource.NEVER, HERE, False),
        (InSource.WITH_REASON, HERE, True),
        (InSource.WITH_REASON, replace(HERE, reason=""), False),
        (InSource.ALWAYS, replace(HERE, reason=""), True),
        (InSource.ALWAYS, replace(HERE, word="nosec"), True),
        (InSource.ALWAYS, replace(HERE, word="nosec B101"), False),
        (InSource.ALWAYS, replace(HERE, line=1), False),
        (InSource.ALWAYS, replace(HERE, path="b.py"), False),
        (InSource.ALWAYS, replace(HERE, word="noqa"), False),
        (InSource.ALWAYS, Suppression("a.py", 0, "configuration"), False),
    ],
)
def test_a_word_in_the_source_counts_only_as_the_policy_says(
    in_source: InSource, word: Suppression, counts: bool
) -> None:
    (found,) = merged(code("bandit", "B602", 2), words=[word], in_source=in_source)
    assert found.suppressed == (word if counts else None)


@pytest.mark.parametrize(
    ("scanner", "rule", "word", "line", "counts"),
    [
        ("eslint", "no-eval", "eslint-disable-next-line no-eval", 1, True),
        ("eslint", "no-eval", "eslint-disable-next-line no-eval", 2, False),
        ("eslint", "no-eval", "eslint-disable-line", 2, True),
        ("eslint", "no-eval", "eslint-disable-line", 1, False),
        ("eslint", "security/detect-x", "eslint-disable security/detect-x", 1, True),
        ("eslint", "security/detect-x", "eslint-disable no-eval", 1, False),
        ("eslint", "no-eval", "eslint-disable", 5, False),
        ("pylint", "eval-used", "pylint: skip-file", 40, True),
        ("pylint", "eval-used", "pylint: disable eval-used", 2, True),
        ("pylint", "eval-used", "pylint: disable-next eval-used", 1, True),
        ("ruff", "S602", "noqa S602", 2, True),
        ("ruff", "S602", "noqa E501", 2, False),
        ("hadolint", "DL3008", "hadolint ignore DL3008", 1, True),
        ("trivy", "AWS-0001", "trivy:ignore *", 1, True),
        ("gitleaks", "aws", "gitleaks:allow", 2, True),
        ("zizmor", "unpinned-uses", "zizmor: ignore unpinned-uses", 2, True),
    ],
)
def test_a_word_reaches_as_far_as_its_scanner_says(
    scanner: str, rule: str, word: str, line: int, counts: bool
) -> None:
    words = [Suppression("a.py", line, word)]
    (found,) = merged(code(scanner, rule, 2), words=words, in_source=InSource.ALWAYS)
    assert (found.suppressed is not None) is counts
