"""Checkov: misconfigured Terraform, CloudFormation, Kubernetes and more. https://www.checkov.io"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from pilotage.domain.finding import Finding, Location, ScanType, Severity
from pilotage.domain.scan import Coverage, Unread
from pilotage.scan.parse import WORDS, decode, severity
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner, Unusable

WHAT = "a checkov report"

CRITICAL = {
    *("CKV_AWS_41", "CKV_AWS_45", "CKV_AWS_46", "CKV_AZURE_45", "CKV_AZURE_239", "CKV_BCW_1"),
    *("CKV_LIN_1", "CKV_NCP_17", "CKV_OCI_1", "CKV_OPENSTACK_1", "CKV_PAN_1"),
}
"""Credentials that stand in the code."""

HIGH = {
    # open to everybody: ports for remote control, buckets, databases, queues, registries
    *("CKV_AWS_17", "CKV_AWS_20", "CKV_AWS_24", "CKV_AWS_25", "CKV_AWS_32", "CKV_AWS_38"),
    *("CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56", "CKV_AWS_57", "CKV_AWS_69"),
    *("CKV_AWS_87", "CKV_AWS_89", "CKV_AWS_100", "CKV_AWS_102", "CKV_AWS_164", "CKV_AWS_167"),
    *("CKV_AWS_168", "CKV_AWS_169", "CKV_AWS_301", "CKV_AWS_302", "CKV_AWS_303", "CKV_AWS_387"),
    *("CKV_AZURE_9", "CKV_AZURE_10", "CKV_AZURE_11", "CKV_AZURE_34", "CKV_AZURE_59"),
    *("CKV_AZURE_138", "CKV_AZURE_190", "CKV_GCP_2", "CKV_GCP_3", "CKV_GCP_15", "CKV_GCP_18"),
    *("CKV_GCP_28", "CKV_GCP_98", "CKV_GCP_99", "CKV_GCP_100", "CKV_GCP_101", "CKV_GCP_102"),
    *("CKV_GCP_107", "CKV_GCP_112", "CKV_GCP_113", "CKV_K8S_68", "CKV_K8S_138"),
    # may do everything
    *("CKV_AWS_1", "CKV_AWS_33", "CKV_AWS_62", "CKV_AWS_63", "CKV_AWS_72", "CKV_AWS_107"),
    *("CKV_AWS_287", "CKV_AWS_348", "CKV_GCP_42", "CKV_K8S_49"),
    # a container that is the host
    *("CKV_AWS_210", "CKV_AWS_334", "CKV_K8S_2", "CKV_K8S_16", "CKV_K8S_17", "CKV_K8S_18"),
    *("CKV_K8S_19", "CKV_K8S_27", "CKV_K8S_39"),
}


class _Check(msgspec.Struct):
    """`code_block`, `evaluations` and `entity` are left out: they may quote a secret."""

    check_id: str
    check_name: str = ""
    file_path: str = ""
    file_line_range: list[int] | None = None
    resource: str | None = None
    severity: str | None = None
    guideline: str | None = None


class _Named(msgspec.Struct):
    file_path: str = ""


class _Results(msgspec.Struct):
    passed_checks: list[_Named] = []
    failed_checks: list[_Check] = []
    skipped_checks: list[_Check] = []
    parsing_errors: list[str] = []


class _Summary(msgspec.Struct):
    checkov_version: str
    parsing_errors: int = 0


class _Report(msgspec.Struct):
    """One framework's report; a lone summary (`checkov_version` at the top) where nothing was
    found that checkov knows."""

    results: _Results | None = None
    summary: _Summary | None = None
    checkov_version: str | None = None
    failed: int = 0


_Reports: Any = _Report | list[_Report]


def parse(raw: Raw) -> Parsed:
    """Failed checks, and skipped ones: nothing in the source may silence a finding by itself.

    A report does not name the files that have nothing to check: `read` are those it has.
    """
    document: _Report | list[_Report] = decode(raw.stdout, _Reports, WHAT)
    reports = document if isinstance(document, list) else [document]
    if not reports:
        raise Unusable(f"this is not {WHAT}: it is empty")
    findings: list[Finding] = []
    unread: dict[str, Unread] = {}
    read: set[str] = set()
    for report in reports:
        if report.results is None or report.summary is None:
            if not report.checkov_version or report.failed:
                raise Unusable(f"this is not {WHAT}: it has no results")
            continue
        findings += _findings(report.results)
        read |= {check.file_path.lstrip("/") for check in report.results.passed_checks}
        for path in map(raw.relative, report.results.parsing_errors):
            unread[path] = Unread(path.lstrip("/"), "checkov could not parse it")
        missing = report.summary.parsing_errors - len(report.results.parsing_errors)
        if missing > 0:
            unread[""] = Unread("", f"checkov could not parse {missing} files it does not name")
    read |= {finding.location.path for finding in findings}
    return Parsed(tuple(findings), frozenset(read), tuple(unread.values()))


def _findings(results: _Results) -> Iterator[Finding]:
    yield from (_finding(check) for check in results.failed_checks)
    yield from (
        _finding(check, "; the source asks to skip this check") for check in results.skipped_checks
    )


def _finding(check: _Check, remark: str = "") -> Finding:
    ours, source = _severity(check)
    first, last = [*(check.file_line_range or ()), 0, 0][:2]
    where = f" ({check.resource})" if check.resource else ""
    return Finding(
        scanner="checkov",
        rule=check.check_id,
        type=ScanType.INFRASTRUCTURE,
        severity=ours,
        message=f"{check.check_name or check.check_id}{where}{remark}",
        location=Location(
            check.file_path.lstrip("/"),
            first if first > 0 else None,
            end_line=last if last > 0 else None,
        ),
        native_severity=check.severity or "",
        severity_from=source,
        title=check.check_name,
        url=check.guideline or "",
    )


def _severity(check: _Check) -> tuple[Severity, str]:
    """Without a paid key checkov gives none: a table for what is worst, medium for the rest."""
    if check.severity:
        return severity(check.severity, WORDS, "checkov")
    if check.check_id in CRITICAL:
        return Severity.CRITICAL, "our table: credentials in the code"
    if check.check_id in HIGH:
        return Severity.HIGH, "our table: open to everybody, or may do everything"
    return Severity.MEDIUM, "checkov gives no severity; medium where our table has none"


FRAMEWORKS = ("terraform", "cloudformation", "kubernetes", "arm", "bicep", "serverless", "ansible")
"""What it reads by itself, offline. Left out: helm and kustomize, which run other programs; what
other scanners do better (Dockerfiles, workflows, secrets); what needs the network (packages)."""

CHECKOV = Scanner(
    "checkov",
    "misconfigured Terraform, CloudFormation, Kubernetes and more",
    "https://www.checkov.io",
    (
        Pass(
            "infrastructure",
            ScanType.INFRASTRUCTURE,
            reads=("*.tf", "*.yaml", "*.yml", "*.json", "*.template", "*.bicep"),
            command=(
                *("{program}", "--directory={stage}", "--output=json", "--compact"),
                *("--skip-download", "--framework", *FRAMEWORKS),
            ),
            # A configuration in the working folder or at home runs code: both are empty and ours.
            environment={"CKV_IGNORE_HIDDEN_DIRECTORIES": "false", "LOG_LEVEL": "ERROR"},
            exits=(0, 1),  # 1: it ran, and found something
            parse=parse,
            coverage=Coverage.NONE,
            cost=8.0,
            control=Control(
                {
                    "main.tf": 'resource "aws_s3_bucket" "b" {\n  bucket = "planted"\n'
                    '  acl    = "public-read"\n}\n'
                },
                "CKV_AWS_20",
            ),
        ),
    ),
    Install("pip", "checkov.txt", "bin/checkov"),
)
