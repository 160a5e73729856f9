"""What the README's first screen shows is what `make demo` prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo() -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "examples/01-first-gate/demo.py"]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


def test_the_demo_ends_with_fail_then_pass(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "vulnerable FAIL, repaired PASS" in demo.stdout
    assert demo.stdout.index(" FAIL  ") < demo.stdout.index(" PASS  ")
    assert "the chain holds" in demo.stdout


def test_every_line_of_the_readmes_first_screen_is_printed_by_the_demo(
    demo: subprocess.CompletedProcess[str],
) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = re.search(r"```console\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    printed = {line.rstrip() for line in demo.stdout.splitlines()}
    lines = [line for line in shown[1].splitlines() if line.strip() and not line.startswith("$")]
    assert [line for line in lines if line.rstrip() not in printed] == []


def test_each_report_is_written(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0
    for which in ("vulnerable", "repaired"):
        folder = ROOT / "out/demo/reports" / which
        assert {path.suffix for path in folder.iterdir()} == {".json", ".sarif", ".html"}
