"""The report as JSON: the keys of the article's `security_scan_report.json`, and ours beside them.

`scan_results`, as in the article, has an entry for each scanner run that succeeded; what did not
succeed is not low risk but stands in `runs`, `unread` and `verdict`. `aggregated_findings` are
merged: what several scanners say is one finding that names them all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from pilotage.domain.call import Outcome
from pilotage.domain.finding import Finding, ScanType, Severity, Suppression
from pilotage.domain.scan import Choice, Coverage, Scan, ScannerRun, Unread
from pilotage.domain.text import visible
from pilotage.domain.verdict import Reason, Ruling
from pilotage.scan.report import Format, finding_fields

SCHEMA_VERSION = 1
RISKS = ("critical", "high", "medium", "low")


@dataclass(frozen=True, slots=True)
class Summary:
    """The article's `scan_summary`. `risk_counts` counts scanner runs by their worst finding."""

    total_scans: int
    total_duration: float
    overall_risk: str
    risk_counts: Mapping[str, int]
    total_findings: int


@dataclass(frozen=True, slots=True)
class Result:
    """One scanner run that succeeded, as the article tells it."""

    tool_name: str
    scan_type: ScanType
    risk_level: str
    findings_count: int
    scan_duration: float
    scan_date: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict. `exit` is the exit code of the command line."""

    ruling: Ruling
    exit: int
    rule: str
    why: str
    reasons: Sequence[Reason]


@dataclass(frozen=True, slots=True)
class Made:
    """What the project is made of: how many files of which kind."""

    files: int
    bytes: int
    has_history: bool
    kinds: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Looked:
    """One run of a scanner, whatever became of it. `read` null: it gives no evidence."""

    scanner: str
    pass_name: str
    type: ScanType
    outcome: Outcome
    why: str
    required: bool
    complete: bool
    coverage: Coverage
    read: int | None
    expected: int | None
    findings: int
    unread: int
    seconds: float
    memory: int
    exit: int | None
    version: str
    started: str


@dataclass(frozen=True, slots=True)
class SecurityScanReport:
    """A scan by pilotage."""

    scan_summary: Summary
    scan_results: Sequence[Result]
    aggregated_findings: Sequence[Finding]
    schema_version: int
    id: str
    target: str
    started: str
    seconds: float
    profile: str
    policy: str
    content_key: str
    verdict: Judgement
    counts: Mapping[Severity, int]
    runs: Sequence[Looked]
    unread: Sequence[Unread]
    suppressions: Sequence[Suppression]
    choices: Sequence[Choice]
    inventory: Made
    notes: Sequence[str]


def render(scan: Scan) -> bytes:
    """ASCII only, so that nothing in it can be obeyed by a terminal; lone surrogates (no valid
    JSON) are spelled out."""
    report = msgspec.to_builtins(_report(scan), str_keys=True)
    report["aggregated_findings"] = [finding_fields(finding) for finding in scan.findings]
    return json.dumps(_valid(report), indent=2).encode() + b"\n"


def schema() -> bytes:
    """The JSON Schema (2020-12) of the report. Empty fields of a finding are left out."""
    whole: dict[str, Any] = msgspec.json.schema(SecurityScanReport)
    named = whole["$defs"]
    named["Finding"]["required"] = ["scanner", "type", "severity"]
    for part in ("Location", "Package"):
        named[part].pop("required", None)
    for finding_only in ("fingerprint", "also", "suppressed", "line_hash"):
        named["Finding"]["properties"][finding_only].pop("default", None)
    return json.dumps(_documented(whole), indent=2).encode() + b"\n"


def _documented(whole: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "security_scan_report.json",
        **whole,
    }


def _report(scan: Scan) -> SecurityScanReport:
    results = [_result(run) for run in scan.runs if run.outcome is Outcome.SUCCEEDED]
    return SecurityScanReport(
        scan_summary=_summary(results, len(scan.findings)),
        scan_results=results,
        aggregated_findings=(),
        schema_version=SCHEMA_VERSION,
        id=scan.id,
        target=scan.target,
        started=scan.started,
        seconds=scan.seconds,
        profile=scan.profile,
        policy=scan.policy,
        content_key=scan.content_key,
        verdict=Judgement(
            scan.verdict.ruling,
            scan.verdict.ruling.exit,
            scan.verdict.rule,
            scan.verdict.why,
            scan.verdict.reasons,
        ),
        counts={severity: scan.counts.get(severity, 0) for severity in Severity},
        runs=[_looked(run) for run in scan.runs],
        unread=scan.unread,
        suppressions=scan.suppressions,
        choices=scan.choices,
        inventory=Made(
            len(scan.inventory.files),
            scan.inventory.bytes,
            scan.inventory.has_history,
            {kind: len(files) for kind, files in scan.inventory.kinds.items()},
        ),
        notes=scan.notes,
    )


def _summary(results: Sequence[Result], findings: int) -> Summary:
    counts = {risk: sum(result.risk_level == risk for result in results) for risk in RISKS}
    return Summary(
        total_scans=len(results),
        total_duration=round(sum(result.scan_duration for result in results), 3),
        overall_risk=next((risk for risk in RISKS if counts[risk]), "low"),
        risk_counts=counts,
        total_findings=findings,
    )


def _result(run: ScannerRun) -> Result:
    return Result(
        tool_name=run.scanner,
        scan_type=run.type,
        risk_level=_risk(run.findings),
        findings_count=len(run.findings),
        scan_duration=run.seconds,
        scan_date=run.started,
    )


def _risk(findings: Sequence[Finding]) -> str:
    """The worst of the article's four words; a severity that nobody knows is not low."""
    worst = min((finding.severity for finding in findings), key=lambda s: s.rank, default=None)
    if worst is Severity.UNKNOWN:
        return "high"
    return worst.value if worst is not None and worst.value in RISKS else "low"


def _looked(run: ScannerRun) -> Looked:
    return Looked(
        scanner=run.scanner,
        pass_name=run.pass_name,
        type=run.type,
        outcome=run.outcome,
        why=run.why,
        required=run.required,
        complete=run.complete,
        coverage=run.coverage,
        read=run.read,
        expected=run.expected,
        findings=len(run.findings),
        unread=len(run.unread),
        seconds=run.seconds,
        memory=run.memory,
        exit=run.exit,
        version=run.version,
        started=run.started,
    )


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value) if any("\ud800" <= char <= "\udfff" for char in value) else value
    if isinstance(value, dict):
        return {_valid(key): _valid(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(each) for each in value]
    return value


JSON = Format(
    name="json",
    summary="the article's security_scan_report.json, with the verdict and its evidence",
    file="security_scan_report.json",
    render=render,
)
