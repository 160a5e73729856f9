"""What a person says to a run: heard by every run that waits, and on record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pilotage.app import App
from pilotage.audit.verify import verify
from pilotage.domain.call import Outcome
from pilotage.domain.pipeline import Pipeline
from pilotage.domain.run import RunState
from pilotage.pipeline.prepare import Given
from pipeline.conftest import BY

Make = Callable[..., Pipeline]
WAITS = "name: a, tool: give, params: {answer: {}, outcome: failed}, on_failure: manual"


async def test_many_runs_that_wait_all_wake_up(app: App, pipeline: Make) -> None:
    steps = """
        name: a, tool: give, params: {answer: {}, outcome: failed}, on_failure: manual
        name: b, tool: echo
    """
    waiting = pipeline(steps)
    runs = await asyncio.gather(*(app.runs.start(waiting, Given(), BY) for _ in range(300)))
    stands = await asyncio.gather(*(app.runs.wait(run) for run in runs))
    assert {run.state for run in stands} == {RunState.WAITING}
    await asyncio.gather(*(app.runs.approve(run, BY) for run in runs))
    ended = await asyncio.gather(*(app.runs.wait(run) for run in runs))
    assert {run.outcome for run in ended} == {Outcome.SUCCEEDED}


async def test_what_a_person_says_is_in_the_audit(app: App, pipeline: Make) -> None:
    runs = []
    for _ in range(3):
        runs.append(await app.runs.start(pipeline(WAITS), Given(), BY))
        await app.runs.wait(runs[-1])
    await app.runs.approve(runs[0], BY, reason="seen")
    await app.runs.reject(runs[1], BY, reason="no")
    await app.runs.cancel(runs[2], BY)
    await app.audit.settled()
    rows = {row.event: row for row in app.audit.list() if row.call in runs}
    assert set(rows) == {"run.created", "approved", "rejected", "stopping"}
    assert (rows["approved"].call, rows["approved"].principal) == (runs[0], BY.name)
    assert rows["approved"].body["reason"] == "seen"
    assert rows["approved"].body["step"] == "a"
    assert verify(app.database, app.checkpoints).bad_seq is None
