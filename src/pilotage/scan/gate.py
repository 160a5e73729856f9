"""The gate: rules and what the scanners saw -> a verdict. Pure.

FAIL before INCOMPLETE before WARN before PASS: a threshold that is already exceeded stays exceeded
whatever else could not be looked at, and what is incomplete never passes. Every reason says what it
saw and which line of the policy would change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from pilotage.domain.call import Outcome
from pilotage.domain.finding import Finding, Severity
from pilotage.domain.scan import Choice, Coverage, ScannerRun, Unread
from pilotage.domain.text import counted, visible
from pilotage.domain.verdict import Reason, Ruling, Verdict
from pilotage.scan.inventory import matching
from pilotage.scan.rules import LEVELS, Action, Rules
from pilotage.scan.wording import every

_ORDER = (Ruling.FAIL, Ruling.INCOMPLETE, Ruling.WARN, Ruling.PASS)
_RULING = {Action.FAIL: Ruling.FAIL, Action.WARN: Ruling.WARN, Action.INFO: Ruling.PASS}


def judge(
    rules: Rules,
    choices: Sequence[Choice],
    runs: Sequence[ScannerRun],
    findings: Sequence[Finding],
    unread: Sequence[Unread] = (),
    strange: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Verdict:
    """The verdict on a scan. `unread` is what the stage could not take; each run tells its own.
    `strange` holds files by programming language that no scanner of the policy reads.

    Reasons stand in the order in which they weigh; one with the ruling PASS was only noted.
    """
    reasons = [
        *_thresholds(rules, findings),
        *_no_result(rules, choices, runs),
        *(reason for run in runs for reason in _run(rules, run)),
        *_nothing_ran(runs),
        *_unread(rules, unread),
        *_strange(rules, strange),
        *_suppressed(rules, findings),
    ]
    reasons.sort(key=lambda reason: _ORDER.index(reason.ruling))
    if not reasons or reasons[0].ruling is Ruling.PASS:
        reasons.insert(0, _clean(rules, runs, findings))
    return Verdict(reasons[0].ruling, reasons[0].rule, reasons[0].why, tuple(reasons))


def counts(rules: Rules, findings: Sequence[Finding]) -> dict[Severity, int]:
    """How many findings count at each level: those that are not suppressed, an unknown severity
    as the policy says."""
    counted: Counter[Severity] = Counter()
    for finding in findings:
        if finding.suppressed is None:
            unknown = finding.severity is Severity.UNKNOWN
            counted[rules.unknown_severity if unknown else finding.severity] += 1
    return dict(counted)


def _thresholds(rules: Rules, findings: Sequence[Finding]) -> Iterator[Reason]:
    counted = counts(rules, findings)
    unknown = sum(f.severity is Severity.UNKNOWN and f.suppressed is None for f in findings)
    for severity in LEVELS:
        level, count = rules.levels[severity], counted.get(severity, 0)
        if count <= level.threshold:
            continue
        why = f"{_findings(count, severity)}, more than the {level.threshold} allowed"
        if unknown and severity is rules.unknown_severity:
            why += f" ({unknown} of unknown severity count as {severity})"
        yield Reason(
            f"risk_level_config.{severity}",
            _RULING[level.action],
            why,
            f"mend them, or change risk_level_config.{severity} "
            f"(threshold {level.threshold}, action {level.action}) in {rules.name}",
        )


def _no_result(
    rules: Rules, choices: Sequence[Choice], runs: Sequence[ScannerRun]
) -> Iterator[Reason]:
    """A pass that was chosen and of which nobody has heard since."""
    ran = Counter((run.scanner, run.pass_name, run.type) for run in runs)
    for choice in choices:
        if choice.chosen and not ran[choice.scanner, choice.pass_name, choice.type]:
            yield _incomplete(
                rules,
                choice.scanner,
                choice.required,
                f"{_named(choice)} was chosen, but there is no result of it",
            )


def _run(rules: Rules, run: ScannerRun) -> Iterator[Reason]:
    """Why one run does not show that all of its files were looked at."""
    name = _named(run)
    if run.outcome is not Outcome.SUCCEEDED:
        why = f"{name}: {run.outcome.value.replace('_', ' ')}"
        if run.why:
            why += f" ({visible(run.why)})"
        mend = "" if run.pass_name else f"take it out of scan_tools.{run.type}"
        yield _incomplete(rules, run.scanner, run.required, why, mend)
        return
    if run.coverage is Coverage.NONE and rules.require_evidence:
        yield _incomplete(
            rules,
            run.scanner,
            run.required,
            f"{name} does not say what it has read",
            f"write require_evidence: false in {rules.name}",
        )
    left = [unread for unread in run.unread if not _allowed(rules, unread)]
    share = _share(run, len(left))
    if share < rules.min_coverage:
        yield _incomplete(
            rules,
            run.scanner,
            run.required,
            _half_blind(name, run, left),
            "mend those files, lower min_coverage, or name them under unread_allowed "
            f"in {rules.name}",
        )


def _share(run: ScannerRun, left: int) -> float:
    """The share of its files that a run has read, at most. Unread files count even where the
    scanner gives no figure; a mere count may leave out files that hold nothing for the scanner
    (measured: trivy's secret rules), so that of it only zero is telling."""
    expected = run.expected if run.expected is not None else (run.read or 0) + len(run.unread)
    missing = left
    if run.read is not None and (run.coverage is Coverage.LISTED or not run.read):
        missing = max(left, expected - run.read - (len(run.unread) - left))
    return 1.0 if missing <= 0 else max(0.0, 1 - missing / max(expected, missing))


def _half_blind(name: str, run: ScannerRun, left: Sequence[Unread]) -> str:
    if left and left[0].path == every(run.expected or 0):
        return f"{name} has read none of {counted(run.expected or 0, 'file')}"
    if left:
        more = f" and {len(left) - 1} more" if left[1:] else ""
        return f"{name} has not read {visible(left[0].path)}{more} ({visible(left[0].why)})"
    return f"{name} has read {run.read} of {counted(run.expected or 0, 'file')}"


def _nothing_ran(runs: Sequence[ScannerRun]) -> Iterator[Reason]:
    if not any(run.outcome is Outcome.SUCCEEDED for run in runs):
        yield Reason(
            "nothing-ran",
            Ruling.INCOMPLETE,
            "no scanner has looked at anything",
            "check the path, the profile and the types: the choice of scanners says why",
        )


def _unread(rules: Rules, unread: Sequence[Unread]) -> Iterator[Reason]:
    left = [each for each in unread if not _allowed(rules, each)]
    if left:
        more = f" and {len(left) - 1} more" if left[1:] else ""
        yield Reason(
            "unread",
            Ruling.INCOMPLETE,
            f"nobody could look at {visible(left[0].path)}{more} ({visible(left[0].why)})",
            f"mend them, or name them under unread_allowed in {rules.name}",
        )


def _strange(rules: Rules, strange: Mapping[str, Sequence[str]]) -> Iterator[Reason]:
    """The scanners that the policy names did their work, but of a language they do not speak
    nobody can say that it is clean."""
    for kind, files in strange.items():
        left = [path for path in files if not matching(rules.unread_allowed, (path,))]
        if left:
            more = f" and {len(left) - 1} more" if left[1:] else ""
            yield Reason(
                "unlooked",
                Ruling.WARN,
                f"no scanner of the policy reads {kind}: {visible(left[0])}{more}",
                f"name one that does under scan_tools, or the files under unread_allowed, in "
                f"{rules.name}",
            )


def _suppressed(rules: Rules, findings: Sequence[Finding]) -> Iterator[Reason]:
    count = sum(finding.suppressed is not None for finding in findings)
    if count:
        yield Reason(
            "in_source",
            Ruling.PASS,
            f"{counted(count, 'finding')} suppressed by words in the source: not counted",
            f"write in_source: never in {rules.name} to count them",
        )


def _clean(rules: Rules, runs: Sequence[ScannerRun], findings: Sequence[Finding]) -> Reason:
    found = counts(rules, findings)
    seen = ", ".join(
        f"{found.get(severity, 0)} {severity} (limit {rules.levels[severity].threshold})"
        for severity in LEVELS
    )
    done = sum(run.outcome is Outcome.SUCCEEDED for run in runs)
    return Reason(
        "risk_level_config",
        Ruling.PASS,
        f"no level is over its limit: {seen}; {done} of {counted(len(runs), 'scanner run')} looked",
        f"the limits stand under risk_level_config in {rules.name}",
    )


def _incomplete(rules: Rules, scanner: str, required: bool, why: str, hint: str = "") -> Reason:
    """INCOMPLETE for a required scanner; for one that the policy calls optional only a note."""
    name = visible(scanner)
    if required:
        mend = hint or f"mend it (pilotage scanners check {name})"
        return Reason(
            f"required.{name}",
            Ruling.INCOMPLETE,
            why,
            f"{mend}; or write `optional: [{name}]` in {rules.name}",
        )
    return Reason(
        f"optional.{name}",
        Ruling.PASS,
        f"{why}; the policy can do without",
        f"take {name} out of optional in {rules.name} to require it",
    )


def _allowed(rules: Rules, unread: Unread) -> bool:
    return bool(matching(rules.unread_allowed, (unread.path,)))


def _named(of: Choice | ScannerRun) -> str:
    inner = f"{of.pass_name}, " if of.pass_name and of.pass_name != of.scanner else ""
    return visible(f"{of.scanner} ({inner}{of.type})")


def _findings(count: int, severity: Severity) -> str:
    return f"{count} {severity} finding{'' if count == 1 else 's'}"
