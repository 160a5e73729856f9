"""What people read of a scan, said the same way in every format. All of it is safe to print."""

from __future__ import annotations

import shlex

from pilotage.domain.call import Outcome
from pilotage.domain.finding import Finding, Location, Severity
from pilotage.domain.scan import Coverage, Scan, ScannerRun
from pilotage.domain.text import counted, visible
from pilotage.domain.verdict import Ruling

SEVERITIES = tuple(sorted(Severity, key=lambda severity: severity.rank))

MEANINGS = {
    Ruling.PASS: "Nothing is over its limit, and every required scanner has done its work.",
    Ruling.WARN: "Nothing stops it, but somebody should look.",
    Ruling.FAIL: "The gate is closed.",
    Ruling.INCOMPLETE: "Not everything was looked at, so nobody can say that it is clean.",
}


def place(at: Location) -> str:
    """`path:line`, with the commit or the image layer where it lies in one."""
    text = visible(at.path) or "."
    if at.line is not None:
        text += f":{at.line}"
    if at.commit:
        text += f" (only in history, commit {visible(at.commit)[:10]})"
    if at.inside:
        text += f" (in {visible(at.inside)})"
    return text


def what(finding: Finding) -> str:
    """One line: the package where it is about one, and what is wrong."""
    # A title of one word is a name that only the scanner knows (bandit's are).
    title = finding.title if " " in finding.title.strip() else ""
    text = visible(" ".join((title or finding.message or finding.title or finding.rule).split()))
    if finding.package is None:
        return text
    package = f"{visible(finding.package.name)} {visible(finding.package.version)}"
    return text if text.startswith(package) else f"{package}: {text}"


def mend(finding: Finding) -> str:
    """The versions that mend a package, or ""."""
    if finding.package is None:
        return ""
    fixed = finding.package.fixed
    return "fixed in " + ", ".join(map(visible, fixed)) if fixed else "no fixed version is known"


def runner(run: ScannerRun) -> str:
    """The scanner and its pass, where that says more than the type."""
    if run.pass_name in ("", run.scanner, run.type):
        return visible(run.scanner)
    return visible(f"{run.scanner} {run.pass_name}")


def outcome(of: Outcome) -> str:
    """An outcome in words."""
    return of.value.replace("_", " ")


def evidence(run: ScannerRun) -> str:
    """What shows that the files were read. "none": the scanner does not say."""
    if run.outcome is not Outcome.SUCCEEDED:
        return "–"
    if run.coverage is Coverage.NONE or run.read is None:
        return "none"
    unit = "commit" if "history" in run.pass_name else "file"
    if run.coverage is Coverage.LISTED and run.expected is not None:
        return f"{run.read} of {counted(run.expected, unit)}"
    return counted(run.read, unit)


def every(files: int) -> str:
    """What stands in place of a path where a scanner has read none of so many files."""
    return f"all {files} files"


def tally(scan: Scan) -> str:
    """`3 critical, 12 high`, or `none`. What is suppressed does not count."""
    counted = [f"{scan.counts[s]} {s}" for s in SEVERITIES if scan.counts.get(s)]
    return ", ".join(counted) or "none"


def look_away(scan: Scan) -> str:
    """What became of the words in the source that ask scanners to look away."""
    taken = sum(finding.suppressed is not None for finding in scan.findings)
    policy = visible(scan.policy)
    if taken:
        return (
            f"They took {counted(taken, 'finding')} out of the count. "
            f"`in_source: never` in {policy} counts them again."
        )
    return (
        "None of it was obeyed. `in_source: with_reason` in the policy "
        f"({policy}) would let words with a reason count; a scanner's configuration never does."
    )


def next_command(scan: Scan) -> tuple[str, str]:
    """What to type next, and what for."""
    target = shlex.quote(visible(scan.target))
    if scan.verdict.ruling is Ruling.INCOMPLETE:
        broken = [r for r in scan.runs if r.outcome is not Outcome.SUCCEEDED and r.required]
        here = [run for run in broken if run.pass_name]
        if here:
            return f"pilotage scanners check {visible(here[0].scanner)}", "see what it lacks"
        if broken:
            names = ", ".join(dict.fromkeys(visible(run.scanner) for run in broken))
            return f"optional: [{names}]", "in the policy, to do without them"
        return "pilotage scanners list", "see what each reads"
    if scan.verdict.ruling is Ruling.PASS and scan.profile != "strict":
        return f"pilotage scan {target} --profile strict", "look harder"
    return f"pilotage scan {target} --format html --output report.html", "a page to show"
