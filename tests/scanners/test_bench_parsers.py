"""bench/parsers over a corpus: what agrees, what is missed, what differs on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scanners import golden

ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("PILOTAGE_CORPUS", ROOT.parent / "shared/fixtures/scanner-outputs"))


def bench(corpus: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.parsers", "--corpus", str(corpus)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def corpus(folder: Path, name: str, report: bytes, *rows: list[Any]) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "one.json").write_bytes(report)
    told = {"sample": f"{name}/one.json", "count": len(rows), "findings": rows}
    with (folder / "expected.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")
    return folder


def bandit_rows() -> list[list[Any]]:
    return [
        [
            each["severity"].title(),
            f"{each['title']}:{each['rule']}",
            golden.ROOT + "/" + each["location"]["path"],
            each["location"]["line"],
            *[None] * 5,
            1,
        ]
        for each in golden.expected("bandit")["findings"]
    ]


def test_a_corpus_that_we_read_alike_has_no_miss(tmp_path: Path) -> None:
    report = golden.recorded("bandit").stdout
    done = bench(corpus(tmp_path, "bandit", report, *bandit_rows()))
    assert done.returncode == 0, done.stdout + done.stderr
    number = len(bandit_rows())
    assert f"{number}/{number}" in done.stdout
    assert "MISS" not in done.stdout


def test_another_line_severity_or_number_is_a_miss_each(tmp_path: Path) -> None:
    report = golden.recorded("bandit").stdout
    rows = bandit_rows()
    rows[0][3] += 1
    rows[1][0] = "Critical"
    done = bench(corpus(tmp_path, "bandit", report, *rows[:-1]))
    assert done.returncode == 1
    misses = [line for line in done.stdout.splitlines() if line.startswith("MISS")]
    kinds = sorted(line.split(": ")[1] for line in misses)
    assert kinds == ["count", "count", "count", "place", "severity"]


def test_what_cannot_be_read_and_what_has_no_parser_are_told(tmp_path: Path) -> None:
    corpus(tmp_path, "bandit", b'{"error": "no"}')
    corpus(tmp_path, "unheard_of", b"{}")
    done = bench(tmp_path)
    assert done.returncode == 1
    assert "MISS bandit/one.json: cannot be read" in done.stdout
    assert "No parser: 1 samples of 1 tools: unheard_of (1)" in done.stdout


def test_a_difference_on_purpose_is_counted_with_its_reason(tmp_path: Path) -> None:
    row = {"code": "DL3008", "column": 1, "file": "D", "level": "warning", "line": 9, "message": ""}
    rows = ["High", None, "D", 9, *[None] * 5, 1]
    done = bench(corpus(tmp_path, "hadolint", json.dumps([row]).encode(), rows))
    assert done.returncode == 0, done.stdout
    assert "1 x hadolint: its levels are about style" in done.stdout


def test_a_missing_corpus_is_an_error(tmp_path: Path) -> None:
    assert bench(tmp_path).returncode == 2


def test_the_shared_corpus_has_no_miss() -> None:
    if not (CORPUS / "expected.jsonl").is_file():
        pytest.skip(f"no corpus at {CORPUS}; name one in PILOTAGE_CORPUS")
    done = bench(CORPUS)
    assert done.returncode == 0, done.stdout
