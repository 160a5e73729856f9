from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from pilotage.domain.finding import Severity
from pilotage.scan.scanner import Raw
from pilotage.scanners.pylint import PYLINT, parse
from scanners.looking import look, plant


def message(**fields: object) -> dict[str, object]:
    return {"type": "warning", "symbol": "eval-used", "message": "Use of eval", "line": 3,
            "messageId": "W0123", "confidence": "UNDEFINED", "column": 0, "endLine": 3,
            "endColumn": 4, "path": "a.py", "absolutePath": "/stage/a.py", **fields}  # fmt: skip


def report(*messages: dict[str, object]) -> Raw:
    body = {"messages": messages, "statistics": {"modulesLinted": 1}}
    return Raw(4, json.dumps(body).encode(), b"", root="/stage")


@pytest.mark.parametrize("id", ["E0001", "F0001", "F0002", "F0010"])
def test_a_file_that_pylint_gave_up_is_unread_whatever_else_it_says(id: str) -> None:
    parsed = parse(report(message(messageId="C0302"), message(messageId=id, message="no")))
    assert not parsed.findings
    assert parsed.read == frozenset()
    assert [(item.path, item.why) for item in parsed.unread] == [("a.py", "line 3: no")]


def test_quality_is_info_and_the_few_about_security_are_not() -> None:
    dull = message(messageId="E1101", symbol="no-member", type="error")
    parsed = parse(report(message(), dull))
    assert [finding.severity for finding in parsed.findings] == [Severity.MEDIUM, Severity.INFO]
    assert "quality, not security" in parsed.findings[1].severity_from


def test_the_list_of_pylint_2_is_read_too() -> None:
    old = message()
    old["message-id"] = old.pop("messageId")
    del old["absolutePath"], old["endLine"], old["endColumn"]
    [finding] = parse(Raw(4, json.dumps([old]).encode(), b"")).findings
    assert (finding.rule, finding.location.path, finding.location.line) == ("W0123", "a.py", 3)


CANARY = 'open({canary!r}, "w").close()\n'


@pytest.mark.parametrize(
    "files",
    [
        {"isort.py": CANARY, "a.py": "import os\neval(os.name)\n"},
        {"asyncio/__init__.py": CANARY, "asyncio/events.py": "", "a.py": "import _asyncio\n"},
        {"turtle/__init__.py": CANARY, "a.py": "import turtle.missing\n"},
        {"stringprep.py": CANARY, "a.py": "# coding: idna\nx = 1\n"},
    ],
    ids=["isort", "extension", "standard-package", "encoding"],
)
async def test_a_module_of_the_project_is_never_imported(
    files: Mapping[str, str], tmp_path: Path
) -> None:
    """All of these run in stock pylint 4.1.4, which puts the project on its own import path."""
    canary = tmp_path / "canary"
    planted = {name: text.format(canary=str(canary)) for name, text in files.items()}
    planted["b.py"] = "eval(input())\n"
    run = await look(PYLINT, plant(tmp_path / "project", planted))
    assert not canary.exists()
    assert "W0123" in {finding.rule for finding in run.findings if finding.location.path == "b.py"}
