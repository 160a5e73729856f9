"""The one way to a tool: what happens, in which order, and what is remembered of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Effect, Outcome, Principal, Progress, ToolCall
from pilotage.domain.errors import BadInput, Denied, NeedsApproval, NotFound, PilotageError
from pilotage.domain.ids import new_id
from pilotage.tool.eager import resume
from pilotage.tool.roots import roots
from pilotage.tool.tool import Call, tool
from waiting import until

DEVELOPER = Principal("key:dev", frozenset({"developer"}))
VIEWER = Principal("key:view", frozenset({"viewer"}))
OPERATOR = Principal("key:ops", frozenset({"operator"}))
ran: list[str] = []


@tool(Effect.WRITE, timeout=0.3)
async def work(kind: str, *, here: Call) -> dict[str, Any]:
    """Does what its argument says."""
    ran.append(here.call.id)
    if kind == "sleep":
        await asyncio.sleep(60)
    if kind == "own timeout":
        raise TimeoutError("the socket was silent")
    if kind == "late":
        await asyncio.sleep(0)
        raise TimeoutError("the socket was silent, later")
    here.tell("half", 1, 2)
    return {"kind": kind}


@tool(Effect.WRITE)
async def rest(*, here: Call) -> None:
    """Takes longer than any test."""
    ran.append(here.call.id)
    await asyncio.sleep(60)


async def _fits(kind: str, *, here: Call) -> None:
    if kind == "odd":
        raise BadInput(f"{here.call.by.name} asks for {kind}", "easy")
    if kind == "broken":
        raise ZeroDivisionError


@tool(Effect.DESTROY, check=_fits)
async def wipe(kind: str, path: Path, *, here: Call) -> None:
    """A person is asked about it first."""
    ran.append(here.call.id)


@tool(Effect.WRITE, check=_fits)
async def paint(kind: str, *, here: Call) -> None:
    """Nobody is asked about it."""
    ran.append(here.call.id)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    ran.clear()
    settings = config.read(environment={"PILOTAGE_HOME": str(tmp_path), "HOME": str(tmp_path)})
    made = App(settings, roots(tmp_path), (work, rest, wipe, paint))
    yield made
    made.close()


async def trail(app: App) -> list[tuple[str, Any]]:
    """The audit in order: event, and how it ended."""
    await app.audit.settled()
    return [(e.event, e.body.get("outcome")) for e in reversed(app.audit.list())]


async def test_a_call_opens_and_closes_and_carries_its_progress(app: App) -> None:
    heard: list[Progress] = []
    result = await app.call("work", {"kind": "easy"}, DEVELOPER, "cli", heard.append)
    assert (result.outcome, result.value) == (Outcome.SUCCEEDED, {"kind": "easy"})
    assert heard == [Progress("half", 1, 2)]
    assert await trail(app) == [("open", None), ("close", "succeeded")]
    record = app.audit.calls()[0]
    assert (record.via, record.decision, record.rule) == ("cli", "allow", "role.developer.write")


@pytest.mark.parametrize(
    ("name", "arguments", "by", "error", "outcome"),
    [
        ("nowhere", {}, DEVELOPER, NotFound, "failed"),
        ("work", {"kind": 5}, DEVELOPER, BadInput, "failed"),
        ("work", {}, DEVELOPER, BadInput, "failed"),
        ("work", {"kind": "easy"}, VIEWER, Denied, "denied"),
    ],
)
async def test_what_is_decided_before_is_raised_recorded_and_runs_nothing(
    app: App, name: str, arguments: dict[str, Any], by: Principal, error: type, outcome: str
) -> None:
    with pytest.raises(error):
        await app.call(name, arguments, by, "rest")
    assert ran == []
    written = name == "work"  # what would write has its intent on disk first
    expected = [("open", None), ("close", outcome)] if written else [("call", outcome)]
    assert await trail(app) == expected


async def test_the_intent_of_a_write_is_on_disk_before_it_runs(app: App) -> None:
    seen: list[Any] = []
    original = app.registry.find("work").tool

    async def spy(call: ToolCall, report: Any) -> Any:
        rows = app.database.read("SELECT event FROM audit WHERE call=?", call.id)
        seen.extend(row[0] for row in rows)
        return await original.run(call, report)

    app.registry.remove("work")
    app.registry.add(type(original)(**{**_fields(original), "run": spy}))
    await app.call("work", {"kind": "easy"}, DEVELOPER, "rest")
    assert seen == ["open"]


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


async def test_a_deadline_ends_a_call_and_only_a_deadline_is_called_one(app: App) -> None:
    slow = await app.call("work", {"kind": "sleep"}, DEVELOPER, "rest")
    assert (slow.outcome, slow.error) == (Outcome.TIMED_OUT, "work took longer than 0.3 s")
    call = ToolCall(new_id(), "work", {"kind": "sleep"}, DEVELOPER, "rest", timeout=0.1)
    assert (await app.gateway.call(call)).error == "work took longer than 0.1 s"
    for kind in ("own timeout", "late"):
        own = await app.call("work", {"kind": kind}, DEVELOPER, "rest")
        assert own.outcome is Outcome.FAILED
        assert own.error is not None
        assert own.error.startswith("work broke: TimeoutError: the socket was silent")


async def test_cancelling_cancels_the_tool_and_closes_the_record(app: App) -> None:
    task = asyncio.create_task(app.call("rest", {}, DEVELOPER, "rest"))
    await until(lambda: bool(ran))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await trail(app) == [("open", None), ("close", "cancelled")]


async def test_very_large_arguments_are_kept_as_a_digest(app: App) -> None:
    with pytest.raises(BadInput):
        await app.call("work", {"kind": ["x" * 3000] * 100}, DEVELOPER, "rest")
    await app.audit.settled()
    kept = app.audit.list()[-1].body["arguments"]
    assert kept["cut"] > 65_536
    assert len(kept["sha256"]) == 64


async def test_a_coroutine_that_took_its_first_step_goes_on_as_if_awaited() -> None:
    resting = asyncio.Event()

    async def steps() -> str:
        first = await asyncio.sleep(0.01, "a")
        try:
            resting.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            first += "b"
        return first + await asyncio.sleep(0.01, "c")

    async def eager() -> str:
        coroutine = steps()
        return await resume(coroutine, coroutine.send(None))

    task = asyncio.create_task(eager())
    await resting.wait()
    task.cancel()
    assert await task == "abc"


async def test_nobody_is_asked_about_a_call_that_cannot_be(app: App) -> None:
    with pytest.raises(NeedsApproval) as asked:
        await app.call("wipe", {"kind": "easy", "path": "."}, OPERATOR, "rest")
    for given, said in (
        ({"kind": "odd", "path": "."}, "key:ops asks for odd"),
        ({"kind": "easy", "path": "/etc"}, "/etc"),
    ):
        with pytest.raises(PilotageError, match=said):
            await app.call("wipe", given, OPERATOR, "rest")
    assert [one.id for one in app.approvals.newest(OPERATOR)] == [asked.value.approval["id"]]
    assert ran == []


async def test_a_check_that_breaks_asks_a_person_still(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NeedsApproval):
        await app.call("wipe", {"kind": "broken", "path": "."}, OPERATOR, "rest")
    assert "wipe cannot look at call" in caplog.text


async def test_who_needs_no_person_is_checked_as_well(app: App) -> None:
    result = await app.call("paint", {"kind": "odd"}, DEVELOPER, "rest")
    assert (result.outcome, result.error) == (Outcome.FAILED, "key:dev asks for odd")
    assert ran == []
    assert (await app.call("paint", {"kind": "easy"}, DEVELOPER, "rest")).succeeded
