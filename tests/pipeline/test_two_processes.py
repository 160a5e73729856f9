"""Two processes and one run: only one drives it, whatever happens to the other."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from pilotage.app import App
from pilotage.domain.call import Outcome
from pilotage.domain.errors import Conflict
from pilotage.domain.run import Event, Kind, RunState
from pilotage.pipeline import runs
from pilotage.pipeline.prepare import Given
from pipeline.children import Child, start, write
from pipeline.conftest import BY, lines, made, make_app
from waiting import LONG, until

Start = Callable[[str, Path], Awaitable[Child]]
GOOD = {"state": "ended", "outcome": "succeeded"}
FEW = [f"name: s{n}, tool: work, params: {{file: f, seconds: 0.15}}" for n in range(6)]
HELD = [*FEW[:2], "name: s2, tool: work, params: {file: f, end: end}", *FEW[3:]]
"""The third step ends once there is a file `end`."""


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts processes, and leaves none behind."""
    children: list[Child] = []

    async def begin(key: str, file: Path) -> Child:
        children.append(await start(tmp_path, key, file))
        return children[-1]

    yield begin
    for one in children:
        await one.kill()


def pids(file: Path, word: str = "begin") -> list[tuple[str, int]]:
    """Step and process of each line with this word."""
    rows = [line.split() for line in file.read_text().splitlines()]
    return [(row[1], int(row[3])) for row in rows if row[0] == word]


async def test_two_that_start_at_once_run_each_step_once(tmp_path: Path, child: Start) -> None:
    file = write(tmp_path, HELD)
    both = [await child("k", file), await child("k", file)]
    assert await both[0].run() == await both[1].run()
    (tmp_path / "end").touch()
    assert await asyncio.gather(*(one.stands() for one in both)) == [GOOD, GOOD]
    assert lines(tmp_path / "f", "begin") == [f"s{n}" for n in range(6)]
    assert len({pid for _, pid in pids(tmp_path / "f")}) == 1


async def test_who_waits_takes_over_from_an_owner_that_dies(tmp_path: Path, child: Start) -> None:
    file, effects = write(tmp_path, HELD), tmp_path / "f"
    first = await child("k", file)
    await first.run()
    second = await child("k", file)
    await second.run()
    await until(lambda: lines(effects, "begin") == ["s0", "s1", "s2"])
    await first.kill()
    (tmp_path / "end").touch()
    assert await second.stands() == GOOD
    assert lines(effects, "begin") == ["s0", "s1", "s2", "s2", "s3", "s4", "s5"]
    assert lines(effects, "end") == [f"s{n}" for n in range(6)]


async def test_a_stopped_owner_keeps_its_run_and_goes_on_when_it_wakes_up(
    tmp_path: Path, child: Start
) -> None:
    file, effects = write(tmp_path, HELD), tmp_path / "f"
    first = await child("k", file)
    await first.run()
    await until(lambda: len(lines(effects, "begin")) == 3)
    first.signal(signal.SIGSTOP)
    (tmp_path / "end").touch()
    second = await child("k", file)
    await second.run()
    await asyncio.sleep(2.5 * runs.TAKE_SECONDS)  # nothing happens, however often it tries
    assert len(lines(effects, "begin")) == 3
    first.signal(signal.SIGCONT)
    assert await asyncio.gather(first.stands(), second.stands()) == [GOOD, GOOD]
    assert pids(effects) == [(f"s{n}", first.process.pid) for n in range(6)]


async def test_a_stopped_owner_whose_lock_was_lost_does_nothing_more(
    tmp_path: Path, child: Start
) -> None:
    """Somebody cleaned the state folder up: the lock file is another one now."""
    held = ["name: s0, tool: work, params: {file: f, end: end}", *FEW[1:]]
    file, effects = write(tmp_path, held), tmp_path / "f"
    first = await child("k", file)
    await first.run()
    await until(lambda: lines(effects, "begin") == ["s0"])
    first.signal(signal.SIGSTOP)
    (tmp_path / "home" / "runs.lock").unlink()
    second = await child("k", file)
    run = await second.run()
    await until(lambda: lines(effects, "begin") == ["s0", "s0"])
    first.signal(signal.SIGCONT)
    await until(lambda: bool(lines(effects, "cancelled")))
    (tmp_path / "end").touch()
    assert await asyncio.gather(first.stands(), second.stands()) == [GOOD, GOOD]
    mine, theirs = first.process.pid, second.process.pid
    assert pids(effects) == [("s0", mine), *((f"s{n}", theirs) for n in range(6))]
    assert pids(effects, "cancelled") == [("s0", mine)]
    assert pids(effects, "end") == [(f"s{n}", theirs) for n in range(6)]
    app = make_app(tmp_path)
    kinds = [event.kind async for event in app.runs.events(run)]
    await app.runs.close()
    app.close()
    assert (kinds.count(Kind.TAKEN), kinds.count(Kind.FINISHED)) == (2, 6)


async def test_a_step_that_may_do_harm_twice_waits_for_a_person(
    tmp_path: Path, child: Start
) -> None:
    steps = ["name: a, tool: work_once, params: {file: f, seconds: 60}", "name: b, tool: echo"]
    file, effects = write(tmp_path, steps), tmp_path / "f"
    first = await child("k", file)
    run = await first.run()
    await until(lambda: lines(effects, "begin") == ["a"])
    await first.kill()
    second = await child("k", file)
    await second.run()
    assert await second.stands() == {"state": "waiting", "outcome": None}
    assert lines(effects, "begin") == ["a"]
    app = make_app(tmp_path)
    assert app.runs.show(run)[1].steps["a"].why == (
        "it was cut off, and running it again may do harm"
    )
    await app.runs.approve(run, BY, reason="it had done its work")
    assert (await app.runs.wait(run)).outcome is Outcome.SUCCEEDED
    assert lines(effects, "begin") == ["a"]
    await app.runs.close()
    app.close()


async def test_an_approval_wakes_an_owner_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "TAKE_SECONDS", 3600)  # it hears of it, and need not look for itself
    owner, other = make_app(tmp_path), make_app(tmp_path)
    steps = """
        name: a, tool: fail, params: {file: f}, on_failure: manual
        name: b, tool: work, params: {file: w}
    """
    run = await owner.runs.start(made(owner, steps), Given(), BY)
    await owner.runs.wait(run)
    assert (await other.runs.approve(run, BY)).state is RunState.RUNNING
    async with asyncio.timeout(LONG):
        assert (await owner.runs.wait(run)).outcome is Outcome.SUCCEEDED
    assert owner.runs.driven() == other.runs.driven() == ()
    events = [event async for event in other.runs.events(run)]
    assert [e.kind for e in events].count(Kind.TAKEN) == 1  # the owner went on, not the approver
    for app in (owner, other):
        await app.runs.close()
        app.close()


async def test_a_cancellation_reaches_an_owner_in_another_process(tmp_path: Path) -> None:
    owner, other = make_app(tmp_path), make_app(tmp_path)
    step = "name: a, tool: work, params: {file: f, seconds: 30}"
    run = await owner.runs.start(made(owner, step), Given(), BY)
    await until(lambda: bool(lines(tmp_path / "f", "begin")))
    await other.runs.cancel(run, BY)
    assert (await other.runs.wait(run)).outcome is Outcome.CANCELLED
    await until(lambda: lines(tmp_path / "f", "cancelled") == ["a"])
    for app in (owner, other):
        await app.runs.close()
        app.close()


async def test_what_one_has_said_the_other_shows_at_once_though_it_has_not_acted_yet(
    tmp_path: Path,
) -> None:
    owner, other = make_app(tmp_path), make_app(tmp_path)
    step = "name: a, tool: work, params: {file: f, seconds: 30}"
    run = await owner.runs.start(made(owner, step), Given(), BY)
    await until(lambda: bool(lines(tmp_path / "f", "begin")))
    said = await other.runs.cancel(run, BY)
    shown = owner.runs.show(run)[1]
    assert shown.seq >= said.seq
    assert shown.stopping is Outcome.CANCELLED
    for app in (owner, other):
        await app.runs.close()
        app.close()


async def test_a_server_that_starts_takes_up_what_nobody_drives(tmp_path: Path) -> None:
    dead, alive = make_app(tmp_path), make_app(tmp_path)
    held = "name: a, tool: work, params: {file: f, end: end}"
    left = await dead.runs.start(made(dead, held), Given(), BY)
    kept = await alive.runs.start(made(alive, held), Given(), BY)
    await dead.runs.close()
    dead.close()
    server = make_app(tmp_path)
    assert await server.runs.recover() == [left]
    (tmp_path / "end").touch()
    assert (await server.runs.wait(left)).outcome is Outcome.SUCCEEDED
    assert (await server.runs.wait(kept)).outcome is Outcome.SUCCEEDED
    for app in (alive, server):
        await app.runs.close()
        app.close()


async def test_reading_a_journal_runs_nothing(tmp_path: Path) -> None:
    first, reader = make_app(tmp_path), make_app(tmp_path)
    step = "name: a, tool: work, params: {file: f, seconds: 30}"
    run = await first.runs.start(made(first, step), Given(), BY)
    await until(lambda: bool(lines(tmp_path / "f", "begin")))
    await first.runs.close()
    first.close()
    assert reader.runs.show(run)[1].state is RunState.RUNNING
    assert reader.runs.owner(run) is None
    assert [e.kind async for e in _some(reader, run)][-1] is Kind.STARTED
    await asyncio.sleep(0.1)
    assert lines(tmp_path / "f", "begin") == ["a"]
    await reader.runs.close()
    reader.close()


async def _some(app: App, run: str) -> AsyncIterator[Event]:
    last = app.runs.show(run)[1].seq
    async for event in app.runs.events(run):
        yield event
        if event.seq == last:
            return


async def test_a_run_goes_on_only_in_the_folder_where_it_began(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    here = make_app(tmp_path)
    step = "name: a, tool: fail, params: {file: f}, on_failure: manual"
    run = await here.runs.start(made(here, step), Given(), BY)
    other = await here.runs.start(made(here, step.replace("file: f", "file: g")), Given(), BY)
    for one in (run, other):
        await here.runs.wait(one)
    await here.runs.close()
    here.close()
    (tmp_path / "other").mkdir()
    elsewhere = make_app(tmp_path, root="other")
    with pytest.raises(Conflict, match="began in"):
        await elsewhere.runs.approve(run, BY)
    assert elsewhere.runs.show(run)[1].waiting == ("a",)
    assert await elsewhere.runs.recover() == []
    (line,) = [one.getMessage() for one in caplog.records if one.name == "pilotage.pipeline.runs"]
    assert line.startswith(f"2 unfinished runs left alone, begun elsewhere: 2 in {tmp_path} (")
    await elsewhere.runs.close()
    elsewhere.close()
