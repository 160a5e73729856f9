"""The security gate as a tool, its findings by the page, and each scanner as a tool of its own."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pilotage.domain.call import Effect, Outcome, ToolResult
from pilotage.domain.errors import BadInput, Denied, NotFound
from pilotage.domain.finding import Finding, ScanType, Severity
from pilotage.domain.scan import Scan, ScannerRun
from pilotage.domain.text import visible
from pilotage.domain.verdict import Reason, Ruling
from pilotage.scan.orchestrate import ScanRequest, Scans
from pilotage.scan.pages import page
from pilotage.scan.report import Format, Formats, finding_fields
from pilotage.scan.rules import load_rules
from pilotage.scan.scanner import Scanner
from pilotage.tool.roots import Roots
from pilotage.tool.tool import Call, Definition, tool

Kind = Literal["full", "code", "container", "dependency", "infrastructure", "secret"]
LONGEST = 7200.0
PAGE = 100
MOST_FINDINGS = 5000
"""What a single scanner's tool answers at most; it says so where there are more."""
MOST_UNREAD = 50


@tool(Effect.WRITE, idempotent=True, open=True, timeout=LONGEST, tasks="optional")
async def security_scanner(
    source_path: Path | None = None,
    scan_type: Kind = "full",
    image: str = "",
    profile: str = "default",
    config: Path | None = None,
    types: list[ScanType] = [],  # noqa: B006
    scanners: list[str] = [],  # noqa: B006
    formats: list[str] = [],  # noqa: B006
    output: Path | None = None,
    limit: int = PAGE,
    *,
    scans: Scans,
    shelf: Formats,
    roots: Roots,
    here: Call,
) -> ToolResult:
    """Scan a checkout, an image or both with every scanner that has something to read, and gate it.

    Succeeds on the verdicts PASS and WARN; FAIL and INCOMPLETE are failures that carry the whole
    report. `scan_type` or `types` narrow what the profile looks at; `scanners` names scanners
    instead of the policy's; `config` is a rules file (security_scan_configs.yaml) instead of ours.
    `image` is a docker-archive, an OCI layout or an OCI archive. Reports in `formats` (terminal,
    json, sarif, html) are written into the folder `output`, or come as text in `rendered` where
    none is given. `limit` bounds the findings in the answer; tool scan_findings goes on from
    `next_cursor`, and scan_report renders the report later.
    """
    wanted = shelf.find(formats or (["json", "sarif", "html"] if output else []))
    kinds = tuple(ScanType) if scan_type == "full" else (ScanType(scan_type),)
    narrowed = types or (kinds if scan_type != "full" else ())
    request = _request(source_path, image, profile, config, narrowed, scanners, roots)
    scan = await scans.scan(request, here.report, here.call.by.name)
    value = _answer(scan, limit)
    value |= await asyncio.to_thread(_write, scan, wanted, output)
    ruling = scan.verdict.ruling
    if ruling in (Ruling.PASS, Ruling.WARN):
        return ToolResult(Outcome.SUCCEEDED, value)
    hint = scan.verdict.reasons[0].hint if scan.verdict.reasons else ""
    return ToolResult(Outcome.FAILED, value, f"{ruling}: {scan.verdict.why}", hint)


@tool(Effect.READ, idempotent=True)
async def scan_findings(
    scan_id: str,
    cursor: str = "",
    limit: int = PAGE,
    severity: Severity | None = None,
    *,
    scans: Scans,
    here: Call,
) -> ToolResult:
    """Page through the findings of a scan that you had made here (the last few are kept).

    Worst first, in the order of the report; `severity` keeps those of one severity. `next_cursor`
    of an answer, given as `cursor`, goes on behind it; it is missing at the end. A finding's
    `fingerprint` is its id: it stays when lines move, and from scan to scan.
    """
    scan = _kept(scans, scan_id, here)
    return ToolResult(
        Outcome.SUCCEEDED,
        {
            "scan_id": scan.id,
            "verdict": scan.verdict.ruling.value,
            **_page(scan.findings, limit, cursor, severity),
        },
    )


@tool(Effect.READ, idempotent=True)
async def scan_report(
    scan_id: str,
    format: str = "",
    limit: int = 0,
    *,
    scans: Scans,
    shelf: Formats,
    here: Call,
) -> ToolResult:
    """The verdict of a scan that you had made here, why, and what each scanner did.

    With a `format` (terminal, json, sarif, html) the whole report comes as text in `rendered`
    instead. `limit` asks for so many of its findings; tool scan_findings pages through them.
    """
    scan = _kept(scans, scan_id, here)
    if not format:
        return ToolResult(Outcome.SUCCEEDED, _answer(scan, limit))
    value = await asyncio.to_thread(_write, scan, shelf.find([format]), None)
    verdict = scan.verdict.ruling.value
    return ToolResult(Outcome.SUCCEEDED, {"scan_id": scan.id, "verdict": verdict, **value})


def _kept(scans: Scans, scan_id: str, here: Call) -> Scan:
    scan = scans.kept(scan_id, here.call.by.name)
    if scan is None:
        raise NotFound(f"no scan {visible(scan_id)} of yours is kept here", "scan again")
    return scan


def scanner_tool(scanner: Scanner) -> Definition:
    """The tool of one scanner, by its own name. It succeeds with findings and fails when it could
    not look at all of it; what it has nothing to look at is skipped, with the reason."""

    async def look(
        source_path: Path | None = None,
        scan_type: Kind = "full",
        image: str = "",
        config: Path | None = None,
        *,
        scans: Scans,
        roots: Roots,
        here: Call,
    ) -> ToolResult:
        types = tuple(dict.fromkeys(each.type for each in scanner.passes))
        if scan_type != "full" and scan_type not in types:
            why = f"{scanner.name} does not look at {scan_type}, but at {', '.join(types)}"
            return ToolResult(Outcome.SKIPPED, _skipped(scanner.name), why)
        chosen = types if scan_type == "full" else (ScanType(scan_type),)
        request = _request(source_path, image, "", config, chosen, [scanner.name], roots)
        scan = await scans.scan(request, here.report, here.call.by.name)
        return _alone(scanner.name, scan)

    look.__doc__ = (
        f"Scan with {scanner.name}: {scanner.summary}.\n\nFindings, worst first, each with a "
        "lower-case severity. `source_path` is a folder, `image` an image archive or OCI layout; "
        f"`scan_type` narrows what is looked at. Source: {scanner.url}"
    )
    return Definition(scanner.name, Effect.READ, look, True, True, LONGEST)


def _request(
    source: Path | None,
    image: str,
    profile: str,
    config: Path | None,
    types: Iterable[ScanType],
    scanners: Iterable[str],
    roots: Roots,
) -> ScanRequest:
    if source is None and not image:
        raise BadInput("there is nothing to scan", "give source_path, image or both")
    rules = load_rules(config)
    path, reference = _image(image, roots)
    return ScanRequest(
        source,
        path,
        reference,
        profile or next(iter(rules.profiles)),
        tuple(types),
        tuple(scanners),
        rules,
    )


def _image(image: str, roots: Roots) -> tuple[Path | None, str]:
    """A path inside the roots, or a reference to a registry."""
    if not image:
        return None, ""
    pathlike = image.startswith(("/", ".", "~")) or image.endswith((".tar", ".tar.gz", ".tgz"))
    try:
        path = roots.inside(image)
    except Denied:
        if pathlike:
            raise
        return None, image
    if path.exists():
        return path, ""
    if pathlike:
        raise BadInput(f"there is no image file {visible(image)}", "check the path")
    return None, image


def _answer(scan: Scan, limit: int) -> dict[str, Any]:
    verdict = scan.verdict
    return {
        "verdict": verdict.ruling.value,
        "rule": verdict.rule,
        "why": verdict.why,
        "reasons": [_reason(reason) for reason in verdict.reasons],
        "counts": {each.value: scan.counts.get(each, 0) for each in Severity},
        **_page(scan.findings, limit),
        "scanners": [_run(run) for run in scan.runs],
        "not_run": [
            {"scanner": c.scanner, "pass": c.pass_name, "type": c.type.value, "why": c.why}
            for c in scan.choices
            if not c.chosen
        ],
        **_unread(scan),
        "suppressions_total": len(scan.suppressions),
        "notes": list(scan.notes),
        "scan_id": scan.id,
        "content_key": scan.content_key,
        "target": scan.target,
        "profile": scan.profile,
        "policy": scan.policy,
        "scan_duration": scan.seconds,
        "scan_date": scan.started,
    }


def _alone(name: str, scan: Scan) -> ToolResult:
    """A single scanner's answer. Whatever makes the scan incomplete makes it a failure."""
    value: dict[str, Any] = {
        "scanner": name,
        **_page(scan.findings, MOST_FINDINGS),
        "scanners": [_run(run) for run in scan.runs],
        **_unread(scan),
        "notes": list(scan.notes),
        "scan_id": scan.id,
        "scan_duration": scan.seconds,
        "scan_date": scan.started,
    }
    if not scan.runs:
        why = "; ".join(dict.fromkeys(choice.why for choice in scan.choices if not choice.chosen))
        return ToolResult(Outcome.SKIPPED, value, f"{name} had nothing to look at: {why}")
    wrong = [r for r in scan.verdict.reasons if r.ruling is Ruling.INCOMPLETE]
    if not wrong:
        return ToolResult(Outcome.SUCCEEDED, value)
    gone = all(run.outcome is Outcome.UNAVAILABLE for run in scan.runs)
    outcome = Outcome.UNAVAILABLE if gone else Outcome.FAILED
    return ToolResult(outcome, value, wrong[0].why, wrong[0].hint)


def _skipped(name: str) -> dict[str, Any]:
    return {"scanner": name, "findings": [], "findings_total": 0}


def _page(
    findings: tuple[Finding, ...],
    limit: int,
    cursor: str = "",
    severity: Severity | None = None,
) -> dict[str, Any]:
    found = page(findings, cursor, limit, severity)
    told: dict[str, Any] = {
        "findings_total": found.total,
        "findings": [finding_fields(finding) for finding in found.findings],
    }
    if found.next:
        told["next_cursor"] = found.next
    return told


def _unread(scan: Scan) -> dict[str, Any]:
    return {
        "unread_total": len(scan.unread),
        "unread": [
            {"path": row.path, "why": row.why, "scanner": row.scanner}
            for row in scan.unread[:MOST_UNREAD]
        ],
    }


def _run(run: ScannerRun) -> dict[str, Any]:
    return {
        "scanner": run.scanner,
        "pass": run.pass_name,
        "type": run.type.value,
        "outcome": run.outcome.value,
        "why": run.why,
        "findings": len(run.findings),
        "read": run.read,
        "expected": run.expected,
        "evidence": run.coverage.value,
        "unread": len(run.unread),
        "seconds": run.seconds,
        "version": run.version,
    }


def _reason(reason: Reason) -> dict[str, str]:
    return {
        "rule": reason.rule,
        "ruling": reason.ruling.value,
        "why": reason.why,
        "hint": reason.hint,
    }


def _write(scan: Scan, formats: list[Format], output: Path | None) -> dict[str, Any]:
    """Reports into files of the folder `output`, or as text."""
    rendered: dict[str, str] = {}
    written: dict[str, str] = {}
    for each in formats:
        data = each.render(scan)
        if output is None or not each.file:
            rendered[each.name] = data.decode("utf-8")
            continue
        output.mkdir(parents=True, exist_ok=True)
        # A new file in place of whatever has the name: a link there is never followed.
        descriptor, part = tempfile.mkstemp(dir=output, prefix=".report-")
        with open(descriptor, "wb") as file:
            file.write(data)
        os.chmod(part, 0o644)
        os.replace(part, output / each.file)
        written[each.name] = str(output / each.file)
    told = {"rendered": rendered, "reports": written}
    return {key: value for key, value in told.items() if value}
