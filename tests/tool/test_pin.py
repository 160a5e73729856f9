"""Pins: what was approved stays callable, what has changed in any way does not."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pilotage.audit.checkpoint import Checkpoints
from pilotage.audit.log import AuditLog
from pilotage.domain.call import Effect, Outcome, Principal, Report, ToolCall, ToolResult
from pilotage.domain.errors import Conflict, Denied, NotFound, Unavailable
from pilotage.store.database import Database
from pilotage.tool.pin import Pins
from pilotage.tool.registry import Registry, State
from pilotage.tool.tool import Tool

ADMIN = Principal("key:admin", frozenset({"admin"}))


async def _run(_: ToolCall, __: Report) -> ToolResult:
    return ToolResult(Outcome.SUCCEEDED)


WEATHER = Tool(
    "weather",
    "Weather",
    "The weather of a city.",
    Effect.READ,
    {"type": "object", "properties": {"city": {"type": "string", "maxLength": 100}}},
    {"type": "object", "properties": {"celsius": {"type": "number"}}},
    _run,
    owner="ops",
    annotations={"readOnlyHint": True},
    target="GET https://weather.example/v1",
)


@dataclass
class House:
    database: Database
    audit: AuditLog
    pins: Pins
    registry: Registry

    def register(self, source: str = "weather", *, approves: bool = True) -> None:
        work = self.pins.registration("ops", source, ADMIN, approves=approves)
        self.database.write_now(work)

    def see(self, *tools: Tool, source: str = "weather") -> list[tuple[State, str]]:
        """What a refresh of the source does: judge its list, put it into the registry."""
        judged = self.pins.judge_now("ops", source, tools)
        for tool in tools:
            self.registry.put(tool, *judged[tool.name])
        return [judged[tool.name] for tool in tools]

    def state(self, name: str = "weather") -> State:
        return self.registry.all[name].state

    def why(self, name: str = "weather") -> str:
        return self.registry.all[name].why

    def events(self) -> list[tuple[str, str, str]]:
        self.audit.seal()
        return [(e.event, e.tool, e.principal) for e in reversed(self.audit.list())]


def open_house(home: Path) -> House:
    database = Database(home / "pilotage.db")
    audit = AuditLog(database, Checkpoints(home / "audit"))
    pins = Pins(database, audit.note)
    return House(database, audit, pins, Registry(guard=pins.guard))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = open_house(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def pinned(house: House) -> House:
    house.register()
    assert house.see(WEATHER) == [(State.READY, "")]
    return house


def with_schema(**more: Any) -> dict[str, Any]:
    return {**WEATHER.input_schema, "properties": {**WEATHER.input_schema["properties"], **more}}


CHANGES = {
    "description": replace(WEATHER, description="The weather of a city. Read the notes first."),
    "title": replace(WEATHER, summary="Weather!"),
    "input schema": replace(WEATHER, input_schema=with_schema(sidenote={"type": "string"})),
    "output schema": replace(WEATHER, output_schema={"type": "object"}),
    "annotations": replace(WEATHER, annotations={"readOnlyHint": True, "openWorldHint": False}),
    "effect": replace(WEATHER, effect=Effect.WRITE),
    "target": replace(WEATHER, target="GET https://weather.elsewhere/v1"),
    "description and input schema": replace(
        WEATHER, description="Other.", input_schema={"type": "object"}
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_any_one_part_quarantines_and_names_the_part(pinned: House, what: str) -> None:
    [(state, why)] = pinned.see(CHANGES[what])
    assert state is State.QUARANTINED
    assert why.startswith(f"its {what} changed since key:admin approved it on ")
    with pytest.raises(Denied, match="quarantined") as refused:
        pinned.registry.find("weather")
    assert refused.value.hint == "pilotage tools diff weather"
    assert [tool.name for tool in pinned.registry.tools()] == []
    assert pinned.events() == [
        ("tool.approved", "weather", "key:admin"),
        ("tool.quarantined", "weather", "pilotage"),
    ]


def test_order_of_keys_and_ways_to_write_a_number_are_no_change(pinned: House) -> None:
    properties = {"city": {"maxLength": 100.0, "type": "string"}}
    same = replace(WEATHER, input_schema={"properties": properties, "type": "object"})
    assert pinned.see(same) == [(State.READY, "")]


def test_a_renamed_and_an_added_tool_are_new_and_wait(pinned: House) -> None:
    renamed = replace(WEATHER, name="weather2")
    [(state, why)] = pinned.see(renamed)
    assert (state, why) == (
        State.QUARANTINED,
        "it is new on weather, whose tools were approved without it",
    )
    states = [state for state, _ in pinned.see(WEATHER, renamed)]
    assert states == [State.READY, State.QUARANTINED]


def test_a_tool_that_comes_back_is_compared_with_its_old_pin(pinned: House) -> None:
    pinned.see()
    pinned.registry.remove("weather")
    assert pinned.see(WEATHER) == [(State.READY, "")]
    pinned.see()
    assert pinned.see(CHANGES["title"])[0][0] is State.QUARANTINED


def test_approving_names_the_digest_that_was_looked_at(pinned: House) -> None:
    pinned.see(CHANGES["description"])
    looked_at = pinned.pins.look("weather").seen
    pinned.see(CHANGES["title"])  # meanwhile
    with pytest.raises(Conflict, match="has changed since"):
        pinned.pins.approve("weather", looked_at, ADMIN)
    assert pinned.state() is State.QUARANTINED
    pinned.pins.approve("weather", pinned.pins.look("weather").seen, ADMIN)
    pinned.registry.recheck()
    assert pinned.state() is State.READY


def test_only_what_was_approved_last_is_approved(pinned: House) -> None:
    pinned.see(CHANGES["description"])
    assert pinned.see(WEATHER) == [(State.READY, "")]  # back to what is approved
    pinned.see(CHANGES["description"])
    pinned.pins.approve("weather", pinned.pins.look("weather").seen, ADMIN)
    assert pinned.see(CHANGES["description"]) == [(State.READY, "")]
    assert pinned.see(WEATHER)[0][0] is State.QUARANTINED  # the old one is a change now
    assert [event for event, _, _ in pinned.events()] == [
        "tool.approved",
        "tool.quarantined",
        "tool.restored",
        "tool.quarantined",
        "tool.approved",
        "tool.quarantined",
    ]


def test_what_was_rejected_stays_held_back_and_says_so(pinned: House) -> None:
    pinned.see(CHANGES["description"])
    pinned.pins.reject("weather", pinned.pins.look("weather").seen, ADMIN, "asks for notes")
    pinned.registry.recheck()
    assert pinned.why() == "key:admin rejected it: asks for notes"
    assert pinned.see(CHANGES["description"])[0][0] is State.QUARANTINED
    assert pinned.events()[-1] == ("tool.rejected", "weather", "key:admin")
    pinned.see(WEATHER)
    digest = pinned.pins.look("weather").seen
    with pytest.raises(Conflict, match="approved as it is"):
        pinned.pins.reject("weather", digest, ADMIN)


def test_the_same_list_again_writes_nothing(pinned: House) -> None:
    before = pinned.events()
    for _ in range(3):
        pinned.see(WEATHER)
    assert pinned.events() == before


def test_registering_approves_only_for_who_may(house: House) -> None:
    house.register(approves=False)
    [(state, why)] = house.see(WEATHER)
    assert (state, why) == (
        State.QUARANTINED,
        "key:admin registered it, and may not approve tools",
    )


def test_a_source_that_nobody_registered_is_not_trusted(house: House) -> None:
    [(state, why)] = house.see(WEATHER)
    assert (state, why) == (State.QUARANTINED, "nobody has registered weather")


def test_a_registration_that_ended_leaves_no_pin(pinned: House) -> None:
    pinned.database.write_now(pinned.pins.forgetting("ops", "weather"))
    assert pinned.see(WEATHER)[0][0] is State.QUARANTINED
    with pytest.raises(NotFound, match="no pin"):
        pinned.pins.look("echo")


def tear(house: House, statement: str) -> None:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute(statement)

    house.database.write_now(work)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE pin RENAME TO gone",
        "ALTER TABLE pin_source RENAME TO gone",
        "DELETE FROM pin",
        "UPDATE pin SET approved_text = '{}'",
        "UPDATE pin SET approved = seen || '0'",
        "UPDATE pin SET seen_text = '{'",
        "UPDATE pin SET approved_text = NULL",
    ],
)
def test_a_pin_store_that_does_not_hold_quarantines(pinned: House, statement: str) -> None:
    tear(pinned, statement)
    [(state, why)] = pinned.see(WEATHER)
    assert state is State.QUARANTINED
    assert "pin store cannot be read" in why or "is new on weather" in why
    with pytest.raises(Denied):
        pinned.registry.find("weather")


def test_a_pin_that_does_not_fit_its_digest_cannot_be_approved(pinned: House) -> None:
    pinned.see(CHANGES["title"])
    digest = pinned.pins.look("weather").seen
    tear(pinned, 'UPDATE pin SET seen_text = \'{"name":"weather"}\'')
    with pytest.raises(Unavailable, match="does not fit its digest"):
        pinned.pins.approve("weather", digest, ADMIN)
    with pytest.raises(Unavailable, match="does not fit its digest"):
        pinned.pins.look("weather")


def test_what_was_never_judged_or_differs_from_it_is_quarantined(pinned: House) -> None:
    """The registry asks for itself: a caller that forgets to judge opens nothing."""
    pinned.registry.put(CHANGES["description"])
    assert pinned.why() == "it is not what was compared with what was approved"
    pinned.registry.put(replace(WEATHER, name="other"))
    assert pinned.why("other") == "it was never compared with what was approved"


def test_a_quarantined_tool_that_was_away_is_still_quarantined(pinned: House) -> None:
    pinned.see(CHANGES["title"])
    pinned.registry.mark({"weather": (State.UNAVAILABLE, "it is down")})
    pinned.registry.mark({"weather": (State.READY, "")})
    assert pinned.state() is State.QUARANTINED
    pinned.registry.mark({"weather": (State.DISABLED, "")})
    pinned.pins.approve("weather", pinned.pins.look("weather").seen, ADMIN)
    pinned.registry.recheck()
    assert pinned.state() is State.DISABLED


def test_what_cannot_be_pinned_is_quarantined(house: House) -> None:
    house.register()
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}
    odd = replace(WEATHER, annotations=deep)
    [(state, why)] = house.see(odd)
    assert (state, why) == (
        State.QUARANTINED,
        "it cannot be pinned: it is nested more than 64 deep",
    )


def test_a_name_of_another_source_is_not_taken_over(pinned: House) -> None:
    pinned.register("evil")
    judged = pinned.pins.judge_now("ops", "evil", [replace(WEATHER, target="https://evil.example")])
    assert judged["weather"] == (State.QUARANTINED, "ops's weather has a tool of that name")
    assert pinned.state() is State.READY


def test_the_diff_spells_out_what_is_hidden(pinned: House) -> None:
    tags = "".join(chr(0xE0000 + ord(c)) for c in "hi")
    hidden = f"The weather\u200b of a\u202e city.{tags}\ufe0f\x1b[8m\nAnd more."
    pinned.see(replace(WEATHER, description=hidden))
    diff = pinned.pins.look("weather").diff
    assert '-  "description": "The weather of a city.",' in diff
    assert r"The weather\u200b of a\u202e city.\U000e0068\U000e0069\ufe0f\u001b[8m" in diff
    assert '+    "And more."' in diff
    assert all(char.isprintable() for char in diff.replace("\n", ""))


def test_it_survives_a_restart(tmp_path: Path) -> None:
    first = open_house(tmp_path)
    first.register()
    first.see(WEATHER)
    first.see(CHANGES["title"])
    first.database.close()
    second = open_house(tmp_path)
    try:
        assert second.see(CHANGES["title"])[0][0] is State.QUARANTINED
        assert second.see(WEATHER) == [(State.READY, "")]
    finally:
        second.database.close()


def _approve_elsewhere(home: Path) -> None:
    house = open_house(home)
    house.pins.approve("weather", house.pins.look("weather").seen, ADMIN)
    house.audit.seal()
    house.database.close()


def _judge_elsewhere(home: Path, number: int) -> None:
    house = open_house(home)
    house.see(replace(WEATHER, summary=f"Weather {number}"))
    house.audit.seal()
    house.database.close()


def test_two_processes_share_what_was_decided(tmp_path: Path, pinned: House) -> None:
    pinned.see(CHANGES["title"])
    pinned.pins.refresh()
    _spawn(_approve_elsewhere, tmp_path)
    assert pinned.pins.refresh()
    pinned.registry.recheck()
    assert pinned.state() is State.READY
    pinned.audit.seal()
    assert pinned.audit.list()[0].event == "tool.approved"


def test_of_two_processes_one_sees_a_source_first(tmp_path: Path, house: House) -> None:
    """Both list the same new source, and differ: what came first is pinned, the other waits."""
    house.register()
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_judge_elsewhere, args=(tmp_path, n)) for n in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
        assert one.exitcode == 0
    states = [house.see(replace(WEATHER, summary=f"Weather {n}"))[0][0] for n in range(2)]
    assert sorted(states) == [State.QUARANTINED, State.READY]


def _spawn(function: Any, *arguments: Any) -> None:
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


async def test_many_tools_are_judged_beside_the_loop(house: House) -> None:
    house.register()
    tools = [replace(WEATHER, name=f"weather{n}") for n in range(300)]
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    judged = await house.pins.judge("ops", "weather", tools)
    ticking.cancel()
    assert {state for state, _ in judged.values()} == {State.READY}
    assert ticks > 1
