"""ESLint with eslint-plugin-security: JavaScript and TypeScript. https://eslint.org"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from pilotage.domain.finding import Finding, Location, ScanType, Severity
from pilotage.domain.scan import Coverage, Unread
from pilotage.scan.parse import decode
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner

_RULES = (Path(__file__).parent / "rules" / "eslint.config.mjs").read_text("utf-8")
_FORMAT = """// ESLint's json without the source text, which would fill the report.
module.exports = (results) =>
  JSON.stringify(results.map(({ source, output, ...rest }) => rest));
"""

_WORDS = {1: "warning", 2: "error"}
_DANGEROUS: Mapping[str, int] = {
    "no-eval": 95,
    "no-implied-eval": 95,
    "no-new-func": 95,
    "no-script-url": 95,
}
_CWE: Mapping[str, int] = {
    **_DANGEROUS,
    "security/detect-bidi-characters": 1007,
    "security/detect-buffer-noassert": 120,
    "security/detect-child-process": 78,
    "security/detect-disable-mustache-escape": 79,
    "security/detect-eval-with-expression": 95,
    "security/detect-new-buffer": 665,
    "security/detect-no-csrf-before-method-override": 352,
    "security/detect-non-literal-fs-filename": 22,
    "security/detect-non-literal-regexp": 1333,
    "security/detect-non-literal-require": 98,
    "security/detect-possible-timing-attacks": 208,
    "security/detect-pseudoRandomBytes": 338,
    "security/detect-unsafe-regex": 1333,
}
"""Ours: ESLint gives none."""
_NOISY = "security/detect-object-injection"


class _Message(msgspec.Struct):
    """`ruleId` is null where ESLint speaks of the file itself; `fatal`: it does not parse."""

    message: str
    rule: str | None = msgspec.field(name="ruleId", default=None)
    severity: int = 0
    fatal: bool = False
    line: int | None = None
    column: int | None = None
    end_line: int | None = msgspec.field(name="endLine", default=None)
    end_column: int | None = msgspec.field(name="endColumn", default=None)


class _File(msgspec.Struct):
    path: str = msgspec.field(name="filePath")
    messages: list[_Message]


def parse(raw: Raw) -> Parsed:
    files = decode(raw.stdout, list[_File], "an ESLint report")
    unread: dict[str, str] = {}
    found: list[Finding] = []
    for file in files:
        path = raw.relative(file.path)
        for message in file.messages:
            if message.fatal or message.rule is None:
                unread.setdefault(path, f"line {message.line or 0}: {message.message}")
            else:
                found.append(_finding(path, message, message.rule))
    return Parsed(
        tuple(found),
        read=frozenset(raw.relative(file.path) for file in files) - frozenset(unread),
        unread=tuple(Unread(path, why) for path, why in unread.items()),
    )


def _finding(path: str, message: _Message, rule: str) -> Finding:
    level, why = _severity(rule)
    word = _WORDS.get(message.severity, str(message.severity))
    return Finding(
        scanner="eslint",
        rule=rule,
        type=ScanType.CODE,
        severity=level,
        native_severity=word,
        severity_from=f"eslint: {word}; {why}",
        message=message.message,
        url=_url(rule),
        cwe=(_CWE[rule],) if rule in _CWE else (),
        location=Location(
            path,
            message.line or None,
            column=message.column or None,
            end_line=message.end_line,
            end_column=message.end_column,
        ),
    )


def _severity(rule: str) -> tuple[Severity, str]:
    """ESLint's own severity is what a configuration says, so it tells nothing."""
    if rule == _NOISY:
        return Severity.LOW, "its rule speaks of every name in brackets"
    if rule.startswith("security/") or rule in _DANGEROUS:
        return Severity.MEDIUM, "a rule about security"
    return Severity.INFO, "a rule about quality"


def _url(rule: str) -> str:
    plugin, _, name = rule.rpartition("/")
    if plugin == "security":
        home = "https://github.com/eslint-community/eslint-plugin-security/blob/main/docs/rules"
        return f"{home}/{name}.md"
    return "" if plugin else f"https://eslint.org/docs/latest/rules/{name}"


ESLINT = Scanner(
    "eslint",
    "dangerous calls and mistakes in JavaScript and TypeScript",
    "https://eslint.org",
    (
        Pass(
            name="code",
            type=ScanType.CODE,
            reads=("*.js", "*.mjs", "*.cjs", "*.jsx", "*.ts", "*.mts", "*.cts", "*.tsx"),
            command=(
                "{program}",
                "--no-config-lookup",
                "--config={config}/eslint.config.mjs",
                "--no-inline-config",
                # by itself it obeys an eslint-suppressions.json of the project
                "--suppressions-location={config}/suppressions.json",
                "--no-error-on-unmatched-pattern",
                "--pass-on-no-patterns",
                "--format={config}/format.cjs",
                "{stage}",
            ),
            config={
                "eslint.config.mjs": _RULES,
                "format.cjs": _FORMAT,
                "suppressions.json": "{}\n",
            },
            folder="{stage}",  # ESLint passes over what is not below its working folder
            exits=(0, 1),  # 1: it ran, and found something
            coverage=Coverage.LISTED,
            parse=parse,
            control=Control({"control.js": "eval(process.argv[2]);\n"}, "no-eval"),
            cost=2.0,
        ),
    ),
    Install("npm", "eslint", "node_modules/eslint/bin/eslint.js"),
)
