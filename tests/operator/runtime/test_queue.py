"""The work queue, with a clock that we hold."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.operator.runtime.backoff import PerItem, Reconnect
from pilotage.operator.runtime.queue import URGENT_IN_A_ROW, Queue


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> Queue:
    return Queue(clock=clock)


def taken(queue: Queue) -> list[str]:
    """Everything that is ready, each done at once."""
    found = []
    while (key := queue.take()) is not None:
        found.append(key)
        queue.done(key)
    return found


def test_a_key_that_is_added_often_comes_once(queue: Queue) -> None:
    for _ in range(3):
        queue.add("a")
    queue.add("b")
    assert taken(queue) == ["a", "b"]


def test_a_key_that_a_worker_has_waits_for_that_worker(queue: Queue) -> None:
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    assert queue.take() is None, "no second worker gets it"
    queue.done("a")
    assert taken(queue) == ["a"], "what happened meanwhile is not lost"


def test_low_keys_come_after_urgent_ones(queue: Queue) -> None:
    queue.add("listed", low=True)
    queue.add("changed")
    assert taken(queue) == ["changed", "listed"]


def test_a_low_key_that_becomes_urgent_moves_up(queue: Queue) -> None:
    for key in ("a", "b", "c"):
        queue.add(key, low=True)
    queue.add("c")
    queue.add("a", low=True)
    assert taken(queue) == ["c", "a", "b"]


def test_a_hot_loop_does_not_starve_the_low_ones(queue: Queue) -> None:
    queue.add("low", low=True)
    seen = []
    for number in range(URGENT_IN_A_ROW + 1):
        queue.add(f"hot {number}")
        queue.add(f"hotter {number}")
        key = queue.take()
        assert key is not None
        queue.done(key)
        seen.append(key)
    assert "low" in seen


def test_a_delayed_key_comes_when_its_time_has_come(queue: Queue, clock: Clock) -> None:
    queue.add_after("a", 5)
    assert queue.next_due() == 5
    assert taken(queue) == []
    clock.now += 5
    assert taken(queue) == ["a"]
    assert queue.next_due() is None


def test_of_two_delays_the_shorter_counts(queue: Queue, clock: Clock) -> None:
    queue.add_after("a", 5)
    queue.add_after("a", 60)
    queue.add_after("b", 60)
    queue.add_after("b", 5)
    clock.now += 5
    assert taken(queue) == ["a", "b"]
    clock.now += 100
    assert taken(queue) == []


def test_a_change_ends_a_delay(queue: Queue, clock: Clock) -> None:
    queue.add_after("a", 60)
    queue.add("a")
    assert taken(queue) == ["a"]
    clock.now += 100
    assert taken(queue) == []


def test_a_retry_waits_longer_each_time_and_begins_anew_once_it_went_well(
    queue: Queue, clock: Clock
) -> None:
    waits = []
    queue.add("a")
    for _ in range(4):
        assert queue.take() == "a"
        waits.append(queue.retry("a"))
        queue.done("a")
        clock.now += waits[-1]
    assert waits == [0.005, 0.01, 0.02, 0.04]
    queue.forget("a")
    assert queue.take() == "a"
    assert queue.retry("a") == 0.005


def test_a_retry_waits_at_least_what_the_server_asks(queue: Queue) -> None:
    queue.add("a")
    queue.take()
    assert queue.retry("a", at_least=3) == 3


def test_a_retry_is_as_urgent_as_it_was(queue: Queue, clock: Clock) -> None:
    queue.add("low", low=True)
    queue.take()
    queue.retry("low")
    queue.done("low")
    clock.now += 1
    queue.add("urgent")
    assert taken(queue) == ["urgent", "low"]


def test_backoff_ends_at_its_cap() -> None:
    backoff = PerItem(1, 10)
    assert [backoff.next("a") for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert backoff.next("b") == 1
    assert max(backoff.next("a") for _ in range(2_000)) == 10


def test_connections_come_back_spread() -> None:
    waits = {Reconnect().next() for _ in range(50)}
    assert len(waits) > 40
    assert min(waits) >= 0.4
    assert max(waits) <= 1.2


def test_the_seconds_that_a_worker_has_had_a_key_are_seen(queue: Queue, clock: Clock) -> None:
    queue.add("a")
    queue.take()
    clock.now += 7
    assert queue.unfinished() == [7]
    queue.done("a")
    assert queue.unfinished() == []


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(("add", "low", "take", "done")), st.sampled_from("abc")),
            st.tuples(st.sampled_from(("after", "retry")), st.sampled_from("abc")),
            st.tuples(st.just("wait"), st.just("")),
        )
    )
)
def test_whatever_happens_no_key_is_lost_and_none_is_with_two_workers(
    steps: list[tuple[str, str]],
) -> None:
    clock = Clock()
    queue = Queue(clock=clock)
    working: list[str] = []
    owed: set[str] = set()
    """Added after it was last taken: it has to come."""
    for step, key in steps:
        if step in ("add", "low"):
            queue.add(key, low=step == "low")
            owed.add(key)
        elif step == "after":
            queue.add_after(key, 5)
            owed.add(key)
        elif step == "retry" and key in working:
            queue.retry(key)
            owed.add(key)
        elif step == "wait":
            clock.now += 3
        elif step == "done" and working:
            queue.done(working.pop())
        elif step == "take" and (found := queue.take()) is not None:
            assert found not in working
            assert found in owed
            working.append(found)
            owed.discard(found)
    for key in working:
        queue.done(key)
    clock.now += 2_000
    assert sorted(taken(queue)) == sorted(owed)


async def test_workers_wait_for_keys_and_hear_of_the_end() -> None:
    queue = Queue()
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add("a")
    queue.add_after("b", 0.01)
    done, _ = await asyncio.wait(workers, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 2:
        more, _ = await asyncio.wait(
            set(workers) - done, timeout=60, return_when=asyncio.FIRST_COMPLETED
        )
        done |= more
    queue.close()
    found = await asyncio.gather(*workers)
    assert sorted(str(key) for key in found) == ["None", "a", "b"]
