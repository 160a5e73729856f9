"""Whatever order steps end in, whatever a crash cuts off: the run ends the same.

A schedule is drawn: which running step ends next, when the owner dies, when a person answers. The
run must end as a plain walk over the graph says, whatever was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.domain.call import Outcome
from pilotage.domain.pipeline import OnFailure, Pipeline, Step
from pilotage.domain.run import Event, Kind, Run, RunState, StepState
from pilotage.pipeline import fold, journal
from pilotage.pipeline.advance import News, advance
from pilotage.pipeline.plan import Plan, plan

GOOD, BAD, DENIED = Outcome.SUCCEEDED, Outcome.FAILED, Outcome.DENIED


@dataclass(frozen=True)
class World:
    """A pipeline, and what will come of each step: the outcome of each attempt, whether a person
    approves it should it wait, whether it is idempotent."""

    plan: Plan
    results: dict[str, list[Outcome]]
    approves: dict[str, bool]
    idempotent: dict[str, bool]

    def expected(self) -> tuple[Outcome, dict[str, tuple[Outcome, bool]]]:
        """The run's outcome, and each step's with whether it ended well."""
        ends: dict[str, tuple[Outcome, bool]] = {}
        for name, step in self.plan.steps.items():  # the file's order is one of the graph's
            if all(ends[need][1] for need in step.needs):
                ends[name] = self._end(name, step)
            else:
                ends[name] = (Outcome.SKIPPED, False)
        well = all(end[1] for end in ends.values())
        return GOOD if well else BAD, ends

    def _end(self, name: str, step: Step) -> tuple[Outcome, bool]:
        last = GOOD
        for last in self.results[name][: (step.retry_count or 0) + 1]:
            if last in (GOOD, DENIED):
                break
        if last is GOOD or step.on_failure is OnFailure.CONTINUE:
            return last, True
        return last, step.on_failure is OnFailure.MANUAL and self.approves[name]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    names = [f"s{n}" for n in range(draw(st.integers(1, 7)))]
    steps = []
    for place, name in enumerate(names):
        needs = draw(st.sets(st.sampled_from(names[:place]))) if place else set()
        steps.append(
            Step(
                name, "tool", needs=tuple(sorted(needs)),
                on_failure=draw(st.sampled_from(OnFailure)),
                retry_count=draw(st.integers(0, 2)), retry_delay=draw(st.sampled_from([0, 5])),
            )
        )  # fmt: skip
    outcomes = st.lists(st.sampled_from([GOOD, BAD, BAD, DENIED]), min_size=3, max_size=3)
    return World(
        plan(Pipeline("p", tuple(steps))),
        {name: draw(outcomes) for name in names},
        {name: draw(st.booleans()) for name in names},
        {name: draw(st.booleans()) for name in names},
    )


@dataclass
class Play:
    """One run of a world, event by event, as a driver would write them."""

    world: World
    events: list[Event] = field(default_factory=list)
    now: int = 1_000_000
    finished: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        by = {"name": "t", "roles": [], "tools": ["*"]}
        body = {"by": by, "inputs": {}, "github": {}, "env": {}, "timeout": 1e6}
        self.events = [Event(0, self.now, Kind.CREATED, None, body)]
        self.run: Run = fold.opened("r", self.events[0], self.world.plan)
        self.take()

    def say(self, *news: News) -> None:
        """Write news and what follows, as one transaction."""
        before = self.run
        self.run, events, move = advance(
            self.world.plan, before, news, self.now, self.world.idempotent.__getitem__
        )
        self.check_starts(before, events)
        self.events += events
        if not events and move.due is not None:
            self.now = move.due

    def check_starts(self, run: Run, events: list[Event]) -> None:
        """Nothing starts before what it needs has ended well, and nothing that ended starts."""
        for event in events:
            if event.kind is Kind.STARTED:
                needs = self.world.plan.steps[str(event.step)].needs
                assert all(run.steps[need].well for need in needs)
                assert run.steps[str(event.step)].state is not StepState.ENDED
                assert run.steps[str(event.step)].state is not StepState.RUNNING
            run = fold.fold(self.world.plan, run, [event])

    def take(self) -> None:
        """A new owner reads the journal from the disk."""
        kept = [journal.event(journal.row(event)) for event in self.events]
        self.run = fold.read("r", kept, lambda _: self.world.plan)[1]
        self.say((Kind.TAKEN, None, {"owner": f"o{len(self.events)}", "pid": 1}))

    def running(self) -> list[str]:
        return [n for n in self.run.frontier if self.run.steps[n].state is StepState.RUNNING]

    def finish(self, name: str) -> None:
        attempt = self.finished.get(name, 0)
        self.finished[name] = attempt + 1
        outcome = self.world.results[name][attempt]
        body = {"outcome": outcome, "retry": outcome is not DENIED}
        self.say((Kind.FINISHED, name, body))

    def answer(self, name: str) -> None:
        """The person: what was cut off is run again; what failed is approved or rejected."""
        if self.run.steps[name].outcome is None:
            self.say((Kind.RESUMED, name, {"by": "p"}))
        else:
            kind = Kind.APPROVED if self.world.approves[name] else Kind.REJECTED
            self.say((kind, name, {"by": "p"}))


def play(world: World, data: st.DataObject, deaths: int) -> Play:
    game = Play(world)
    while game.run.outcome is None:
        moves = [("finish", n) for n in game.running()] + [("answer", n) for n in game.run.waiting]
        if deaths:
            moves.append(("die", ""))
        if not game.running() and not game.run.waiting:
            moves.append(("wait", ""))
        move, name = data.draw(st.sampled_from(moves))
        if move == "die":
            deaths -= 1
            game.take()
        elif move == "wait":
            game.say()
        else:
            getattr(game, move)(name)
    return game


@settings(max_examples=400)
@given(worlds(), st.data(), st.integers(0, 5))
def test_every_schedule_ends_in_the_same_run(
    world: World, data: st.DataObject, deaths: int
) -> None:
    run = play(world, data, deaths).run
    outcome, ends = world.expected()
    assert {n: (s.outcome, s.well) for n, s in run.steps.items()} == ends
    assert run.outcome is outcome


@settings(max_examples=200)
@given(worlds(), st.data(), st.integers(0, 5))
def test_a_journal_read_again_is_the_run_that_wrote_it(
    world: World, data: st.DataObject, deaths: int
) -> None:
    game = play(world, data, deaths)
    kept = [journal.event(journal.row(event)) for event in game.events]
    assert fold.read("r", kept, lambda _: world.plan)[1] == game.run


@settings(max_examples=200)
@given(worlds(), st.data(), st.integers(0, 3))
def test_what_ended_well_never_starts_again_even_when_resumed(
    world: World, data: st.DataObject, deaths: int
) -> None:
    game = play(world, data, deaths)
    if game.run.outcome is not BAD:
        return
    good = {name for name, step in game.run.steps.items() if step.well}
    before = len(game.events)
    game.say((Kind.RESUMED, None, {"by": "p"}))
    assert game.run.state is RunState.RUNNING
    assert {e.step for e in game.events[before:] if e.kind is Kind.STARTED}.isdisjoint(good)
    assert all(game.run.steps[name].well for name in good)


@settings(max_examples=200)
@given(worlds(), st.data(), st.sampled_from([Outcome.CANCELLED, Outcome.TIMED_OUT]))
def test_a_stopped_run_starts_nothing_more_and_ends_as_it_was_stopped(
    world: World, data: st.DataObject, how: Outcome
) -> None:
    game = Play(world)
    for _ in range(data.draw(st.integers(0, 3))):
        if game.running():
            game.finish(data.draw(st.sampled_from(game.running())))
    if game.run.outcome is not None:
        return
    before = len(game.events)
    game.say((Kind.STOPPING, None, {"outcome": how}))
    for name in game.running():
        game.say((Kind.FINISHED, name, {"outcome": Outcome.CANCELLED, "retry": False}))
    assert game.run.outcome is how
    assert not [e for e in game.events[before:] if e.kind is Kind.STARTED]
    assert all(step.state is StepState.ENDED for step in game.run.steps.values())


def _one(**more: object) -> Play:
    step = Step("a", "tool", **more)  # type: ignore[arg-type]
    world = World(plan(Pipeline("p", (step,))), {"a": [BAD, GOOD]}, {"a": True}, {"a": True})
    return Play(world)


def test_a_retry_waits_its_delay_and_no_longer() -> None:
    game = _one(retry_count=1, retry_delay=3)
    game.finish("a")
    ended = game.run.steps["a"].ended
    game.say()
    assert game.running() == []
    assert game.now == ended + 3_000_000
    game.say()
    assert game.running() == ["a"]


def test_time_in_which_a_person_is_waited_for_does_not_count() -> None:
    game = _one(on_failure=OnFailure.MANUAL)
    limit = game.run.deadline - game.run.at
    game.finish("a")
    assert game.run.state is RunState.WAITING
    game.now += 10 * limit
    game.say()
    assert game.run.state is RunState.WAITING
    game.say((Kind.RESUMED, None, {"by": "p"}))
    assert game.running() == ["a"]
    game.now += limit + 1
    game.say()
    assert game.run.stopping is Outcome.TIMED_OUT


def test_a_step_that_was_cut_off_three_times_waits_for_a_person() -> None:
    game = _one()
    for _ in range(2):
        game.take()
        assert game.running() == ["a"]
    game.take()
    assert game.run.waiting == ("a",)
    assert "3 times" in game.run.steps["a"].why
