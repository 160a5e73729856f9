"""Rates and concurrency, with a clock of the test's own; how large an answer may be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pilotage.domain.call import Effect, Outcome, Principal, ToolCall, ToolResult
from pilotage.domain.errors import BadInput, Busy, Unavailable
from pilotage.domain.limit import Cap, Rate, cap, rate
from pilotage.policy import roles
from pilotage.tool.limits import Caps, Limits
from pilotage.tool.retry import retried
from pilotage.tool.size import size_of
from pilotage.tool.tool import Tool

ANN, BOB = Principal("key:ann", frozenset({"dev"})), Principal("key:bob", frozenset({"ci"}))


def call(by: Principal = ANN, tool: str = "echo", via: str = "rest") -> ToolCall:
    return ToolCall("c", tool, {}, by, via)


def tool(*, conducts: bool = False, behind: str = "") -> Tool:
    async def run(*_: Any) -> ToolResult:
        return ToolResult(Outcome.SUCCEEDED)

    return Tool("echo", "", "", Effect.READ, {}, None, run, conducts=conducts, behind=behind)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def made(clock: Clock | None = None, text: str = "", **caps: Any) -> Limits:
    return Limits(Caps(**caps), roles.read(text, "roles.yaml").roles, clock or Clock())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("600/minute", Rate(600, 60)),
        ("10/s", Rate(10, 1)),
        ("5/10s", Rate(5, 10)),
        (" 3 / hour ", Rate(3, 3600)),
        ("none", None),
        ("", None),
    ],
)
def test_a_rate_reads_as_it_is_said(text: str, expected: Rate | None) -> None:
    assert rate(text, "x") == expected


@pytest.mark.parametrize("text", ["0/s", "5", "5/0s", "-1/s", "5/fortnight", "1e9/s", "/s"])
def test_what_is_no_rate_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(BadInput, match=r"limits\.key"):
        cap(text, 0, "limits.key")


def test_a_rate_lets_a_burst_through_and_then_what_comes_back() -> None:
    clock = Clock()
    limits = made(clock, key=Cap(rate("10/10s", "x")))
    for _ in range(10):
        limits.admit(call())
    with pytest.raises(Busy) as refused:
        limits.admit(call())
    assert refused.value.retry_after == pytest.approx(1.0)
    limits.admit(call(BOB))  # a key has its own
    clock.now += 1.0
    limits.admit(call())
    with pytest.raises(Busy):
        limits.admit(call())
    assert limits.refused == {"key.rate": 2}


@given(some.lists(some.floats(0, 30), max_size=200), some.integers(1, 20), some.integers(1, 60))
def test_no_more_pass_than_the_burst_and_what_time_gives_back(
    pauses: list[float], count: int, seconds: int
) -> None:
    clock = Clock()
    limits = made(clock, tool=Cap(Rate(count, seconds)))
    passed = 0
    for pause in pauses:
        clock.now += pause
        try:
            limits.admit(call())
            passed += 1
        except Busy as busy:
            clock.now += busy.retry_after
            limits.admit(call())  # what it says is true
            passed += 1
    assert passed <= count + (clock.now - 1000.0) * count / seconds + 1e-6


def test_a_call_that_one_limit_refuses_uses_up_no_other() -> None:
    limits = made(key=Cap(Rate(2, 60)), tool=Cap(Rate(1, 60)))
    limits.admit(call())
    for _ in range(5):
        with pytest.raises(Busy, match="echo is over"):
            limits.admit(call())
    limits.admit(call(tool="other"))


def test_only_so_many_at_once_and_a_place_that_is_free_is_free() -> None:
    limits = made(key=Cap(concurrency=2), tool=Cap(concurrency=3))
    for one in (call(), call()):
        limits.admit(one)
        held = limits.hold(one, tool())
    with pytest.raises(Busy, match="key:ann has 2"):
        limits.admit(call(tool="other"))
    limits.hold(call(BOB), tool())
    with pytest.raises(Busy, match="echo has 3"):
        limits.admit(call(BOB))
    limits.release(held)
    limits.admit(call())
    assert limits.free == 2


def test_another_name_for_a_tool_is_no_fresh_limit() -> None:
    hourly, once = Cap(Rate(1, 3600)), Cap(concurrency=1)
    limits = made(tools={"deploy": hourly, "ship": hourly})
    limits.admit(call(tool="ship"), behind="deploy")
    for name, behind in (("deploy", ""), ("other", "deploy"), ("ship", "")):
        with pytest.raises(Busy, match=f"^{behind or name} is over"):
            limits.admit(call(BOB, name), behind=behind)
    limits = made(tools={"deploy": once})
    held = limits.hold(call(tool="ship"), tool(behind="deploy"))
    with pytest.raises(Busy, match="deploy has 1 calls running"):
        limits.admit(call(tool="deploy"))
    limits.release(held)
    limits.admit(call(tool="deploy"))
    role = "dev: {limits: {tools: {deploy: {rate: 1/hour}}}}\n"
    limits = made(text=role)
    limits.admit(call(tool="ship"), behind="deploy")
    with pytest.raises(Busy, match="key:ann at deploy is over"):
        limits.admit(call(tool="ship"), behind="deploy")


def test_nothing_is_looked_at_where_nobody_can_be_over_a_limit() -> None:
    assert made(key=Cap(concurrency=9), tool=Cap(concurrency=7)).free == 7
    assert made(key=Cap(Rate(1, 1), 9)).free == -1
    assert made().free > 1 << 60


ROLES = """
dev:
  effects: [read]
  limits: {rate: 2/minute, concurrency: 1, tools: {"ec*": {rate: 1/minute}}}
ci:
  limits: {rate: none, concurrency: 0}
plain: {}
"""


def test_a_role_has_limits_of_its_own_and_the_wider_of_two_counts() -> None:
    limits = made(text=ROLES, key=Cap(Rate(5, 60), 4))
    limits.admit(call())
    with pytest.raises(Busy, match="key:ann at echo"):
        limits.admit(call())
    limits.admit(call(tool="other"))
    with pytest.raises(Busy, match="key:ann is over"):
        limits.admit(call(tool="third"))
    both = Principal("key:both", frozenset({"dev", "ci"}))
    for _ in range(50):
        limits.admit(call(both, "other"))
    silent = Principal("key:silent", frozenset({"plain"}))
    for _ in range(5):
        limits.admit(call(silent))
    with pytest.raises(Busy):
        limits.admit(call(silent))


@pytest.mark.parametrize("text", ["{rate: often}", "{concurrency: -1}", "{speed: 3}"])
def test_a_role_with_limits_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"roles\.yaml"):
        roles.read(f"dev: {{limits: {text}}}", "roles.yaml")


@pytest.mark.parametrize("whose", ["key", "tool"])
async def test_a_step_waits_for_its_turn_and_says_why(whose: str) -> None:
    caps: dict[str, Any] = {whose: Cap(concurrency=1)}
    limits, said, step = made(**caps), list[str](), call(via="step")
    held = limits.hold(call(), tool())
    waiting = asyncio.create_task(limits.let_in(step, tool(), said.append))
    await asyncio.sleep(0)
    assert not waiting.done()
    limits.release(held)
    assert await waiting, "it has waited"
    assert ["has 1 calls running already" in one for one in said] == [True]
    assert not limits.refused, "it was not refused"
    limits.hold(step, tool())
    with pytest.raises(Busy):
        limits.admit(call())


async def test_a_step_uses_up_the_rate_of_its_key_and_waits_for_what_comes_back() -> None:
    clock, said, step = Clock(), list[str](), call(via="step")
    limits = made(clock, key=Cap(Rate(1, 0.01)))
    assert not await limits.let_in(step, tool(), said.append)
    with pytest.raises(Busy, match="key:ann is over its rate"):
        limits.admit(call(tool="other"))

    def later(why: str) -> None:
        said.append(why)
        clock.now += 0.01

    assert await limits.let_in(step, tool(), later)
    assert said == ["key:ann is over its rate of 1 in 0.01 s"]


async def test_a_step_that_may_not_go_on_waits_no_longer() -> None:
    limits = made(key=Cap(concurrency=1))
    limits.hold(call(), tool())

    def refuses(_: str) -> None:
        raise Unavailable("it is gone")

    with pytest.raises(Unavailable):
        await limits.let_in(call(via="step"), tool(), refuses)


async def test_what_waits_for_steps_takes_no_place_that_they_need() -> None:
    limits = made(key=Cap(concurrency=1), both=Cap(concurrency=1))
    conducting = call(tool="conductor")
    limits.admit(conducting, conducts=True)
    held = limits.hold(conducting, tool(conducts=True))
    step = call(via="step")
    assert not await limits.let_in(step, tool(), print), "beside it"
    inner = call(tool="conductor", via="step")
    assert not await limits.let_in(inner, tool(conducts=True), print), "a run in a run"
    with pytest.raises(Busy, match="key:ann at conductor has 1"):
        limits.admit(conducting, conducts=True)
    limits.release(limits.hold(inner, tool(conducts=True)))
    limits.release(held)
    limits.admit(conducting, conducts=True)


def test_an_answer_that_is_too_large_is_a_failure_with_the_reason() -> None:
    limits = made(result=1000)
    small = ToolResult(Outcome.SUCCEEDED, {"text": "x" * 900})
    assert limits.fitting("t", small) is small
    for value in (
        {"text": "x" * 1001},
        {"a": ["xxxxx"] * 200},
        {"a": {str(n): n for n in range(999)}},
    ):
        result = limits.fitting("t", ToolResult(Outcome.SUCCEEDED, value))
        assert (result.outcome, result.value) == (Outcome.FAILED, {})
        assert "larger than 1000 bytes" in (result.error or "")
    wire = ToolResult(Outcome.SUCCEEDED, wire=b"x" * 1001)
    assert limits.fitting("t", wire).wire is None


def test_counting_stops_soon_after_the_limit() -> None:
    seen: list[str] = []

    class Text(str):
        def __len__(self) -> int:
            seen.append(self)
            return super().__len__()

    result = ToolResult(Outcome.SUCCEEDED, {"a": [Text("x" * 600) for _ in range(10)]})
    assert 1000 < size_of(result, 1000) < 2000
    assert len(seen) == 2


@pytest.mark.parametrize(("idempotent", "runs"), [(True, 3), (False, 1)])
async def test_only_what_is_idempotent_is_tried_again(idempotent: bool, runs: int) -> None:
    seen: list[int] = []

    async def attempt() -> str:
        seen.append(1)
        raise Unavailable("no")

    with pytest.raises(Unavailable):
        await retried(attempt, 2, idempotent=idempotent)
    assert len(seen) == runs


async def test_an_answer_is_not_tried_again_and_what_comes_right_is_the_answer() -> None:
    seen: list[int] = []

    async def attempt() -> str:
        seen.append(1)
        if len(seen) == 1:
            raise Unavailable("no")
        if len(seen) == 3:
            raise ValueError("wrong")
        return "yes"

    assert await retried(attempt, 5, idempotent=True) == "yes"
    with pytest.raises(ValueError, match="wrong"):
        await retried(attempt, 5, idempotent=True)
    assert len(seen) == 3
