"""Hadolint: Dockerfiles, and the shell inside them. https://github.com/hadolint/hadolint"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pilotage.domain.finding import Finding, Location, ScanType, Severity
from pilotage.domain.scan import Coverage, Unread
from pilotage.scan.parse import decode, severity
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner

_LABEL = "pilotage.read"
"""We require this label, so that hadolint misses it (DL3049) in each Dockerfile that it has read:
its report names nothing else of a clean file."""

_NOT_PARSED = ("DL1000", "SC1072", "SC1073")
"""A Dockerfile, or the shell of one RUN: the other rules do not see what does not parse."""

_NO_DOCKERFILE = ".dockerignore"
"""`Dockerfile.dockerignore` looks like one by its name."""

_LEVELS: Mapping[str, Severity] = {
    "error": Severity.MEDIUM,
    "warning": Severity.LOW,
    "info": Severity.INFO,
    "style": Severity.INFO,
    "ignore": Severity.INFO,
}
"""Hadolint's levels say how sure good style is broken, not what an attacker gains."""
_RAISED: Mapping[str, tuple[Severity, int, str]] = {
    "DL3002": (Severity.HIGH, 250, "the container runs as root"),
    "DL3004": (Severity.MEDIUM, 250, "sudo gives root to what runs"),
    "DL3026": (Severity.HIGH, 829, "an image from a registry that is not allowed"),
}


class _Row(msgspec.Struct):
    file: str
    line: int
    column: int
    code: str
    level: str
    message: str


def parse(raw: Raw) -> Parsed:
    rows = decode(raw.stdout, list[_Row], "a hadolint report")
    unread: dict[str, str] = {}
    for row in rows:
        if row.code in _NOT_PARSED and not row.file.endswith(_NO_DOCKERFILE):
            unread.setdefault(raw.relative(row.file), f"line {row.line}: {row.message}")
    found = (row for row in rows if row.code not in _NOT_PARSED and not _is_evidence(row))
    return Parsed(
        tuple(_finding(raw, row) for row in found),
        read=frozenset(raw.relative(row.file) for row in rows) - frozenset(unread),
        unread=tuple(Unread(path, why) for path, why in unread.items()),
    )


def _is_evidence(row: _Row) -> bool:
    return row.code == "DL3049" and _LABEL in row.message


def _finding(raw: Raw, row: _Row) -> Finding:
    level, why = severity(row.level, _LEVELS, "hadolint")
    raised = _RAISED.get(row.code)
    if raised:
        level, why = raised[0], f"hadolint: {row.level}; {raised[2]}"
    shell = row.code.startswith("SC")
    home = (
        "https://www.shellcheck.net/wiki" if shell else "https://github.com/hadolint/hadolint/wiki"
    )
    return Finding(
        scanner="hadolint",
        rule=row.code,
        type=ScanType.CONTAINER,
        severity=level,
        native_severity=row.level,
        severity_from=why,
        message=row.message,
        url=f"{home}/{row.code}",
        cwe=(raised[1],) if raised else (),
        location=Location(raw.relative(row.file), row.line, column=row.column),
    )


HADOLINT = Scanner(
    "hadolint",
    "Dockerfiles, and the shell inside them",
    "https://github.com/hadolint/hadolint",
    (
        Pass(
            name="dockerfile",
            type=ScanType.CONTAINER,
            reads=(
                "Dockerfile",
                "dockerfile",
                "Dockerfile.*",
                "*.Dockerfile",
                "*.dockerfile",
                "Containerfile",
                "Containerfile.*",
            ),
            command=(
                "{program}",
                "--config={config}/hadolint.yaml",
                "--disable-ignore-pragma",
                "--failure-threshold=style",
                f"--require-label={_LABEL}:text",
                "--format=json",
                "{files}",
            ),
            config={"hadolint.yaml": "{}\n"},
            exits=(0, 1),  # 1: it ran, and found something; or it crashed and wrote no report
            coverage=Coverage.LISTED,
            parse=parse,
            control=Control({"Dockerfile": "FROM debian\nUSER root\n"}, "DL3002"),
            cost=0.4,
        ),
    ),
    Install("pip", "hadolint.txt", "bin/hadolint"),
)
