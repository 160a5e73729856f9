"""The sections that show what stands behind a verdict: rules, scanners, and what nobody saw."""

from __future__ import annotations

from collections.abc import Sequence

from pilotage.domain.call import Outcome
from pilotage.domain.scan import Coverage, Scan, ScannerRun
from pilotage.domain.text import counted
from pilotage.domain.verdict import Ruling
from pilotage.formats.page.markup import Markup, joined, tag
from pilotage.scan.wording import evidence, look_away, outcome, runner

ROWS = 200


def reasons(scan: Scan) -> Markup:
    """Every rule that fired, in the order in which they weigh."""
    items = [
        tag(
            "li",
            tag("span", reason.ruling.value, class_=f"pill ruling-{reason.ruling.value}"),
            " ",
            tag("strong", reason.why),
            tag("span", tag("code", reason.rule), f" {reason.hint}", class_="quiet block"),
        )
        for reason in scan.verdict.reasons[:ROWS]
    ]
    return tag(
        "section",
        tag("h2", "How the verdict came about"),
        tag(
            "p",
            "FAIL weighs more than INCOMPLETE, that more than WARN. The rules are those of ",
            tag("strong", scan.policy),
            ", the profile is ",
            tag("strong", scan.profile),
            ".",
        ),
        tag("ol", *items, class_="reasons"),
        _more(len(scan.verdict.reasons)),
        class_="card",
    )


def scanners(scan: Scan) -> Markup:
    """What each scanner run did, and what shows that it has looked."""
    names = ("scanner", "looks at", "ended", "evidence", "findings", "time", "version")
    head = tag("tr", *(tag("th", name, scope="col") for name in names))
    rows = [_row(run) for run in scan.runs]
    return tag(
        "section",
        tag("h2", "Who looked, and the evidence"),
        tag(
            "p",
            "Evidence is what a scanner itself says that it has read. ",
            tag("em", "none"),
            " means that it does not say; it never means complete.",
            class_="quiet",
        ),
        tag(
            "div",
            tag("table", tag("thead", head), tag("tbody", *rows), class_="grid"),
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label="Scanner runs",
        ),
        class_="card",
    )


def _row(run: ScannerRun) -> Markup:
    ran = run.outcome is Outcome.SUCCEEDED
    silent = ran and run.coverage is Coverage.NONE
    ended = outcome(run.outcome) + (f", {len(run.unread)} unread" if run.unread else "")
    why = tag("span", run.why, class_="quiet block") if run.why and not ran else joined()
    optional = joined() if run.required else tag("span", " optional", class_="quiet")
    return tag(
        "tr",
        tag("th", runner(run), optional, scope="row"),
        tag("td", run.type.value),
        tag("td", tag("span", ended, class_="good" if run.complete else "bad"), why),
        tag("td", evidence(run), class_="warn" if silent else None),
        tag("td", str(len(run.findings)) if ran else "–", class_="number"),
        tag("td", f"{run.seconds:.1f} s", class_="number"),
        tag("td", run.version, class_="quiet"),
    )


def unseen(scan: Scan) -> Markup:
    """What was not looked at: files, scanners that did not end well, passes that did not run."""
    broken = [
        tag("li", tag("strong", runner(run)), f" {outcome(run.outcome)}: {run.why}")
        for run in scan.runs
        if run.outcome is not Outcome.SUCCEEDED
    ]
    files = [
        tag("li", tag("code", row.path), f" {row.scanner + ': ' if row.scanner else ''}{row.why}")
        for row in scan.unread[:ROWS]
    ]
    left = [choice for choice in scan.choices if not choice.chosen]
    passes = [
        tag("li", tag("strong", f"{choice.scanner} {choice.pass_name}"), f" {choice.why}")
        for choice in left[:ROWS]
    ]
    gaps = [
        tag("li", reason.why)
        for reason in scan.verdict.reasons
        if reason.ruling is Ruling.INCOMPLETE and not broken and not files
    ]
    return tag(
        "section",
        tag("h2", "What was not looked at"),
        joined() if broken or files or gaps else _nothing_left_out(scan),
        _list("Gaps", gaps, len(gaps)),
        _list("Scanners that did not do their work", broken, len(broken)),
        _list("Files", files, len(scan.unread)),
        _list("Not run, on purpose", passes, len(left)),
        class_="card",
    )


def _nothing_left_out(scan: Scan) -> Markup:
    silent = any(run.coverage is Coverage.NONE or run.read is None for run in scan.runs)
    told = "No scanner has left out anything that it knows of."
    if silent:
        told += " Those whose evidence is “none” cannot say."
    return tag("p", told, class_=None if silent else "good")


def _list(title: str, items: Sequence[Markup], total: int) -> Markup:
    if not items:
        return joined()
    return joined(tag("h3", title), tag("ul", *items), _more(total))


def asked(scan: Scan) -> Markup:
    """Words and files in the source that ask scanners to look away."""
    if not scan.suppressions:
        return joined()
    items = [
        tag(
            "li",
            tag("code", f"{row.path}:{row.line}" if row.line else row.path),
            f" {row.word}",
            tag("span", f" “{row.reason}”", class_="quiet") if row.reason else joined(),
        )
        for row in scan.suppressions[:ROWS]
    ]
    return tag(
        "section",
        tag("h2", "What asks scanners to look away"),
        tag("p", look_away(scan)),
        tag("ul", *items),
        _more(len(scan.suppressions)),
        class_="card",
    )


def made_of(scan: Scan) -> Markup:
    """The inventory and the notes."""
    inventory = scan.inventory
    history = "with its git history" if inventory.has_history else "without git history"
    number = counted(len(inventory.files), "file")
    size = f"{number}, {inventory.bytes / (1 << 20):.1f} MiB, {history}"
    kinds = [
        tag("li", f"{kind} ", tag("span", str(len(files)), class_="quiet"))
        for kind, files in sorted(inventory.kinds.items(), key=lambda item: -len(item[1]))
    ]
    notes = [tag("li", note) for note in scan.notes[:ROWS]]
    return tag(
        "section",
        tag("h2", "What the project is made of"),
        tag("p", size),
        tag("ul", *kinds, class_="tags"),
        _list("Notes", notes, len(scan.notes)),
        class_="card",
    )


def _more(total: int) -> Markup:
    if total <= ROWS:
        return joined()
    return tag("p", f"And {total - ROWS} more in the JSON report.", class_="quiet")
