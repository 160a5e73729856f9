"""A score with a stated formula, from tools that looked at everything, or none at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.domain.call import Outcome, ToolResult
from pilotage.tool.roots import roots

CLEAN = (
    '"""A module."""\n\n\ndef double(number):\n    """Twice the number."""\n    return 2 * number\n'
)
BAD = "import os\n\n\ndef f(x=[]):\n    print(undefined_thing)\n    return x\n"

Check = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def check(project: Path, tmp_path: Path) -> Any:
    settings = config.read(environment={**_cache(), "PILOTAGE_HOME": str(tmp_path / "state")})
    app = App(settings, roots(project))

    async def run(**arguments: Any) -> ToolResult:
        return await app.call("code_quality_checker", arguments, local_principal(), "cli")

    yield run
    app.close()


def _cache() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k in ("HOME", "PILOTAGE_CACHE")}


async def test_clean_code_scores_ten(check: Check, project: Path) -> None:
    (project / "clean.py").write_text(CLEAN)
    result = await check()
    assert result.outcome is Outcome.SUCCEEDED
    assert result.value["score"] == 10
    assert result.value["findings"] == []
    assert [tool["tool"] for tool in result.value["tools"]] == ["pylint", "ruff"]


async def test_three_tools_find_what_is_wrong_and_the_formula_gives_the_score(
    check: Check, project: Path
) -> None:
    (project / "bad.py").write_text(BAD + CLEAN * 20)
    (project / "bad.js").write_text("const unused = 1;\nif (x = 2) {}\n")
    result = await check()
    value = result.value
    rules = {(finding["scanner"], finding["rule"]) for finding in value["findings"]}
    assert {("pylint", "E0602"), ("ruff", "F821"), ("ruff", "B006"), ("ruff", "F401")} <= rules
    assert ("eslint", "no-unused-vars") in rules
    counts = value["counts"]
    weight = 5 * counts["error"] + counts["warning"] + 0.2 * counts["remark"]
    assert value["score"] == round(max(0, 10 - 100 * weight / value["lines"]), 2)
    assert value["lines"] == 4 + 20 * 4 + 2
    assert value["findings"][0]["level"] == "error"
    assert value["findings_total"] == len(value["findings"])


async def test_a_package_that_the_tools_cannot_see_is_no_mistake(
    check: Check, project: Path
) -> None:
    (project / "clean.py").write_text(
        '"""A module."""\n\nimport package_of_the_project\n\nprint(package_of_the_project)\n'
    )
    assert (await check()).value["score"] == 10


async def test_a_line_counts_once_whatever_many_tools_say_of_it(
    check: Check, project: Path
) -> None:
    (project / "bad.py").write_text('"""A module."""\nprint(undefined_thing)\n')
    value = (await check()).value
    assert {finding["scanner"] for finding in value["findings"]} == {"pylint", "ruff"}
    assert value["counts"] == {"error": 1, "warning": 0, "remark": 0}


async def test_the_project_cannot_talk_its_tools_out_of_it(check: Check, project: Path) -> None:
    (project / "bad.py").write_text("# pylint: skip-file\n# ruff: noqa\nimport os  # noqa\n")
    (project / ".pylintrc").write_text("[MASTER]\ndisable=all\n")
    (project / "ruff.toml").write_text('lint.ignore = ["ALL"]\n')
    rules = {finding["rule"] for finding in (await check()).value["findings"]}
    assert {"F401", "W0611"} <= rules


async def test_a_file_that_cannot_be_read_leaves_no_score(check: Check, project: Path) -> None:
    (project / "clean.py").write_text(CLEAN)
    (project / "broken.py").write_text("def f(:\n")
    result = await check()
    assert result.outcome is Outcome.FAILED
    assert result.value["score"] is None
    assert "broken.py" in result.error
    assert any("ruff" in line for line in result.value["incomplete"])


async def test_nothing_to_look_at_is_no_good_score(check: Check, project: Path) -> None:
    (project / "README.md").write_text("# Nothing here\n")
    result = await check()
    assert result.outcome is Outcome.FAILED
    assert result.value["score"] is None
    assert "no Python" in result.error


async def test_a_score_below_the_minimum_fails(check: Check, project: Path) -> None:
    (project / "bad.py").write_text(BAD)
    result = await check(minimum=5)
    assert result.outcome is Outcome.FAILED
    assert "is below 5" in result.error
    assert result.value["score"] < 5


async def test_what_the_article_sends_is_accepted_and_checked_against_the_folder(
    check: Check, project: Path
) -> None:
    (project / "clean.py").write_text(CLEAN)
    result = await check(repository="o/r", ref="refs/heads/main", sha="f" * 40, scan_depth="full")
    assert result.outcome is Outcome.SUCCEEDED
    assert result.ignored == ("scan_depth",)
    assert result.value["checked"]["repository"] == "o/r"
    assert "no commit" in result.value["checked"]["note"]


async def test_a_tool_that_cannot_run_leaves_no_score(project: Path, tmp_path: Path) -> None:
    (project / "clean.py").write_text(CLEAN)
    home = tmp_path / "state"
    home.mkdir()
    (home / "config.yaml").write_text("scanners: {ruff: /bin/false}\n")
    app = App(config.read(environment={**_cache(), "PILOTAGE_HOME": str(home)}), roots(project))
    try:
        result = await app.call("code_quality_checker", {}, local_principal(), "cli")
    finally:
        app.close()
    assert result.outcome is Outcome.FAILED
    assert result.value["score"] is None
    assert "ruff" in (result.error or "")
