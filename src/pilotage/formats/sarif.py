"""SARIF 2.1.0 as GitHub code scanning takes it. https://docs.oasis-open.org/sarif/sarif/v2.1.0

One SARIF run a scanner, each in a category of its own, and first one of pilotage itself, which
holds the verdict and what could not be looked at. GitHub refuses a file with more than 20 runs,
more than 25,000 results in one, or more than 10 MB packed: then the least severe results are left
out, and a notification says how many.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pilotage import __version__
from pilotage.domain.call import Outcome
from pilotage.domain.finding import Confidence, Finding, Severity
from pilotage.domain.scan import Scan, ScannerRun, Unread
from pilotage.domain.text import counted, visible
from pilotage.domain.verdict import Ruling
from pilotage.scan.report import Format
from pilotage.scan.wording import mend, outcome, runner, what

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RUNS, RESULTS, PACKED, TAGS, SHORT, LONG, NOTES = 20, 25_000, 10 << 20, 20, 1024, 8192, 100
SHRINK = 0.8
LEVELS = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning",
          Severity.UNKNOWN: "warning", Severity.LOW: "note", Severity.INFO: "note"}  # fmt: skip
SCORES = {Severity.CRITICAL: "9.5", Severity.HIGH: "8.0", Severity.MEDIUM: "5.5",
          Severity.LOW: "2.0", Severity.INFO: "0.1"}  # fmt: skip
"""The middle of GitHub's bands. An unknown severity has none: it is never guessed."""
NOTIFIES = {Ruling.FAIL: "note", Ruling.INCOMPLETE: "error", Ruling.WARN: "note",
            Ruling.PASS: "note"}  # fmt: skip


def render(scan: Scan) -> bytes:
    """The file, within GitHub's limits."""
    return sarif(scan)


def sarif(scan: Scan, results: int = RESULTS, packed: int = PACKED) -> bytes:
    """The file with at most `results` results a run and `packed` bytes after gzip."""
    ranked = sorted(scan.findings, key=lambda finding: finding.severity.rank)
    kept = len(ranked)
    while True:
        data = _file(scan, ranked[:kept], results)
        if kept == 0 or len(gzip.compress(data, 6)) <= packed:
            return data
        kept = int(kept * SHRINK)


def _file(scan: Scan, findings: Sequence[Finding], most: int) -> bytes:
    """One file of these findings, worst first."""
    grouped: dict[str, list[Finding]] = {run.scanner: [] for run in scan.runs}
    for finding in findings:
        grouped.setdefault(finding.scanner, []).append(finding)
    # Where there are too many scanners, those without a result are only told of in our own run.
    order = sorted(grouped, key=lambda name: not grouped[name])[: RUNS - 1]
    kept = {name: grouped[name][:most] for name in grouped if name in order}
    left_out = len(scan.findings) - sum(map(len, kept.values()))
    runs = [_own_run(scan, left_out)]
    runs += [_scanner_run(scan, name, found) for name, found in kept.items()]
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": runs}
    return json.dumps(log, ensure_ascii=True, separators=(",", ":")).encode()


def _own_run(scan: Scan, left_out: int) -> dict[str, Any]:
    """Ours: no results, but the verdict and everything that was not looked at."""
    verdict = scan.verdict
    notes = [_notification(NOTIFIES[verdict.ruling], f"{verdict.ruling}: {verdict.why}")]
    if left_out:
        least = counted(left_out, "finding")
        text = f"{least} left out to stay within GitHub's limits, the least severe"
        notes.append(_notification("warning", text))
    notes += [_notification("error", _failure(run)) for run in scan.runs if not _ran(run)]
    notes += _unread([row for row in scan.unread if not row.scanner])
    invocation = {
        "executionSuccessful": verdict.ruling is not Ruling.INCOMPLETE,
        "exitCode": verdict.ruling.exit,
        "toolExecutionNotifications": notes,
        **({"startTimeUtc": scan.started} if scan.started else {}),
    }
    tool = {"driver": {"name": "pilotage", "version": __version__, "rules": []}}
    return _run(scan, "pilotage", tool, [invocation], [])


def _scanner_run(scan: Scan, name: str, findings: Sequence[Finding]) -> dict[str, Any]:
    passes = [run for run in scan.runs if run.scanner == name]
    rules: dict[str, list[Finding]] = {}
    for finding in findings:
        rules.setdefault(_rule_id(finding), []).append(finding)
    index = {rule: number for number, rule in enumerate(rules)}
    driver: dict[str, Any] = {
        "name": visible(name),
        "rules": [_rule(rule, told) for rule, told in rules.items()],
    }
    if version := next((run.version for run in passes if run.version), ""):
        driver["version"] = visible(version)
    results = [_result(finding, index[_rule_id(finding)]) for finding in findings]
    invocations = [_invocation(run) for run in passes]
    return _run(scan, visible(name), {"driver": driver}, invocations, results)


def _run(
    scan: Scan,
    name: str,
    tool: Mapping[str, Any],
    invocations: Sequence[Any],
    results: Sequence[Any],
) -> dict[str, Any]:
    run: dict[str, Any] = {
        "tool": tool,
        "automationDetails": {"id": f"pilotage/{name}/{scan.id}"},
        "results": results,
        "columnKind": "unicodeCodePoints",
    }
    if invocations:
        run["invocations"] = invocations
    return run


def _invocation(run: ScannerRun) -> dict[str, Any]:
    """A pass. Successful means that it ran and left nothing out, not that it is clean."""
    notes = [] if _ran(run) else [_notification("error", _failure(run))]
    notes += _unread(run.unread)
    told: dict[str, Any] = {"executionSuccessful": run.complete}
    if run.exit is not None:
        told["exitCode"] = run.exit
    if run.started:
        told["startTimeUtc"] = run.started
    if notes:
        told["toolExecutionNotifications"] = notes
    return told


def _ran(run: ScannerRun) -> bool:
    return run.outcome is Outcome.SUCCEEDED


def _failure(run: ScannerRun) -> str:
    why = f": {run.why}" if run.why else ""
    return f"{runner(run)} ({run.type}) {outcome(run.outcome)}{why}"


def _unread(rows: Sequence[Unread]) -> list[dict[str, Any]]:
    notes = [
        {
            **_notification("warning", f"not looked at: {row.path} ({row.why})"),
            **({"locations": [_place(row.path)]} if row.path else {}),
        }
        for row in rows[:NOTES]
    ]
    if len(rows) > NOTES:
        more = counted(len(rows) - NOTES, "more file")
        notes.append(_notification("warning", f"not looked at: {more}"))
    return notes


def _notification(level: str, text: str) -> dict[str, Any]:
    return {"level": level, "message": {"text": _text(text, LONG)}}


def _rule_id(finding: Finding) -> str:
    return visible(finding.rule) or "finding"


def _rule(rule: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """A rule, told from its worst finding. GitHub takes the severity from here."""
    first = findings[0]
    short = _text(first.title or first.message or rule, SHORT)
    described: dict[str, Any] = {
        "id": rule,
        "shortDescription": {"text": short},
        "fullDescription": {"text": _text(first.message or first.title or rule, SHORT)},
        "help": {"text": _help(first)},
        "defaultConfiguration": {"level": LEVELS[first.severity]},
        "properties": _rule_properties(findings),
    }
    if first.url.startswith(("https://", "http://")):
        described["helpUri"] = quote(visible(first.url), safe=":/?#[]@!$&'()*+,;=%~")
    return described


def _help(finding: Finding) -> str:
    mended = mend(finding)
    parts = (finding.message or finding.title or finding.rule, mended, finding.url)
    return _text("\n".join(part for part in parts if part), LONG)


def _rule_properties(findings: Sequence[Finding]) -> dict[str, Any]:
    first = findings[0]
    numbers = sorted({number for finding in findings for number in finding.cwe})
    tags = ["security", first.type.value, *(f"external/cwe/cwe-{n:03d}" for n in numbers)]
    properties: dict[str, Any] = {"tags": tags[:TAGS]}
    if first.severity in SCORES:
        properties["security-severity"] = SCORES[first.severity]
    if first.confidence is not Confidence.UNKNOWN:
        properties["precision"] = first.confidence.value
    return properties


def _result(finding: Finding, index: int) -> dict[str, Any]:
    prints = {"primaryLocationLineHash": finding.line_hash, "pilotage/v1": finding.fingerprint}
    result: dict[str, Any] = {
        "ruleId": _rule_id(finding),
        "ruleIndex": index,
        "level": LEVELS[finding.severity],
        "message": {"text": _message(finding)},
        "locations": [_place(finding.location.path, _region(finding))],
        "partialFingerprints": {name: value for name, value in prints.items() if value},
        "properties": {"severity": finding.severity.value, "type": finding.type.value},
    }
    if finding.suppressed is not None:
        reason = visible(finding.suppressed.reason) or "no reason is given"
        accepted = {"kind": "inSource", "status": "accepted", "justification": reason}
        result["suppressions"] = [accepted]
    return result


def _message(finding: Finding) -> str:
    parts = [what(finding) if finding.package else finding.message or finding.title or finding.rule]
    parts += [mend(finding)] if finding.package else []
    if finding.location.commit:
        parts.append(f"only in history, commit {finding.location.commit}")
    if finding.location.inside:
        parts.append(f"in {finding.location.inside}")
    if finding.also:
        parts.append(f"also found by {', '.join(finding.also)}")
    return _text("\n".join(parts), LONG)


def _place(path: str, region: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Relative to the root, never out of it, whatever the path says."""
    parts = [part for part in visible(path).split("/") if part not in ("", ".", "..")]
    uri = quote("/".join(parts), safe="/") or "."
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if region is not None:
        physical["region"] = region
    return {"physicalLocation": physical}


def _region(finding: Finding) -> dict[str, int]:
    """GitHub wants a line: what is about a whole file stands at its first."""
    at = finding.location
    line = max(at.line or 1, 1)
    end = max(at.end_line or line, line)
    column = max(at.column or 1, 1)
    region = {"startLine": line, "startColumn": column, "endLine": end}
    if at.end_column is not None and (end > line or at.end_column > column):
        region["endColumn"] = max(at.end_column, 1)
    return region


def _text(text: str, most: int) -> str:
    """Several lines at most `most` long, never empty, nothing in it that a terminal obeys."""
    shown = "\n".join(_lines(text)) or "–"
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        if shown := visible(line.rstrip()):
            yield shown


SARIF = Format(
    name="sarif",
    summary="SARIF 2.1.0 for GitHub code scanning",
    file="security_scan_report.sarif",
    render=render,
)
