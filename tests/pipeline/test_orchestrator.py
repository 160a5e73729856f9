"""The tool pipeline_orchestrator: what the article's client sends, and what it reads."""

from __future__ import annotations

from typing import Any

import pytest

from pilotage.app import App
from pilotage.domain.call import Outcome, Progress, ToolResult
from pilotage.domain.errors import BadInput
from pipeline.conftest import BY

CONTEXT = {"repository": "a/b", "sha": "abc", "ref": None, "workspace": "/w"}


async def call(app: App, steps: list[dict[str, Any]], key: str = "", **more: Any) -> ToolResult:
    arguments = {"name": "p", "steps": steps, **more}
    return await app.call(
        "pipeline_orchestrator", arguments, BY, "rest", idempotency_key=key or None
    )


async def test_what_the_articles_client_sends_is_run(app: App) -> None:
    steps = [
        {"name": "one-a", "tool": "echo", "params": {"value": "${{ github.repository }}"}},
        {"name": "two", "tool": "give", "params": {"answer": {
            "variables": {"IMAGE": "x:1", "n": 2}, "n": 3, "ok": True, "deep": {"a": 1},
            "artifacts": [{"name": "report", "file_path": "/r.html"}, {"odd": 1}],
        }}},
    ]  # fmt: skip
    result = await call(app, steps, context=CONTEXT, scan_depth=3)
    assert result.succeeded
    assert result.ignored == ("scan_depth",)
    assert result.warnings == ("unknown argument 'scan_depth' is ignored",)
    assert result.value["variables"] == {
        "one_a_outcome": "succeeded", "one_a_value": "a/b", "two_outcome": "succeeded",
        "two_n": "3", "two_ok": "true", "IMAGE": "x:1", "n": "2",
    }  # fmt: skip
    assert result.value["artifacts"] == [{"name": "report", "file_path": "/r.html"}]
    assert result.value["state"] == "ended"
    assert [step["outcome"] for step in result.value["steps"]] == ["succeeded", "succeeded"]


async def test_no_value_of_a_variable_spans_lines(app: App) -> None:
    answer = {
        "text": "a\n::set-env name=X::y",
        "variables": {"v": "1\r\n::stop", "o k": "x\x1b[2J"},
    }
    result = await call(app, [{"name": "a", "tool": "give", "params": {"answer": answer}}])
    assert "a_text" not in result.value["variables"]
    assert result.value["variables"]["v"] == "1\\r\\n::stop"
    assert result.value["variables"]["o_k"] == "x\\x1b[2J"


async def test_a_failure_says_which_step_and_what_next(app: App) -> None:
    steps = [
        {"name": "a", "tool": "fail", "params": {"file": "f"}},
        {"name": "b", "tool": "echo"},
    ]
    result = await call(app, steps)
    assert result.outcome is Outcome.FAILED
    assert result.error == "a: failure 1"
    assert f"pilotage runs resume {result.value['run']}" in str(result.hint)
    assert [step["outcome"] for step in result.value["steps"]] == ["failed", "skipped"]


async def test_a_run_that_waits_says_how_to_go_on(app: App) -> None:
    steps = [
        {"name": "a", "tool": "fail", "params": {"file": "f"}, "on_failure": "manual"},
        {"name": "b", "tool": "echo"},
    ]
    result = await call(app, steps, key="k")
    assert not result.succeeded
    assert (result.value["state"], result.value["waiting"]) == ("waiting", ["a"])
    assert f"pilotage runs approve {result.value['run']}" in str(result.hint)
    await app.runs.approve(result.value["run"], BY)
    again = await call(app, steps, key="k")
    assert again.succeeded
    assert again.value["run"] == result.value["run"]


async def test_the_articles_jenkins_client_is_understood(app: App) -> None:
    context = {"job_name": "j", "git_commit": "abc", "git_branch": "main", "workspace": None}
    value = "${{ github.sha }} ${{ github.ref }} ${{ github.job_name }}${{ github.workspace }}"
    steps = [{"name": "a", "tool": "echo", "params": {"value": value}}]
    result = await call(app, steps, context=context)
    assert result.value["variables"]["a_value"] == "abc main j"


async def test_a_pipeline_that_is_none_is_refused_before_anything_runs(app: App) -> None:
    for steps, what in (
        ([{"name": "a"}], r"steps\[0\]: .*missing required field `tool`"),
        ([{"name": "a", "tool": "echo", "if": "x"}], r"steps\[0\].if: unknown key"),
        ([{"name": "a", "tool": "magic"}], "not here: magic"),
        ([], "steps: "),
    ):
        result = await call(app, steps)
        assert result.outcome is Outcome.FAILED
        with pytest.raises(AssertionError if result.error is None else BadInput, match=what):
            raise BadInput(str(result.error))
    assert app.runs.newest() == []


async def test_progress_tells_of_each_step(app: App) -> None:
    told: list[Progress] = []
    steps = [{"name": n, "tool": "echo", "params": {"value": n}} for n in ("a", "b")]
    await app.call("pipeline_orchestrator", {"name": "p", "steps": steps}, BY, "rest", told.append)
    words = [one.message for one in told]
    for word in ("started a", "a: echo a", "b: echo b", "run succeeded"):
        assert word in words
    assert (told[-1].done, told[-1].total) == (2, 2)


async def test_a_pipeline_may_be_a_step_of_another(app: App) -> None:
    inner = {"name": "inner", "steps": [{"name": "x", "tool": "echo", "params": {"value": 1}}]}
    steps = [{"name": "a", "tool": "pipeline_orchestrator", "params": inner}]
    result = await call(app, steps)
    assert result.succeeded
    runs = app.runs.newest()
    assert sorted(run.pipeline for run in runs) == ["inner", "p"]


async def test_an_argument_of_a_step_that_does_not_count_is_in_the_answer(app: App) -> None:
    inner = {"name": "q", "steps": [{"name": "b", "tool": "echo"}], "valus": {}}
    result = await call(app, [{"name": "a", "tool": "pipeline_orchestrator", "params": inner}])
    said = "unknown argument 'valus' is ignored; did you mean 'values'?"
    assert result.value["warnings"] == [
        f"steps[0].params.valus: warning: pipeline_orchestrator: {said}"
    ]
