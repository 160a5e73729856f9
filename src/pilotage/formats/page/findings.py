"""The findings: where to start, and the table with its filter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pilotage.domain.finding import Finding, Severity
from pilotage.domain.scan import Scan
from pilotage.formats.page.markup import Markup, joined, link, tag
from pilotage.scan.wording import SEVERITIES, mend, place, what

ROWS = 2000
"""More than that no browser likes in one table: the JSON report has all."""
STEPS = 6
GRAVE = (Severity.CRITICAL, Severity.HIGH, Severity.UNKNOWN)


def badge(severity: Severity) -> Markup:
    """The severity as a word on its colour."""
    return tag("span", severity.value, class_=f"badge fill-{severity.value}")


def first_steps(scan: Scan) -> Markup:
    """What mends most of what is grave: packages to update, files to look into."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in scan.findings:
        if finding.suppressed is None and finding.severity in GRAVE:
            groups.setdefault(_mended_together(finding), []).append(finding)
    if not groups:
        return joined()
    ordered = sorted(groups.items(), key=lambda item: _weight(item[1]))
    steps = [_step(where, found) for (_, where), found in ordered[:STEPS]]
    left = sum(len(found) for _, found in ordered[STEPS:])
    more = tag("p", f"And {left} more critical or high findings elsewhere.", class_="quiet")
    return tag(
        "section",
        tag("h2", "Start here"),
        tag("ol", *steps, class_="steps"),
        more if left else joined(),
        class_="card",
    )


def _mended_together(finding: Finding) -> tuple[str, str]:
    if finding.package is not None:
        where = f"{finding.package.name} {finding.package.version} in {finding.location.path}"
        return "package", where
    return "file", finding.location.path


def _weight(found: Sequence[Finding]) -> tuple[int, ...]:
    counted = Counter(finding.severity for finding in found)
    return tuple(-counted[severity] for severity in GRAVE)


def _step(where: str, found: Sequence[Finding]) -> Markup:
    counted = Counter(finding.severity for finding in found)
    badges = [
        joined(tag("span", f"{counted[s]} {s}", class_=f"badge fill-{s.value}"), " ")
        for s in GRAVE
        if counted[s]
    ]
    mends = {mend(finding) for finding in found}
    told = _short("; ".join(dict.fromkeys(_title(finding) for finding in found)))
    if len(mends) == 1 and (mended := mends.pop()):
        told += f" – {mended}"
    update = "Update " if found[0].package is not None else "Mend "
    return tag(
        "li",
        tag("strong", update, tag("code", where)),
        " ",
        *badges,
        tag("span", told, class_="quiet block"),
    )


def _title(finding: Finding) -> str:
    """What is wrong, without the package, which the step names already."""
    package = finding.package
    text = what(finding).removesuffix(".")
    return text.removeprefix(f"{package.name} {package.version}: ") if package else text


def _short(text: str) -> str:
    return text if len(text) <= 240 else text[:239] + "…"


def table(scan: Scan) -> Markup:
    """The filter and the table. Without a script all rows show and there is no filter."""
    shown = scan.findings[:ROWS]
    if not shown:
        return tag(
            "section",
            tag("h2", "Findings", id="findings"),
            tag("p", "No scanner that looked has found anything."),
            class_="card",
        )
    left = len(scan.findings) - len(shown)
    names = ("severity", "where", "what", "found by")
    head = tag("tr", *(tag("th", name, scope="col") for name in names))
    more = f"{left} more, the least severe, stand in the JSON report." if left else ""
    return tag(
        "section",
        tag("h2", "Findings ", tag("span", str(len(scan.findings)), class_="quiet"), id="findings"),
        _filter(shown),
        tag(
            "table",
            tag("thead", head),
            tag("tbody", *(_row(finding) for finding in shown)),
            class_="findings",
        ),
        tag("p", more, class_="quiet") if more else joined(),
        class_="card",
    )


def _filter(shown: Sequence[Finding]) -> Markup:
    there = {finding.severity for finding in shown}
    boxes = [
        tag(
            "label",
            tag("input", type="checkbox", value=severity.value, checked=True),
            badge(severity),
            class_="tick",
        )
        for severity in SEVERITIES
        if severity in there
    ]
    scanners = sorted({name for finding in shown for name in (finding.scanner, *finding.also)})
    return tag(
        "form",
        tag("label", "Search ", tag("input", type="search", id="words", autocomplete="off")),
        tag("fieldset", tag("legend", "Severity", class_="hidden"), *boxes),
        _select("type", "Type", sorted({finding.type.value for finding in shown})),
        _select("scanner", "Found by", scanners),
        tag("output", id="shown", aria_live="polite"),
        id="filter",
        hidden=True,
        aria_label="Filter the findings",
    )


def _select(name: str, label: str, values: Iterable[str]) -> Markup:
    options = [tag("option", "all", value=""), *(tag("option", v, value=v) for v in values)]
    return tag("label", f"{label} ", tag("select", *options, id=name))


def _row(finding: Finding) -> Markup:
    found_by = (finding.scanner, *finding.also)
    return tag(
        "tr",
        tag("td", badge(finding.severity), class_="grade"),
        tag("td", tag("code", place(finding.location)), class_="where"),
        tag("td", _told(finding)),
        tag("td", ", ".join(found_by), class_="by"),
        data_severity=finding.severity.value,
        data_type=finding.type.value,
        data_scanners=" ".join(name.partition(" ")[0] for name in found_by),
        class_="suppressed" if finding.suppressed is not None else None,
    )


def _told(finding: Finding) -> Markup:
    facts = [
        tag("div", tag("dt", name), tag("dd", value)) for name, value in _facts(finding) if value
    ]
    mark = tag("span", "suppressed in the source", class_="pill")
    mended = mend(finding)
    return joined(
        mark if finding.suppressed is not None else joined(),
        tag(
            "details",
            tag("summary", _short(what(finding)), " ", tag("code", finding.rule, class_="quiet")),
            tag("dl", *facts),
        ),
        tag("div", mended, class_="mended" if mended.startswith("fixed") else "quiet")
        if mended
        else joined(),
    )


def _facts(finding: Finding) -> tuple[tuple[str, str], ...]:
    told = finding.severity_from
    native = f"{finding.native_severity} to {finding.scanner}" if finding.native_severity else ""
    suppressed = finding.suppressed
    return (
        ("message", finding.message),
        ("rule", link(finding.url, finding.rule)),
        ("known as", ", ".join(finding.ids)),
        ("weakness", ", ".join(f"CWE-{number}" for number in finding.cwe)),
        ("severity", "; ".join(part for part in (native, told) if part)),
        ("confidence", finding.confidence.value),
        ("suppressed by", f"{suppressed.word} {suppressed.reason}" if suppressed else ""),
        ("fingerprint", finding.fingerprint),
    )
