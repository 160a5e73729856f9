"""The report for people at a terminal: 80 columns, in colours. Whoever prints it drops the colours
where nobody sees them (cli/terminal.py). No text of others is read as markup or as an escape."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pilotage.domain.call import Outcome
from pilotage.domain.finding import Finding, ScanType, Severity
from pilotage.domain.scan import Coverage, Scan, ScannerRun
from pilotage.domain.text import counted, visible
from pilotage.domain.verdict import Ruling
from pilotage.scan.report import Format
from pilotage.scan.wording import (
    MEANINGS,
    SEVERITIES,
    evidence,
    look_away,
    mend,
    next_command,
    outcome,
    place,
    runner,
    tally,
    what,
)

WIDTH = 80
ROWS = 10
MOST = {Severity.CRITICAL: 12, Severity.HIGH: 20, Severity.UNKNOWN: 5, Severity.MEDIUM: 5,
        Severity.LOW: 3, Severity.INFO: 0}  # fmt: skip
"""Rows of each list and of each severity: a terminal shows the worst, the other reports all."""
LINES = 6
IDS = 3
LONGEST = 300

STYLES = {Severity.CRITICAL: "bold white on red", Severity.HIGH: "bold red",
          Severity.UNKNOWN: "bold magenta", Severity.MEDIUM: "yellow", Severity.LOW: "cyan",
          Severity.INFO: "dim"}  # fmt: skip
RULINGS = {Ruling.PASS: "bold black on green", Ruling.WARN: "bold black on yellow",
           Ruling.FAIL: "bold white on red",
           Ruling.INCOMPLETE: "bold white on magenta"}  # fmt: skip


def render(scan: Scan) -> bytes:
    """UTF-8 with SGR colours and no other control sequence."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=WIDTH,
        height=50,
        force_terminal=True,
        color_system="standard",
        no_color=False,
        markup=False,
        highlight=False,
        emoji=False,
        _environ={},
    )
    console.print(Group(*_parts(scan)))
    return file.getvalue().encode("utf-8", "backslashreplace")


def _parts(scan: Scan) -> Iterator[RenderableType]:
    yield from _head(scan)
    yield from _findings(scan)
    yield from _ran(scan)
    yield from _unread(scan)
    yield from _suppressions(scan)
    yield from _notes(scan)
    yield from _verdict(scan)


def _head(scan: Scan) -> Iterator[RenderableType]:
    told = f"{counted(len(scan.inventory.files), 'file')}, {scan.seconds:.1f} s, profile "
    yield Text.assemble(
        ("Scan of ", "bold"), (visible(scan.target), "bold"), f"  {told}{visible(scan.profile)}"
    )


def _heading(text: str, detail: str = "") -> Text:
    return Text.assemble("\n", (text, "bold underline"), f"  {detail}" if detail else "")


def _line(text: Text | str, style: str = "") -> Padding:
    """A line of a list; what does not fit goes on under it."""
    shown = Text(_short(text), style) if isinstance(text, str) else text
    return Padding(shown, (0, 0, 0, 2), expand=False)


def _findings(scan: Scan) -> Iterator[RenderableType]:
    yield _heading("Findings", tally(scan))
    counted = [finding for finding in scan.findings if finding.suppressed is None]
    for severity in SEVERITIES:
        groups = _grouped(finding for finding in counted if finding.severity is severity)
        if not groups:
            continue
        size, most = sum(map(len, groups)), MOST[severity]
        yield Text.assemble("\n", (f" {severity.upper()} ", STYLES[severity]), f" {size}")
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), expand=True)
        table.add_column(ratio=5, overflow="fold")
        table.add_column(ratio=9, overflow="fold")
        for group in groups[:most]:
            table.add_row(_where(group), _what(group))
        if most:
            yield Padding(table, (0, 0, 0, 1))
        if left := sum(map(len, groups[most:])):
            more = "and " if most else ""
            yield _line(f"{more}{left} {'more ' if most else ''}in the other reports", "dim")


def _grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """What is mended together: one package's advisories, one resource, one rule in one file."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        at, package = finding.location, finding.package
        about: tuple[object, ...] = (finding.scanner, finding.rule)
        if package is not None:
            about = (package.name, package.version)
        elif finding.type is ScanType.INFRASTRUCTURE:
            about = (finding.type, at.line)
        groups.setdefault((about, at.path, at.commit, at.inside), []).append(finding)
    return list(groups.values())


def _where(group: Sequence[Finding]) -> Text:
    first, *rest = group
    text = place(first.location)
    lines = sorted({f.location.line for f in rest if f.location.line} - {first.location.line})
    if first.package is None and lines:
        text += "".join(f", {line}" for line in lines[:LINES])
        text += f" +{len(lines) - LINES}" if lines[LINES:] else ""
    return Text(_short(text))


def _what(group: Sequence[Finding]) -> Text:
    first = group[0]
    rules = tuple(dict.fromkeys(visible(finding.rule) for finding in group))
    if first.package is not None and len(group) > 1:
        package = f"{visible(first.package.name)} {visible(first.package.version)}"
        told = Text(f"{package}: {len(group)} known vulnerabilities")
    else:
        told = Text(_short(what(first)))
        if len(rules) > 1:
            told.append(f" (and {len(group) - 1} more about it)")
    shown = ", ".join(rules[:IDS]) + (f" +{len(rules) - IDS}" if rules[IDS:] else "")
    found_by = dict.fromkeys(name for f in group for name in (f.scanner, *f.also))
    told.append(f"  {_short(shown)} · {visible(', '.join(found_by))}", "dim")
    same = {finding.package.fixed for finding in group if finding.package}
    if first.package is not None and len(same) == 1:
        told.append(f"\n{_short(mend(first))}", "green")
    return told


def _ran(scan: Scan) -> Iterator[RenderableType]:
    yield _heading("What ran")
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", expand=False)
    for name in ("scanner", "looks at", "ended", "evidence"):
        table.add_column(name, overflow="fold")
    table.add_column("found", justify="right")
    table.add_column("time", justify="right")
    for run in scan.runs:
        table.add_row(*_row(run))
    if scan.runs:
        yield Padding(table, (0, 0, 0, 2))
    yield from _failures(scan)
    left = [choice for choice in scan.choices if not choice.chosen]
    for choice in left[:ROWS]:
        name = " ".join(part for part in (choice.scanner, choice.pass_name) if part)
        yield _line(f"not run: {visible(name)} ({visible(choice.why)})", "dim")
    if left[ROWS:]:
        yield _line(f"not run: {len(left) - ROWS} more", "dim")


def _row(run: ScannerRun) -> tuple[Text, ...]:
    ended = Text(outcome(run.outcome), "green" if run.complete else "bold magenta")
    if run.outcome is Outcome.SUCCEEDED and run.unread:
        ended = Text(f"{len(run.unread)} unread", "bold magenta")
    silent = run.coverage is Coverage.NONE and run.outcome is Outcome.SUCCEEDED
    return (
        Text(runner(run)),
        Text(run.type.value),
        ended,
        Text(evidence(run), "yellow" if silent else ""),
        Text(str(len(run.findings)) if run.outcome is Outcome.SUCCEEDED else "–"),
        Text(f"{run.seconds:.1f} s"),
    )


def _failures(scan: Scan) -> Iterator[RenderableType]:
    for run in scan.runs:
        if run.outcome is not Outcome.SUCCEEDED:
            why = visible(run.why) or "it does not say why"
            optional = "" if run.required else " (the policy can do without)"
            yield _line(f"{runner(run)}: {why}{optional}", "magenta")


def _unread(scan: Scan) -> Iterator[RenderableType]:
    if not scan.unread:
        return
    yield _heading("Not looked at", str(len(scan.unread)))
    for row in scan.unread[:ROWS]:
        by = f"{visible(row.scanner)}: " if row.scanner else ""
        yield _line(f"{visible(row.path)} ({by}{visible(row.why)})", "magenta")
    if scan.unread[ROWS:]:
        yield _line(f"and {len(scan.unread) - ROWS} more in the other reports", "dim")


def _suppressions(scan: Scan) -> Iterator[RenderableType]:
    if not scan.suppressions:
        return
    yield _heading("Asks scanners to look away", str(len(scan.suppressions)))
    for row in scan.suppressions[:ROWS]:
        where = f"{visible(row.path)}:{row.line}" if row.line else visible(row.path)
        reason = f": {visible(row.reason)}" if row.reason else ""
        yield _line(f"{where}  {visible(row.word)}{reason}")
    if scan.suppressions[ROWS:]:
        yield _line(f"and {len(scan.suppressions) - ROWS} more in the other reports", "dim")
    yield _line(look_away(scan), "dim")


def _notes(scan: Scan) -> Iterator[RenderableType]:
    if not scan.notes:
        return
    yield _heading("Notes")
    for note in scan.notes[:ROWS]:
        yield _line(visible(note), "dim")
    if scan.notes[ROWS:]:
        yield _line(f"and {len(scan.notes) - ROWS} more in the other reports", "dim")


def _verdict(scan: Scan) -> Iterator[RenderableType]:
    """Last, where the eye is when the scan ends."""
    verdict = scan.verdict
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("rule", Text(f"{visible(verdict.rule)} in {visible(scan.policy)}"))
    if verdict.reasons and verdict.reasons[0].hint:
        table.add_row("hint", Text(_short(visible(verdict.reasons[0].hint))))
    for reason in verdict.reasons[1:ROWS]:
        if reason.ruling is Ruling.PASS:
            table.add_row("note", Text(_short(visible(reason.why)), "dim"))
            continue
        style = "magenta" if reason.ruling is Ruling.INCOMPLETE else ""
        table.add_row("also", Text(_short(f"{reason.ruling}: {visible(reason.why)}"), style))
    if verdict.reasons[ROWS:]:
        table.add_row("also", Text(counted(len(verdict.reasons) - ROWS, "more reason"), "dim"))
    command, purpose = next_command(scan)
    table.add_row("next", Text.assemble((command, "bold cyan"), (f"  ({purpose})", "dim")))
    label = (f" {verdict.ruling} ", RULINGS[verdict.ruling])
    said = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    said.add_row(Text(*label), Text(visible(verdict.why), "bold"))
    yield Text("")
    yield said
    yield _line(MEANINGS[verdict.ruling])
    yield Padding(table, (0, 0, 0, 2))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


TERMINAL = Format(
    name="terminal",
    summary="tables for a terminal, worst first, with the verdict and what to do",
    file="",
    render=render,
)
