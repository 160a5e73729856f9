"""Promises are data: each names its source and the tests that hold us to it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_each_promise_names_its_source_and_tests_that_are_there() -> None:
    promises = tomllib.loads((ROOT / "docs/promises.toml").read_text("utf-8"))
    found: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        found |= set(re.findall(r"^(?:async )?def (test_\w+)", file.read_text("utf-8"), re.M))
    for name, promise in promises.items():
        assert promise["says"], name
        assert promise["source"], name
        assert promise["tests"], name
        assert set(promise["tests"]) <= found, name


def test_the_tool_of_the_readme_runs() -> None:
    """Cut from examples/03-a-tool, bound and called as the app would."""
    import asyncio
    import runpy

    from pilotage.domain.call import Principal, ToolCall, silent
    from pilotage.tool.roots import Roots, roots

    made = runpy.run_path(str(ROOT / "examples/03-a-tool/line_count.py"))["line_count"]
    tool = made.bind({Roots: roots(ROOT)})
    assert tool.input_schema["required"] == ["path"]
    call = ToolCall("1", "line_count", {"path": "LICENSE"}, Principal("t", frozenset()), "cli")
    result = asyncio.run(tool.run(call, silent))
    assert result.succeeded
    assert result.value == {"lines": len((ROOT / "LICENSE").read_bytes().splitlines())}
