"""One HTML file to show around: no request goes out, and nothing of the scan becomes markup."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pilotage import __version__
from pilotage.domain.finding import Finding, Severity
from pilotage.domain.scan import Scan
from pilotage.domain.text import counted
from pilotage.domain.verdict import Ruling
from pilotage.formats.page import evidence, findings
from pilotage.formats.page.charts import Row, bars, strip
from pilotage.formats.page.markup import Markup, joined, tag
from pilotage.scan.report import Format
from pilotage.scan.wording import MEANINGS, SEVERITIES, next_command

_PAGE = Path(__file__).with_name("page")
STYLE = Markup(_PAGE.joinpath("page.css").read_text("utf-8"))
SCRIPT = Markup(_PAGE.joinpath("page.js").read_text("utf-8"))
SIGNS = {
    Ruling.PASS: "M8 19 l7 7 l14 -15",
    Ruling.WARN: "M18 9 v12 M18 27 v.5",
    Ruling.FAIL: "M11 11 l14 14 M25 11 l-14 14",
    Ruling.INCOMPLETE: "M13 14 a5 5 0 1 1 7 5 q-2 1 -2 3 M18 27 v.5",
}
"""A sign beside the word, for those who do not see its colour."""


def render(scan: Scan) -> bytes:
    """UTF-8. The policy of the page itself allows its own style and script, by hash, and nothing
    else: no image, no font, no frame, no request."""
    return b"<!doctype html>\n" + _page(scan).encode("utf-8")


def _page(scan: Scan) -> Markup:
    return tag("html", _head(scan), tag("body", *_body(scan)), lang="en")


def _head(scan: Scan) -> Markup:
    policy = (
        f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{scan.verdict.ruling} · security scan of {scan.target}"),
        tag("style", STYLE),
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _body(scan: Scan) -> Sequence[Markup]:
    return (
        tag(
            "header",
            tag("p", "Security scan", class_="brand"),
            tag("h1", scan.target),
            tag("p", _when(scan), class_="quiet"),
            class_="top",
        ),
        tag(
            "main",
            _verdict(scan),
            _counts(scan),
            findings.first_steps(scan),
            _charts(scan),
            findings.table(scan),
            evidence.reasons(scan),
            evidence.unseen(scan),
            evidence.scanners(scan),
            evidence.asked(scan),
            evidence.made_of(scan),
        ),
        tag(
            "footer",
            f"pilotage {__version__} · scan {scan.id} · content {scan.content_key[:16]}",
        ),
        tag("script", SCRIPT),
    )


def _when(scan: Scan) -> str:
    started = scan.started[:16].replace("T", " ")
    ran = sum(1 for run in scan.runs if run.complete)
    return (
        f"{started} UTC · {counted(len(scan.inventory.files), 'file')} in {scan.seconds:.1f} s · "
        f"{ran} of {counted(len(scan.runs), 'scanner run')} complete"
    )


def _verdict(scan: Scan) -> Markup:
    """The word, why, and what to do: for whoever reads no further."""
    verdict = scan.verdict
    hint = verdict.reasons[0].hint if verdict.reasons else ""
    command = next_command(scan)[0] if verdict.ruling is Ruling.INCOMPLETE else ""
    sign = tag(
        "svg",
        tag("circle", cx=18, cy=18, r=16, class_="stroke"),
        tag("path", d=SIGNS[verdict.ruling], class_="stroke"),
        viewBox="0 0 36 36",
        aria_hidden="true",
    )
    return tag(
        "section",
        sign,
        tag("h2", verdict.ruling.value),
        tag("p", verdict.why, class_="why"),
        tag(
            "div",
            tag("p", MEANINGS[verdict.ruling]),
            tag("p", "Rule ", tag("code", verdict.rule), " of ", scan.policy, class_="quiet"),
            tag("p", "What changes it: ", hint, class_="quiet") if hint else joined(),
            tag("pre", tag("code", command)) if command else joined(),
            class_="more",
        ),
        class_=f"card verdict verdict-{verdict.ruling.value}",
        aria_label="Verdict",
    )


def _counts(scan: Scan) -> Markup:
    tiles = []
    for severity in SEVERITIES:
        count = scan.counts.get(severity, 0)
        zero = "" if count else " zero"
        tiles.append(
            tag("li", tag("strong", str(count)), severity.value, class_=f"edge-{severity}{zero}")
        )
    return tag(
        "section",
        tag("h2", "Findings by severity", class_="hidden"),
        tag("ul", *tiles, class_="tiles"),
        strip(scan.counts, SEVERITIES) if any(scan.counts.values()) else joined(),
    )


def _charts(scan: Scan) -> Markup:
    if not scan.findings:
        return joined()
    types = _rows((finding.type.value, finding) for finding in scan.findings)
    found_by = _rows(
        (name, finding)
        for finding in scan.findings
        for name in dict.fromkeys(n.partition(" ")[0] for n in (finding.scanner, *finding.also))
    )
    return tag(
        "div",
        bars("By type", types, SEVERITIES),
        bars("By scanner (one finding may have several)", found_by, SEVERITIES),
        class_="charts",
    )


def _rows(named: Iterable[tuple[str, Finding]]) -> list[Row]:
    """The names with their findings by severity, those with the most first."""
    counted: dict[str, Counter[Severity]] = {}
    for name, finding in named:
        if finding.suppressed is None:
            counted.setdefault(name, Counter())[finding.severity] += 1
    return [(name, counts) for name, counts in sorted(counted.items(), key=_largest_first)]


def _largest_first(row: tuple[str, Counter[Severity]]) -> tuple[int, str]:
    return -row[1].total(), row[0]


HTML = Format(
    name="html",
    summary="one page to show around: verdict, charts, findings with a filter, evidence",
    file="security_scan_report.html",
    render=render,
)
