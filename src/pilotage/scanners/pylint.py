"""Pylint: mistakes and code quality in Python source. https://pylint.readthedocs.io

Pylint puts the checked project first on its own import path and loads modules late. So a project
that holds an `isort.py`, an `asyncio` package, or a file in the encoding `idna` beside a
`stringprep.py`, runs inside stock pylint, whatever `--rcfile` says [run, 4.1.4]. `_GUARD` ends
that: the program imports from its own environment only. What pylint reports stays the same.
The guard also takes away comments in the source that switch messages off, for which there is no
flag; the stage defuses them, but an encoding such as UTF-7 can spell them in other bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pilotage.domain.finding import Finding, Location, ScanType, Severity
from pilotage.domain.scan import Coverage, Unread
from pilotage.scan.parse import confidence, decode
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner

_GUARD = """
import sys
from importlib.machinery import PathFinder
sys.meta_path[sys.meta_path.index(PathFinder)] = type("Trusted", (PathFinder,), {
    "find_spec": staticmethod(
        lambda name, path=None, target=None, find=PathFinder.find_spec, own=tuple(sys.path):
        find(name, list(own) if path is None else path, target))})
from pylint.lint import PyLinter
PyLinter.process_tokens = lambda self, tokens: None
"""

_EVIDENCE = "C0302"
"""too-many-lines: with a limit of -1 pylint says it of every file that it has read to its end."""
_NOT_PARSED = ("E0001", "F")

_SECURITY: Mapping[str, tuple[Severity, int]] = {
    "W0122": (Severity.MEDIUM, 95),  # exec-used
    "W0123": (Severity.MEDIUM, 95),  # eval-used
    "W3101": (Severity.MEDIUM, 400),  # missing-timeout
    "W1509": (Severity.LOW, 362),  # subprocess-popen-preexec-fn
    "W1515": (Severity.LOW, 489),  # forgotten-debug-statement
    "E2502": (Severity.HIGH, 1007),  # bidirectional-unicode
    "E2510": (Severity.LOW, 116),  # invalid-character-backspace
    "E2512": (Severity.LOW, 116),  # invalid-character-sub
    "E2513": (Severity.LOW, 116),  # invalid-character-esc
    "E2514": (Severity.LOW, 116),  # invalid-character-nul
    "E2515": (Severity.LOW, 116),  # invalid-character-zero-width-space
}
"""The few messages that are about security. All others are remarks on quality: info."""


class _Message(msgspec.Struct):
    """As json2 writes it. Columns count from 0."""

    type: str
    symbol: str
    message: str
    id: str = msgspec.field(name="messageId")
    path: str
    line: int
    column: int
    confidence: str = ""
    absolute: str = msgspec.field(name="absolutePath", default="")
    end_line: int | None = msgspec.field(name="endLine", default=None)
    end_column: int | None = msgspec.field(name="endColumn", default=None)


class _Report(msgspec.Struct):
    messages: list[_Message]
    statistics: dict[str, object]


class _OldMessage(_Message):
    """As json writes it, the only JSON before pylint 3."""

    id: str = msgspec.field(name="message-id")


def parse(raw: Raw) -> Parsed:
    if raw.stdout.lstrip().startswith(b"["):
        messages: list[_Message] = list(decode(raw.stdout, list[_OldMessage], "a pylint report"))
    else:
        messages = decode(raw.stdout, _Report, "a pylint report").messages
    unread = {
        _path(raw, message): f"line {message.line}: {_text(raw, message)}"
        for message in messages
        if message.id.startswith(_NOT_PARSED)
    }
    read = frozenset(_path(raw, message) for message in messages if message.id == _EVIDENCE)
    return Parsed(
        tuple(
            _finding(raw, message)
            for message in messages
            if message.id != _EVIDENCE and not message.id.startswith(_NOT_PARSED)
        ),
        read=read - frozenset(unread),
        unread=tuple(Unread(path, why) for path, why in unread.items()),
    )


def _path(raw: Raw, message: _Message) -> str:
    return raw.relative(message.absolute or message.path)


def _text(raw: Raw, message: _Message) -> str:
    """What it says, without the stage's own path."""
    root = raw.root.rstrip("/")
    return message.message.replace(root + "/", "") if root else message.message


def _finding(raw: Raw, message: _Message) -> Finding:
    level, cwe = _SECURITY.get(message.id, (Severity.INFO, None))
    about = "quality, not security" if cwe is None else "about security"
    return Finding(
        scanner="pylint",
        rule=message.id,
        type=ScanType.CODE,
        severity=level,
        native_severity=message.type,
        severity_from=f"pylint: {message.type}; {message.symbol} is {about}",
        confidence=confidence(message.confidence),
        title=message.symbol,
        message=_text(raw, message),
        url=f"https://pylint.readthedocs.io/en/stable/user_guide/messages/{message.type}/"
        f"{message.symbol}.html",
        cwe=() if cwe is None else (cwe,),
        location=Location(
            _path(raw, message),
            message.line or None,
            column=message.column + 1,
            end_line=message.end_line,
            end_column=None if message.end_column is None else message.end_column + 1,
        ),
    )


PYLINT = Scanner(
    "pylint",
    "mistakes and code quality in Python source",
    "https://pylint.readthedocs.io",
    (
        Pass(
            name="code",
            type=ScanType.CODE,
            reads=("*.py", "*.pyi"),
            command=(
                "{program}",
                "--rcfile=/dev/null",
                f"--init-hook={_GUARD}",
                "--output-format=json2",
                "--persistent=n",
                "--disable=duplicate-code",  # quotes the source, compares all with all
                "--max-module-lines=-1",
                "--ignore=/",  # by itself it passes over CVS
                "--ignore-patterns=^$",  # and over .#name.py
                "{files}",
            ),
            exits=tuple(range(32)),  # a mask of what it found; 32 is a wrong flag
            coverage=Coverage.LISTED,
            parse=parse,
            control=Control({"control.py": "eval(input())\n"}, "W0123"),
            seconds=600.0,
            cost=9.0,
        ),
    ),
    Install("pip", "pylint.txt", "bin/pylint"),
)
