"""The gate: what was not looked at never passes, and every reason says what would change it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.domain.call import Outcome
from pilotage.domain.finding import Finding, Location, ScanType, Severity, Suppression
from pilotage.domain.scan import Choice, Coverage, ScannerRun, Unread
from pilotage.domain.text import visible
from pilotage.domain.verdict import Ruling
from pilotage.scan.gate import counts, judge
from pilotage.scan.rules import LEVELS, Action, Level, Rules, load_rules

ARTICLE = replace(
    load_rules(),
    name="rules.yaml",
    levels={
        Severity.CRITICAL: Level(0, Action.FAIL),
        Severity.HIGH: Level(2, Action.FAIL),
        Severity.MEDIUM: Level(5, Action.WARN),
        Severity.LOW: Level(10, Action.INFO),
    },
    unread_allowed=(),
)
RAN = ScannerRun("bandit", "bandit", ScanType.CODE, Outcome.SUCCEEDED)


def some(severity: Severity, count: int) -> list[Finding]:
    return [
        Finding("s", "r", ScanType.CODE, severity, "m", Location("a.py", line))
        for line in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("severity", "count", "ruling"),
    [
        (Severity.CRITICAL, 0, Ruling.PASS),
        (Severity.CRITICAL, 1, Ruling.FAIL),
        (Severity.HIGH, 2, Ruling.PASS),
        (Severity.HIGH, 3, Ruling.FAIL),
        (Severity.MEDIUM, 5, Ruling.PASS),
        (Severity.MEDIUM, 6, Ruling.WARN),
        (Severity.LOW, 500, Ruling.PASS),
        (Severity.INFO, 500, Ruling.PASS),
        (Severity.UNKNOWN, 2, Ruling.PASS),
        (Severity.UNKNOWN, 3, Ruling.FAIL),
    ],
)
def test_a_level_acts_when_its_count_exceeds_the_threshold(
    severity: Severity, count: int, ruling: Ruling
) -> None:
    verdict = judge(ARTICLE, [], [RAN], some(severity, count))
    assert verdict.ruling is ruling


def test_unknown_counts_as_the_policy_says_together_with_that_level() -> None:
    found = [*some(Severity.HIGH, 2), *some(Severity.UNKNOWN, 1)]
    verdict = judge(ARTICLE, [], [RAN], found)
    assert verdict.ruling is Ruling.FAIL
    assert verdict.rule == "risk_level_config.high"
    assert verdict.why == (
        "3 high findings, more than the 2 allowed (1 of unknown severity count as high)"
    )
    assert (
        "risk_level_config.high (threshold 2, action fail) in rules.yaml" in verdict.reasons[0].hint
    )
    assert judge(replace(ARTICLE, unknown_severity=Severity.INFO), [], [RAN], found).ruling is (
        Ruling.PASS
    )


def test_a_pass_says_what_was_seen() -> None:
    verdict = judge(ARTICLE, [], [RAN], some(Severity.HIGH, 1))
    assert (verdict.ruling, verdict.rule) == (Ruling.PASS, "risk_level_config")
    assert "1 high (limit 2)" in verdict.why
    assert "1 of 1 scanner run looked" in verdict.why


def test_failure_outweighs_incompleteness_and_both_are_told() -> None:
    broken = replace(RAN, outcome=Outcome.TIMED_OUT, why="took longer than 60 s")
    verdict = judge(ARTICLE, [], [RAN, broken], some(Severity.CRITICAL, 1))
    assert verdict.ruling is Ruling.FAIL
    assert [r.ruling for r in verdict.reasons] == [Ruling.FAIL, Ruling.INCOMPLETE]
    assert verdict.reasons[1].why == "bandit (code): timed out (took longer than 60 s)"
    assert "`optional: [bandit]` in rules.yaml" in verdict.reasons[1].hint


def test_nothing_that_ran_is_never_a_pass() -> None:
    assert judge(ARTICLE, [], [], []).ruling is Ruling.INCOMPLETE
    skipped = replace(RAN, outcome=Outcome.SKIPPED, required=False)
    verdict = judge(ARTICLE, [], [skipped], [])
    assert (verdict.ruling, verdict.rule) == (Ruling.INCOMPLETE, "nothing-ran")


def test_a_chosen_pass_without_a_result_is_incomplete() -> None:
    choice = Choice("trivy", "config", ScanType.INFRASTRUCTURE, True, "x")
    verdict = judge(ARTICLE, [choice], [RAN], [])
    assert verdict.ruling is Ruling.INCOMPLETE
    assert "trivy (config, infrastructure) was chosen, but there is no result" in verdict.why
    assert judge(ARTICLE, [replace(choice, chosen=False)], [RAN], []).ruling is Ruling.PASS
    noted = judge(ARTICLE, [replace(choice, required=False)], [RAN], [])
    assert noted.ruling is Ruling.PASS
    assert noted.reasons[1].rule == "optional.trivy"


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.SUCCEEDED])
def test_every_other_outcome_of_a_required_scanner_is_incomplete(outcome: Outcome) -> None:
    broken = replace(RAN, scanner="ruff", outcome=outcome)
    assert judge(ARTICLE, [], [RAN, broken], []).ruling is Ruling.INCOMPLETE
    optional = replace(broken, required=False)
    verdict = judge(ARTICLE, [], [RAN, optional], [])
    assert verdict.ruling is Ruling.PASS
    assert "the policy can do without" in verdict.reasons[1].why


def test_a_half_blind_scanner_is_incomplete_unless_the_policy_says_how_much_is_enough() -> None:
    half = replace(
        RAN, coverage=Coverage.LISTED, read=9, expected=10, unread=(Unread("b.py", "x"),)
    )
    verdict = judge(ARTICLE, [], [half], [])
    assert verdict.ruling is Ruling.INCOMPLETE
    assert "bandit (code) has not read b.py (x)" in verdict.why
    assert judge(replace(ARTICLE, min_coverage=0.9), [], [half], []).ruling is Ruling.PASS
    assert judge(replace(ARTICLE, min_coverage=0.91), [], [half], []).ruling is Ruling.INCOMPLETE
    allowed = replace(ARTICLE, unread_allowed=("b.*",))
    assert judge(allowed, [], [half], []).ruling is Ruling.PASS
    fewer = replace(half, unread=(), read=5)
    assert "has read 5 of 10 files" in judge(ARTICLE, [], [fewer], []).why
    counted = replace(fewer, coverage=Coverage.COUNTED)
    assert judge(ARTICLE, [], [counted], []).ruling is Ruling.PASS
    assert judge(ARTICLE, [], [replace(counted, read=0)], []).ruling is Ruling.INCOMPLETE
    silent = replace(half, coverage=Coverage.NONE, read=None, expected=10)
    assert judge(ARTICLE, [], [silent], []).ruling is Ruling.INCOMPLETE


@pytest.mark.parametrize(
    ("files", "path", "said"),
    [
        (3, "all 3 files", "bandit (code) has read none of 3 files"),
        (1, "a.txt", "bandit (code) has not read a.txt (x)"),
    ],
)
def test_a_scanner_that_has_read_nothing_is_said_in_words(files: int, path: str, said: str) -> None:
    none = replace(
        RAN, coverage=Coverage.COUNTED, read=0, expected=files, unread=(Unread(path, "x"),)
    )
    verdict = judge(ARTICLE, [], [none], [])
    assert (verdict.ruling, verdict.why) == (Ruling.INCOMPLETE, said)


def test_evidence_can_be_required() -> None:
    assert judge(ARTICLE, [], [RAN], []).ruling is Ruling.PASS
    verdict = judge(replace(ARTICLE, require_evidence=True), [], [RAN], [])
    assert verdict.ruling is Ruling.INCOMPLETE
    assert "require_evidence: false" in verdict.reasons[0].hint


def test_what_the_stage_could_not_take_is_incomplete() -> None:
    unread = [Unread("big.js", "has 100 MiB"), Unread("link", "out of the tree")]
    verdict = judge(ARTICLE, [], [RAN], [], unread)
    assert (verdict.ruling, verdict.rule) == (Ruling.INCOMPLETE, "unread")
    assert verdict.why == "nobody could look at big.js and 1 more (has 100 MiB)"
    allowed = replace(ARTICLE, unread_allowed=("big.js", "link"))
    assert judge(allowed, [], [RAN], [], unread).ruling is Ruling.PASS


def test_a_language_that_no_scanner_reads_keeps_a_scan_from_pass() -> None:
    strange = {"go": ("main.go", "a_test.go")}
    verdict = judge(ARTICLE, (), [RAN], [], (), strange)
    assert (verdict.ruling, verdict.rule) == (Ruling.WARN, "unlooked")
    assert verdict.why == "no scanner of the policy reads go: main.go and 1 more"
    allowed = replace(ARTICLE, unread_allowed=("*.go",))
    assert judge(allowed, (), [RAN], [], (), strange).ruling is Ruling.PASS


def test_suppressed_findings_do_not_count_and_are_told() -> None:
    found = [
        replace(f, suppressed=Suppression("a.py", 1, "nosec")) for f in some(Severity.CRITICAL, 2)
    ]
    verdict = judge(ARTICLE, [], [RAN], found)
    assert verdict.ruling is Ruling.PASS
    assert verdict.reasons[1].rule == "in_source"
    assert "2 findings suppressed by words in the source" in verdict.reasons[1].why


RUNS = st.builds(
    ScannerRun,
    scanner=st.sampled_from(["a", "b", "c"]),
    pass_name=st.just("p"),
    type=st.sampled_from(ScanType),
    outcome=st.sampled_from(Outcome),
    why=st.text(max_size=5),
    unread=st.lists(st.builds(Unread, st.text(max_size=5), st.just("why")), max_size=2).map(tuple),
    coverage=st.sampled_from(Coverage),
    read=st.none() | st.integers(0, 5),
    expected=st.none() | st.integers(0, 5),
    required=st.booleans(),
)
FINDINGS = st.builds(
    Finding,
    scanner=st.just("a"),
    rule=st.just("r"),
    type=st.sampled_from(ScanType),
    severity=st.sampled_from(Severity),
    message=st.just("m"),
    location=st.just(Location("a.py", 1)),
    suppressed=st.none() | st.just(Suppression("a.py", 1, "nosec")),
)
CHOICES = st.builds(Choice, st.sampled_from(["a", "b"]), st.just("p"), st.sampled_from(ScanType),
                    st.booleans(), st.just("why"), st.booleans())  # fmt: skip
LEVEL = st.builds(Level, st.integers(0, 3), st.sampled_from(Action))
RULES = st.builds(
    lambda levels, unknown, evidence: replace(
        ARTICLE,
        levels=dict(zip(LEVELS, levels, strict=True)),
        unknown_severity=unknown,
        require_evidence=evidence,
    ),
    st.tuples(LEVEL, LEVEL, LEVEL, LEVEL),
    st.sampled_from([*LEVELS, Severity.INFO]),
    st.booleans(),
)
BLIND = {Ruling.FAIL, Ruling.INCOMPLETE}


@given(RULES, st.lists(CHOICES, max_size=3), st.lists(RUNS, max_size=4),
       st.lists(FINDINGS, max_size=8), st.lists(st.just(Unread("x", "y")), max_size=1))  # fmt: skip
def test_whatever_happens_absence_never_passes_and_the_worst_reason_rules(
    rules: Rules,
    choices: list[Choice],
    runs: list[ScannerRun],
    findings: list[Finding],
    unread: list[Unread],
) -> None:
    verdict = judge(rules, choices, runs, findings, unread)
    ran = {(r.scanner, r.pass_name, r.type) for r in runs}
    blind = (
        any(run.required and not run.complete for run in runs)
        or not any(run.outcome is Outcome.SUCCEEDED for run in runs)
        or bool(unread)
        or any(
            c.chosen and c.required and (c.scanner, c.pass_name, c.type) not in ran for c in choices
        )
    )
    if blind:
        assert verdict.ruling in BLIND
    counted = counts(rules, findings)
    fails = any(
        level.action is Action.FAIL and counted.get(severity, 0) > level.threshold
        for severity, level in rules.levels.items()
    )
    assert (verdict.ruling is Ruling.FAIL) == fails
    weights = [Ruling.FAIL, Ruling.INCOMPLETE, Ruling.WARN, Ruling.PASS]
    ranks = [weights.index(reason.ruling) for reason in verdict.reasons]
    assert ranks == sorted(ranks)
    assert (verdict.rule, verdict.why) == (verdict.reasons[0].rule, verdict.reasons[0].why)
    assert verdict.ruling is verdict.reasons[0].ruling
    assert all(r.rule and r.why and r.hint and visible(r.why) == r.why for r in verdict.reasons)


@given(RULES, st.lists(RUNS, max_size=3), st.lists(FINDINGS, max_size=8), FINDINGS, RUNS)
def test_one_more_finding_or_broken_run_never_makes_it_better(
    rules: Rules,
    runs: list[ScannerRun],
    findings: list[Finding],
    finding: Finding,
    broken: ScannerRun,
) -> None:
    weights = [Ruling.FAIL, Ruling.INCOMPLETE, Ruling.WARN, Ruling.PASS]
    before = weights.index(judge(rules, [], runs, findings).ruling)
    more = judge(rules, [], runs, [*findings, finding])
    assert weights.index(more.ruling) <= before
    broken = replace(broken, outcome=Outcome.FAILED)
    assert weights.index(judge(rules, [], [*runs, broken], findings).ruling) <= before
