"""A scan with some of everything that a report has to tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

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
from pilotage.domain.scan import Choice, Coverage, Inventory, Scan, ScannerRun, Unread
from pilotage.domain.verdict import Reason, Ruling, Verdict

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus=alert(1) autofocus='",
    "</style><style>*{display:none}",
    "--><!--",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "\u202egnp.exe\u2066",
    "nul\x00byte",
    "new\nline\r\n::error::x",
    "\udcff\ud800",
    "[bold red]markup[/bold red][link=file:///etc/passwd]x[/link]",
    "&lt;b&gt; &amp; &#60;",
    "x" * 5000,
    "zero\u200bwidth\ufeff",
)
"""Text that a scanned repository may put into a file name, a message or a reason."""


def finding(**changes: object) -> Finding:
    """One finding of bandit, changed."""
    plain = Finding(
        scanner="bandit",
        rule="B602",
        type=ScanType.CODE,
        severity=Severity.HIGH,
        message="subprocess call with shell=True identified, security issue.",
        location=Location("tracker/labels.py", 18, 5),
        confidence=Confidence.HIGH,
        native_severity="HIGH",
        severity_from="bandit's own",
        title="subprocess_popen_with_shell_equals_true",
        url="https://bandit.readthedocs.io/en/latest/plugins/b602.html",
        cwe=(78,),
        fingerprint="v1:0123456789abcdef0123456789abcdef",
        line_hash="1c2f3a4b5d6e7f80:1",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


DJANGO = Package("PyPI", "django", "2.2.0", ("2.2.28", "3.2.13"))
SECRET = Location("deploy.env", 2, commit="f15af343b0deadbeef0000000000000000000000")
FINDINGS = (
    finding(scanner="osv", rule="GHSA-2gwj-7jmv-h26r", type=ScanType.DEPENDENCY, cwe=(89,),
            severity=Severity.CRITICAL, title="SQL injection in Django", package=DJANGO,
            ids=("CVE-2022-28346",), location=Location("requirements.txt", 1)),
    finding(also=("ruff",)),
    finding(rule="B602", location=Location("tracker/other.py", 3)),
    finding(scanner="gitleaks", rule="github-pat", type=ScanType.SECRET, title="",
            message="Uncovered a token", location=SECRET, confidence=Confidence.UNKNOWN),
    finding(scanner="osv", rule="PYSEC-2021-66", type=ScanType.DEPENDENCY, title="ReDoS",
            severity=Severity.UNKNOWN, package=Package("PyPI", "jinja2", "2.4.1"),
            location=Location("requirements.txt", 2), line_hash=""),
    finding(scanner="trivy", rule="DS-0001", type=ScanType.CONTAINER, severity=Severity.MEDIUM,
            title="':latest' tag used", location=Location("Dockerfile"), url="javascript:alert(1)"),
    finding(rule="B404", severity=Severity.LOW, location=Location("tracker/labels.py", 4),
            suppressed=Suppression("tracker/labels.py", 4, "nosec", "ours")),
    finding(rule="B000", severity=Severity.INFO, location=Location("a b/ü%.py", 1, 1, 1, 9)),
)  # fmt: skip
RUNS = (
    ScannerRun("bandit", "code", ScanType.CODE, Outcome.SUCCEEDED, findings=FINDINGS[1:3],
               coverage=Coverage.LISTED, read=7, expected=7, seconds=0.4, exit=1,
               version="1.9.4", started="2026-11-24T19:01:02Z"),
    ScannerRun("osv", "lock-files", ScanType.DEPENDENCY, Outcome.SUCCEEDED,
               findings=(FINDINGS[0], FINDINGS[4]), coverage=Coverage.LISTED, read=1, expected=2,
               unread=(Unread("package-lock.json", "it is not JSON", "osv"),), seconds=0.1),
    ScannerRun("trivy", "dockerfile", ScanType.CONTAINER, Outcome.SUCCEEDED,
               findings=FINDINGS[5:6], coverage=Coverage.NONE, expected=1, seconds=1.9),
    ScannerRun("gitleaks", "history", ScanType.SECRET, Outcome.SUCCEEDED, findings=FINDINGS[3:4],
               coverage=Coverage.COUNTED, read=2, seconds=0.3),
    ScannerRun("eslint", "code", ScanType.CODE, Outcome.TIMED_OUT, why="killed after 300 s",
               coverage=Coverage.LISTED, expected=1, seconds=300.0),
    ScannerRun("snyk", "", ScanType.DEPENDENCY, Outcome.UNAVAILABLE, why="no token",
               required=False),
)  # fmt: skip
REASONS = (
    Reason("risk_level_config.critical", Ruling.FAIL, "1 critical finding, more than the 0 allowed",
           "mend it, or change risk_level_config.critical in default rules"),
    Reason("required.eslint", Ruling.INCOMPLETE, "eslint (code): timed out",
           "write `optional: [eslint]` in default rules"),
)  # fmt: skip


def sample(**changes: object) -> Scan:
    """The scan, changed."""
    plain = Scan(
        id="01JDG0000000000000000000AB",
        target="/srv/parcel-tracker",
        started="2026-11-24T19:01:00Z",
        seconds=9.04,
        profile="default",
        policy="default rules",
        content_key="c0ffee" * 10,
        inventory=Inventory(("requirements.txt", "a.py"), {"python": ("a.py",)}, 2048, True),
        choices=(
            Choice("bandit", "code", ScanType.CODE, True, "7 files to read"),
            Choice("trivy", "image", ScanType.CONTAINER, False, "no image was given"),
        ),
        runs=RUNS,
        findings=FINDINGS,
        suppressions=(
            Suppression("tracker/labels.py", 4, "nosec", "ours"),
            Suppression(".gitleaks.toml", 0, "configuration"),
        ),
        unread=(Unread("big.sql", "larger than 32 MiB"), *RUNS[1].unread),
        verdict=Verdict(Ruling.FAIL, REASONS[0].rule, REASONS[0].why, REASONS),
        notes=("the advisories of PyPI end on 2023-08-30",),
        counts=Counter(f.severity for f in FINDINGS if f.suppressed is None),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def clean() -> Scan:
    """Nothing found, everything looked at."""
    reason = Reason("risk_level_config", Ruling.PASS, "no level is over its limit", "the limits")
    run = replace(RUNS[0], findings=())
    return sample(
        runs=(run,),
        findings=(),
        suppressions=(),
        unread=(),
        notes=(),
        counts={},
        verdict=Verdict(Ruling.PASS, reason.rule, reason.why, (reason,)),
    )


def spoken(text: str) -> Scan:
    """A scan in which `text` stands wherever others' words may stand."""
    one = finding(
        rule=text,
        message=text,
        title=text,
        url=text,
        location=Location(text, 3, commit=text, inside=text),
        native_severity=text,
        severity_from=text,
        ids=(text,),
        package=Package(text, text, text, (text,)),
        suppressed=Suppression(text, 1, text, text),
    )
    two = finding(rule=text, message=text, title=text, url=text, location=Location(text, 1))
    run = replace(
        RUNS[4], why=text, version=text, unread=(Unread(text, text, "eslint"),), findings=(one, two)
    )
    return sample(
        target=text,
        policy=text,
        inventory=Inventory((text,), {"python": (text,)}),
        choices=(Choice("bandit", "code", ScanType.CODE, False, text),),
        runs=(run, replace(run, scanner="bandit", outcome=Outcome.SUCCEEDED)),
        findings=(one, two),
        suppressions=(Suppression(text, 1, text, text),),
        unread=(Unread(text, text),),
        verdict=Verdict(
            Ruling.INCOMPLETE, text, text, (Reason(text, Ruling.INCOMPLETE, text, text),)
        ),
        notes=(text,),
        counts={Severity.HIGH: 1},
    )
