"""Zizmor: GitHub workflows, actions and Dependabot settings. https://docs.zizmor.sh"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import unquote

import msgspec

from pilotage.domain.finding import Finding, Location, ScanType
from pilotage.domain.scan import Coverage, Unread
from pilotage.scan.parse import WORDS, confidence, decode, severity
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner, Unusable

_READ = re.compile(r"^ *INFO audit: zizmor: .*?completed (.+)$", re.MULTILINE)
_INVALID = re.compile(
    r"^ *WARN .*?: failed to (?:validate|load) (file:\S.*?) as ([a-z -]+): (.+)$", re.MULTILINE
)


class _Determinations(msgspec.Struct):
    confidence: str
    severity: str


class _Input(msgspec.Struct):
    """Where an input came from: `verbatim_path` here, `given_path` in old versions, `path` in a
    repository that zizmor fetched."""

    verbatim_path: str = ""
    given_path: str = ""
    path: str = ""


class _Key(msgspec.Struct):
    local: _Input | None = msgspec.field(name="Local", default=None)
    remote: _Input | None = msgspec.field(name="Remote", default=None)


class _Symbolic(msgspec.Struct):
    key: _Key
    annotation: str
    kind: Literal["Primary", "Related", "Hidden"] = "Related"
    primary: bool = False  # what old versions have for `kind`


class _Point(msgspec.Struct):
    """Counts from 0."""

    row: int
    column: int


class _Span(msgspec.Struct):
    start_point: _Point
    end_point: _Point


class _Concrete(msgspec.Struct):
    location: _Span


class _Location(msgspec.Struct):
    symbolic: _Symbolic
    concrete: _Concrete


class _Audit(msgspec.Struct):
    """A finding as json-v1 writes it: one primary location and others that explain it."""

    ident: str
    desc: str
    url: str
    determinations: _Determinations
    locations: list[_Location]


def parse(raw: Raw) -> Parsed:
    """Not `--strict-collection`: it gives up on everything where one file is broken. Zizmor says of
    each file that it has completed it, and a broken one is missing there."""
    audits = decode(raw.stdout, list[_Audit], "a zizmor report")
    log = raw.stderr.decode("utf-8", "replace")
    completed = frozenset(raw.relative(path) for path in _READ.findall(log))
    return Parsed(
        tuple(_finding(raw, audit) for audit in audits),
        read=completed or None,
        unread=tuple(
            Unread(raw.relative(unquote(path)), f"not a valid {kind}: {why}")
            for path, kind, why in _INVALID.findall(log)
        ),
    )


def _finding(raw: Raw, audit: _Audit) -> Finding:
    if not audit.locations:
        raise Unusable(f"zizmor gives no place for {audit.ident}")
    told = [each.symbolic.kind == "Primary" or each.symbolic.primary for each in audit.locations]
    place = audit.locations[told.index(True) if True in told else 0]
    key = place.symbolic.key
    source = key.local or key.remote or _Input()
    begin, end = place.concrete.location.start_point, place.concrete.location.end_point
    native = audit.determinations.severity
    level, why = severity(native, WORDS, "zizmor")
    return Finding(
        scanner="zizmor",
        rule=audit.ident,
        type=ScanType.INFRASTRUCTURE,
        severity=level,
        native_severity=native,
        severity_from=why,
        confidence=confidence(audit.determinations.confidence),
        title=audit.desc,
        message=f"{audit.desc}: {place.symbolic.annotation}",
        url=audit.url,
        location=Location(
            raw.relative(source.verbatim_path or source.given_path or source.path),
            begin.row + 1,
            begin.column + 1,
            end.row + 1,
            end.column + 1,
        ),
    )


ZIZMOR = Scanner(
    "zizmor",
    "GitHub workflows, actions and Dependabot settings",
    "https://docs.zizmor.sh",
    (
        Pass(
            name="workflows",
            type=ScanType.INFRASTRUCTURE,
            reads=(
                ".github/workflows/*.yml",
                ".github/workflows/*.yaml",
                "action.yml",
                "action.yaml",
                ".github/dependabot.yml",
                ".github/dependabot.yaml",
            ),
            command=(
                "{program}",
                "--offline",
                "--no-config",
                "--no-ignores",
                "--no-progress",
                "--color=never",
                "--format=json-v1",
                "{files}",
            ),
            exits=(0, 11, 12, 13, 14),  # 11 to 14: the worst of what it found; 3: no input at all
            coverage=Coverage.LISTED,
            parse=parse,
            control=Control(
                {
                    ".github/workflows/control.yml": "on: issues\npermissions: {}\njobs:\n  a:\n"
                    "    runs-on: ubuntu-latest\n    steps:\n"
                    '      - run: echo "${{ github.event.issue.title }}"\n'
                },
                "template-injection",
            ),
            cost=0.3,
        ),
    ),
    Install("pip", "zizmor.txt", "bin/zizmor"),
)
