"""Runs in one process: what starts, what waits, what is tried again, what a person may say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pilotage.app import App
from pilotage.domain.call import Outcome, Principal
from pilotage.domain.errors import BadInput, Conflict, NotFound
from pilotage.domain.pipeline import Pipeline
from pilotage.domain.run import Kind, Run, RunState
from pilotage.pipeline.prepare import Given
from pipeline.conftest import BY, lines, made, make_app
from waiting import until

Make = Callable[..., Pipeline]
GOOD, BAD = Outcome.SUCCEEDED, Outcome.FAILED


async def finished(app: App, pipeline: Pipeline, **given: object) -> Run:
    run = await app.runs.start(pipeline, Given(**given), BY)  # type: ignore[arg-type]
    return await app.runs.wait(run)


def outcomes(run: Run) -> dict[str, str | None]:
    return {name: step.outcome and step.outcome.value for name, step in run.steps.items()}


async def test_steps_pass_typed_values_on(app: App, pipeline: Make) -> None:
    run = await finished(
        app,
        pipeline(
            """
            name: a, tool: echo, params: {value: [1, "${{ inputs.who }}", "${{ env.E }}"]}
            name: b, tool: echo, params: {value: "${{ steps.a.outputs.value }}"}
            name: c, tool: echo, params: {value: "${{ steps.b.outcome }} ${{ github.sha }}"}
            """,
            "name: p\ninputs: {who: {required: true}}\nenv: {E: '${{ github.sha }}!'}",
        ),
        inputs={"who": "Ann"},
        github={"sha": "abc", "ref": None},
    )
    assert run.outcome is GOOD
    assert run.steps["b"].value == {"value": [1, "Ann", "abc!"]}
    assert run.steps["c"].value == {"value": "succeeded abc"}


async def test_independent_branches_run_side_by_side(
    app: App, pipeline: Make, tmp_path: Path
) -> None:
    steps = "\n".join(
        f"name: s{n}, tool: work, depends_on: [], params: {{file: f, end: end}}" for n in range(8)
    )
    run = await app.runs.start(pipeline(steps), Given(), BY)
    await until(lambda: len(lines(tmp_path / "f", "begin")) == 8)
    assert lines(tmp_path / "f", "end") == []
    (tmp_path / "end").touch()
    assert (await app.runs.wait(run)).outcome is GOOD
    assert len(lines(tmp_path / "f", "end")) == 8


async def test_a_failed_step_stops_what_needs_it_and_nothing_else(app: App, pipeline: Make) -> None:
    run = await finished(
        app,
        pipeline(
            """
            name: a, tool: fail, params: {file: f}
            name: b, tool: echo
            name: c, tool: echo
            name: other, tool: echo, depends_on: []
            """
        ),
    )
    assert run.outcome is BAD
    assert outcomes(run) == {"a": "failed", "b": "skipped", "c": "skipped", "other": "succeeded"}
    assert run.steps["a"].error == "failure 1"
    assert run.steps["b"].why == "a failed"


async def test_continue_goes_on_and_the_failure_stays_visible(app: App, pipeline: Make) -> None:
    run = await finished(
        app,
        pipeline(
            """
            name: a, tool: fail, params: {file: f}, on_failure: continue
            name: b, tool: echo, params: {value: "${{ steps.a.outcome }}"}
            """
        ),
    )
    assert run.outcome is GOOD
    assert outcomes(run) == {"a": "failed", "b": "succeeded"}
    assert run.steps["b"].value == {"value": "failed"}


async def test_retries_count_and_wait(app: App, pipeline: Make, tmp_path: Path) -> None:
    step = "name: a, tool: fail, retry_count: 2, retry_delay: 0.2, params: {file: f, times: 2}"
    run = await finished(app, pipeline(step))
    assert run.outcome is GOOD
    assert run.steps["a"].attempt == 3
    at = [(e.kind, e.at) async for e in app.runs.events(run.id)]
    starts = [when for kind, when in at if kind is Kind.STARTED]
    ends = [when for kind, when in at if kind is Kind.FINISHED]
    waited = [start - end for end, start in zip(ends, starts[1:], strict=False)]
    assert [one >= 200_000 for one in waited] == [True, True], waited
    keys = {line.split()[2] for line in (tmp_path / "f").read_text().splitlines()}
    assert keys == {f"{run.id}/a"}


async def test_retries_end(app: App, pipeline: Make, tmp_path: Path) -> None:
    step = "name: a, tool: fail, retry_count: 2, params: {file: f, times: 9}"
    run = await finished(app, pipeline(step))
    assert run.outcome is BAD
    assert len(lines(tmp_path / "f")) == 3


async def test_a_denial_is_not_tried_again(app: App, pipeline: Make) -> None:
    run = await finished(app, pipeline("name: a, tool: destroy, retry_count: 3"))
    assert outcomes(run) == {"a": "denied"}
    assert run.steps["a"].attempt == 1


async def test_a_tool_that_had_nothing_to_do_is_no_success(app: App, pipeline: Make) -> None:
    steps = """
        name: a, tool: give, params: {answer: {}, outcome: skipped}, retry_count: 2
        name: b, tool: echo
    """
    run = await finished(app, pipeline(steps))
    assert run.outcome is BAD
    assert outcomes(run) == {"a": "skipped", "b": "skipped"}
    assert run.steps["a"].attempt == 1


async def test_each_attempt_has_its_time_and_no_more(
    app: App, pipeline: Make, tmp_path: Path
) -> None:
    step = "name: a, tool: work, timeout: 0.2, retry_count: 1, params: {file: f, seconds: 30}"
    run = await finished(app, pipeline(step))
    assert outcomes(run) == {"a": "timed_out"}
    assert lines(tmp_path / "f", "cancelled") == ["a", "a"]


async def test_the_run_has_its_time_and_no_more(tmp_path: Path) -> None:
    app = make_app(tmp_path, MCP_PIPELINE_TIMEOUT="3")
    pipeline = made(
        app,
        """
        name: a, tool: work, params: {file: f, seconds: 30}
        name: b, tool: echo
        """,
    )
    run = await finished(app, pipeline)
    assert run.outcome is Outcome.TIMED_OUT
    assert outcomes(run) == {"a": "cancelled", "b": "skipped"}
    await app.runs.close()
    app.close()


async def test_params_that_cannot_be_made_fail_the_step(app: App, pipeline: Make) -> None:
    step = 'name: a, tool: echo, params: {value: "${{ fromJSON(inputs.j) }}"}, retry_count: 3'
    run = await finished(app, pipeline(step, "name: p\ninputs: {j: {}}"), inputs={"j": "no json"})
    assert outcomes(run) == {"a": "failed"}
    assert "not JSON" in run.steps["a"].error
    assert run.steps["a"].attempt == 1


PARKED = """
    name: a, tool: echo
    name: b, tool: fail, params: {file: f, times: 1}, on_failure: manual
    name: c, tool: echo
    name: d, tool: echo, depends_on: [a]
"""


async def parked(app: App, pipeline: Make) -> str:
    run = await finished(app, pipeline(PARKED))
    assert (run.state, run.waiting) == (RunState.WAITING, ("b",))
    assert outcomes(run) == {"a": "succeeded", "b": "failed", "c": None, "d": "succeeded"}
    return run.id


async def test_manual_waits_until_a_person_approves(app: App, pipeline: Make) -> None:
    run = await parked(app, pipeline)
    await app.runs.approve(run, BY, reason="seen")
    stands = await app.runs.wait(run)
    assert stands.outcome is GOOD
    assert outcomes(stands)["b"] == "failed"
    assert stands.steps["b"].why == "approved by local:test: seen"


async def test_manual_waits_until_a_person_rejects(app: App, pipeline: Make) -> None:
    run = await parked(app, pipeline)
    await app.runs.reject(run, BY)
    stands = await app.runs.wait(run)
    assert stands.outcome is BAD
    assert outcomes(stands)["c"] == "skipped"


async def test_resume_tries_the_step_that_waits_again(app: App, pipeline: Make) -> None:
    run = await parked(app, pipeline)
    await app.runs.resume(run, BY)
    stands = await app.runs.wait(run)
    assert stands.outcome is GOOD
    assert outcomes(stands) == dict.fromkeys("abcd", "succeeded")
    assert stands.steps["a"].attempt == 1


async def test_a_person_may_not_say_what_does_not_fit(app: App, pipeline: Make) -> None:
    run = await parked(app, pipeline)
    with pytest.raises(Conflict, match=r"'a' of run .* does not wait"):
        await app.runs.approve(run, BY, "a")
    await app.runs.approve(run, BY, "b")
    await app.runs.wait(run)
    for say in (app.runs.approve, app.runs.reject, app.runs.resume, app.runs.cancel):
        with pytest.raises(Conflict):
            await say(run, BY)
    with pytest.raises(NotFound):
        await app.runs.approve("01XYZ", BY)


async def test_of_two_approvals_one_counts(app: App, pipeline: Make) -> None:
    run = await parked(app, pipeline)
    said = await asyncio.gather(
        *(app.runs.approve(run, BY) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(one, Run) for one in said) == 1
    assert (await app.runs.wait(run)).outcome is GOOD


async def test_resume_of_a_failed_run_repeats_only_what_did_not_end_well(
    app: App, pipeline: Make, tmp_path: Path
) -> None:
    steps = """
        name: a, tool: work, params: {file: w}
        name: b, tool: fail, params: {file: f}
        name: c, tool: work, params: {file: w}
    """
    run = await finished(app, pipeline(steps))
    assert run.outcome is BAD
    await app.runs.resume(run.id, BY)
    again = await app.runs.wait(run.id)
    assert again.outcome is GOOD
    assert lines(tmp_path / "w", "begin") == ["a", "c"]


async def test_cancel_ends_what_runs_and_skips_the_rest(
    app: App, pipeline: Make, tmp_path: Path
) -> None:
    steps = """
        name: a, tool: work, params: {file: f, seconds: 30}
        name: b, tool: work, params: {file: f}
    """
    run = await app.runs.start(pipeline(steps), Given(), BY)
    await until(lambda: bool(lines(tmp_path / "f", "begin")))
    await app.runs.cancel(run, BY, "enough")
    stands = await app.runs.wait(run)
    assert stands.outcome is Outcome.CANCELLED
    assert stands.why == "cancelled by local:test: enough"
    assert outcomes(stands) == {"a": "cancelled", "b": "skipped"}
    assert lines(tmp_path / "f") == ["a", "a"]
    assert lines(tmp_path / "f", "cancelled") == ["a"]


async def test_who_waits_may_go_away_without_ending_the_run(
    app: App, pipeline: Make, tmp_path: Path
) -> None:
    step = "name: a, tool: work, params: {file: f, end: end}"
    run = await app.runs.start(pipeline(step), Given(), BY)
    waiter = asyncio.create_task(app.runs.wait(run))
    await until(lambda: bool(lines(tmp_path / "f", "begin")))
    waiter.cancel()
    await asyncio.wait({waiter})
    (tmp_path / "end").touch()
    assert (await app.runs.wait(run)).outcome is GOOD
    assert lines(tmp_path / "f", "cancelled") == []


async def test_the_same_key_is_the_same_run(app: App, pipeline: Make, tmp_path: Path) -> None:
    step = "name: a, tool: work, params: {file: f, seconds: 0.2}"
    runs = await asyncio.gather(
        *(app.runs.start(pipeline(step), Given(key="k"), BY) for _ in range(5))
    )
    assert len(set(runs)) == 1
    assert (await app.runs.wait(runs[0])).outcome is GOOD
    assert await app.runs.start(pipeline(step), Given(key="k"), BY) == runs[0]
    assert lines(tmp_path / "f", "begin") == ["a"]


async def test_a_key_belongs_to_its_principal_and_its_pipeline(app: App, pipeline: Make) -> None:
    first = await app.runs.start(pipeline("name: a, tool: echo"), Given(key="k"), BY)
    other = Principal("key:x", frozenset({"admin"}))
    assert await app.runs.start(pipeline("name: a, tool: echo"), Given(key="k"), other) != first
    with pytest.raises(Conflict, match="another pipeline"):
        await app.runs.start(pipeline("name: b, tool: echo"), Given(key="k"), BY)


async def test_a_run_whose_key_was_revoked_goes_no_further(app: App, pipeline: Make) -> None:
    app.keys.create("bot", ("admin",), by=BY)
    by = Principal("key:bot", frozenset({"admin"}))
    steps = """
        name: a, tool: fail, params: {file: f}, on_failure: manual
        name: b, tool: echo
        name: c, tool: echo
    """
    run = await app.runs.start(pipeline(steps), Given(), by)
    await app.runs.wait(run)
    app.keys.revoke("bot", by=BY)
    await app.runs.approve(run, BY)
    stands = await app.runs.wait(run)
    assert outcomes(stands) == {"a": "failed", "b": "denied", "c": "skipped"}
    assert stands.steps["c"].why == "b was denied"


async def test_tools_that_are_not_there_refuse_the_start(app: App, pipeline: Make) -> None:
    with pytest.raises(BadInput, match="tools that are not here: magic"):
        await finished(app, pipeline("name: a, tool: magic"))
    assert app.runs.newest() == []


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, "input 'n' is required"),
        ({"n": "x"}, "input 'n' is not a number"),
        ({"n": 1, "m": 2}, "has no input 'm'"),
        ({"n": True}, "not a number"),
    ],
)
async def test_inputs_are_checked_before_anything_runs(
    app: App, pipeline: Make, given: dict[str, object], what: str
) -> None:
    head = "name: p\ninputs: {n: {type: number, required: true}}"
    with pytest.raises(BadInput, match=what):
        await finished(app, pipeline("name: a, tool: echo", head), inputs=given)
    assert app.runs.newest() == []


async def test_only_the_variables_that_are_read_are_kept(app: App, pipeline: Make) -> None:
    run = await finished(
        app,
        pipeline('name: a, tool: echo, params: {value: "${{ env.Wanted }}"}'),
        environment={"WANTED": "yes", "TOKEN": "hush"},
    )
    assert run.steps["a"].value == {"value": "yes"}
    kept = b"".join(path.read_bytes() for path in app.settings.home.glob("pilotage.db*"))
    assert b"hush" not in kept


async def test_events_stream_from_any_point_to_the_end(app: App, pipeline: Make) -> None:
    run = await app.runs.start(pipeline("name: a, tool: echo, params: {value: hi}"), Given(), BY)
    events = [event async for event in app.runs.events(run)]
    assert [e.seq for e in events] == list(range(len(events)))
    assert [e.kind for e in events if e.kind is not Kind.SAID] == [
        Kind.CREATED, Kind.TAKEN, Kind.STARTED, Kind.FINISHED, Kind.ENDED,
    ]  # fmt: skip
    assert [line for e in events for line in e.body.get("lines", ())] == ["echo hi"]
    assert [e async for e in app.runs.events(run, after=events[-3].seq)] == events[-2:]


async def test_each_step_is_an_audited_call_of_the_runs_principal(app: App, pipeline: Make) -> None:
    run = await finished(app, pipeline("name: a, tool: echo"))
    app.audit.seal()
    opened = [e for e in app.audit.list() if e.event in ("open", "call")]
    assert len(opened) == 1
    body = opened[0].body
    assert (body["via"], body["run"], body["step"], body["key"]) == (
        "step", run.id, "a", f"{run.id}/a",
    )  # fmt: skip
    assert opened[0].principal == BY.name


async def test_runs_are_listed_newest_first_and_found_by_how_they_begin(
    app: App, pipeline: Make
) -> None:
    runs = [(await finished(app, pipeline("name: a, tool: echo"))).id for _ in range(3)]
    assert [one.id for one in app.runs.newest()] == runs[::-1]
    assert app.runs.newest(state=RunState.WAITING) == []
    assert app.runs.find(runs[0].lower()) == runs[0]
    with pytest.raises(NotFound, match="more than one run"):
        app.runs.find(runs[0][:2])
    with pytest.raises(NotFound):
        app.runs.find("9")


async def test_ten_thousand_letters_of_a_tool_are_kept_within_bounds(
    app: App, pipeline: Make
) -> None:
    step = 'name: a, tool: echo, params: {value: "' + "x" * 10_000 + '"}'
    run = await finished(app, pipeline(step))
    events = [e async for e in app.runs.events(run.id) if e.kind is Kind.SAID]
    assert len(events[0].body["lines"][0]) == 1000
