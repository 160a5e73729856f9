"""A step that a person must approve parks its run, and goes on once it is approved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pilotage.app import App
from pilotage.cli import main
from pilotage.domain.approval import ApprovalState, Verdict
from pilotage.domain.call import Outcome, Principal
from pilotage.domain.errors import Conflict, Denied
from pilotage.domain.pipeline import Pipeline
from pilotage.domain.run import Kind, RunState
from pilotage.pipeline.prepare import Given
from pipeline.conftest import BY, lines, made, make_app

Make = Callable[..., Pipeline]
COLLEAGUE = Principal("key:colleague", frozenset({"operator"}))
STEPS = """
    name: before, tool: work, params: {file: f}
    name: gone, tool: destroy
    name: after, tool: work, params: {file: f}
"""


async def parked(app: App, pipeline: Pipeline) -> tuple[str, str]:
    """A run that waits in `gone`, and the approval that it waits for."""
    run = await app.runs.start(pipeline, Given(), BY)
    stands = await app.runs.wait(run)
    assert (stands.state, stands.waiting) == (RunState.WAITING, ("gone",))
    step = stands.steps["gone"]
    assert f"pilotage approvals approve {step.approval}" in step.why
    return run, step.approval


@pytest.mark.parametrize("by_run", [True, False])
async def test_an_approved_step_runs_and_the_run_goes_on(
    app: App, pipeline: Make, tmp_path: Path, by_run: bool
) -> None:
    run, approval = await parked(app, pipeline(STEPS))
    if by_run:
        await app.runs.approve(run, COLLEAGUE, reason="old")
    else:
        await app.judge(approval, COLLEAGUE, Verdict.APPROVED, "old")
    stands = await app.runs.wait(run)
    assert stands.outcome is Outcome.SUCCEEDED
    assert stands.steps["gone"].outcome is Outcome.SUCCEEDED
    assert lines(tmp_path / "f", "end") == ["before", "after"]
    one = app.approvals.show(approval, COLLEAGUE)
    assert (one.state, one.run, one.step) == (ApprovalState.USED, run, "gone")
    kinds = [event.kind async for event in app.runs.events(run) if event.step == "gone"]
    begun = [Kind.STARTED, Kind.FINISHED]
    assert kinds == [*begun, Kind.PARKED, Kind.RESUMED, *begun]


@pytest.mark.parametrize("by_run", [True, False])
async def test_a_rejected_step_fails_the_run(
    app: App, pipeline: Make, tmp_path: Path, by_run: bool
) -> None:
    run, approval = await parked(app, pipeline(STEPS))
    if by_run:
        await app.runs.reject(run, COLLEAGUE, reason="in use")
    else:
        await app.judge(approval, COLLEAGUE, Verdict.REJECTED, "in use")
    stands = await app.runs.wait(run)
    assert (stands.outcome, stands.steps["gone"].well) == (Outcome.FAILED, False)
    assert "rejected by key:colleague: in use" in stands.steps["gone"].why
    assert lines(tmp_path / "f", "end") == ["before"]
    assert app.approvals.show(approval, COLLEAGUE).state is ApprovalState.REJECTED


async def test_who_started_a_run_does_not_approve_its_steps(app: App, pipeline: Make) -> None:
    run, _ = await parked(app, pipeline(STEPS))
    with pytest.raises(Denied, match="nobody approves its own call"):
        await app.runs.approve(run, BY)
    assert app.runs.show(run)[1].waiting == ("gone",)


async def test_an_approval_that_has_expired_is_asked_for_anew(app: App, pipeline: Make) -> None:
    app.approvals.expire = 0
    run, approval = await parked(app, pipeline(STEPS))
    with pytest.raises(Conflict, match="has expired"):
        await app.runs.approve(run, COLLEAGUE)
    app.approvals.expire = 900
    await app.runs.resume(run, BY)
    stands = await app.runs.wait(run)
    fresh = stands.steps["gone"].approval
    assert (stands.waiting, fresh != approval) == (("gone",), True)
    await app.judge(fresh, COLLEAGUE, Verdict.APPROVED)
    assert (await app.runs.wait(run)).outcome is Outcome.SUCCEEDED


async def test_a_run_can_be_given_up_after_its_approval_has_expired(
    app: App, pipeline: Make
) -> None:
    app.approvals.expire = 0
    run, _ = await parked(app, pipeline(STEPS))
    await app.runs.reject(run, COLLEAGUE)
    assert (await app.runs.wait(run)).outcome is Outcome.FAILED


async def test_with_two_needed_the_first_word_moves_nothing(tmp_path: Path) -> None:

    (tmp_path / "home").mkdir()
    (tmp_path / "home/roles.yaml").write_text(
        "admin: {effects: [read, write], ask: [destroy], manage: ['*']}\n"
        "approvals: [{needed: 2, effects: [destroy]}]\n",
        "utf-8",
    )
    app = make_app(tmp_path)
    try:
        run, _ = await parked(app, made(app, STEPS))
        first, second = (Principal(name, frozenset({"admin"})) for name in ("first", "second"))
        await app.runs.approve(run, first)
        assert app.runs.show(run)[1].waiting == ("gone",)
        await app.runs.approve(run, second)
        assert (await app.runs.wait(run)).outcome is Outcome.SUCCEEDED
    finally:
        await app.leave()
        app.close()


async def test_another_process_approves_and_this_one_goes_on(
    app: App, pipeline: Make, tmp_path: Path
) -> None:
    run, approval = await parked(app, pipeline(STEPS))
    other = make_app(tmp_path)
    try:
        await other.judge(approval, COLLEAGUE, Verdict.APPROVED)
        assert (await app.runs.wait(run)).outcome is Outcome.SUCCEEDED
        assert other.runs.driven() == ()
    finally:
        await other.leave()
        other.close()


ASKS = """
@id("checks-ask") forbid (principal, action == Action::"call",
    resource == Tool::"code_quality_checker");
@id("may-ask") permit (principal, action == Action::"ask", resource);
"""


def test_on_the_command_line_a_run_that_waits_exits_5_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (home / "policy.cedar").write_text(ASKS, "utf-8")
    (work / "p.yaml").write_text(
        "name: p\nsteps: [{name: check, tool: code_quality_checker, params: {source_path: .},"
        " on_failure: continue}]\n",
        "utf-8",
    )
    monkeypatch.setenv("PILOTAGE_HOME", str(home))
    monkeypatch.chdir(work)
    assert main.main(["run", "p.yaml"]) == 5
    assert "pilotage approvals approve" in capsys.readouterr().out
    assert main.main(["approvals", "list", "--state", "pending"]) == 0
    id, state, given, tool, *_ = capsys.readouterr().out.split()
    assert (state, given, tool) == ("pending", "0/1", "code_quality_checker")
    assert main.main(["approvals", "approve", id]) == 2
    assert "nobody approves its own call" in capsys.readouterr().err
    monkeypatch.setenv("PILOTAGE_APPROVALS_OWN", "true")
    assert main.main(["approvals", "approve", id[:20], "--reason", "I am the person here"]) == 0
    said = capsys.readouterr().out
    assert "code_quality_checker of local:" in said
    assert main.main(["approvals", "show", id]) == 0
    shown = capsys.readouterr().out
    assert "state      used, 1 of 1 have approved" in shown
    assert "I am the person here" in shown
    assert main.main(["audit", "verify"]) == 0
