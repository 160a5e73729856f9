"""From news to the events to write down: fold what happened, decide, fold that, until it is quiet.

Pure. All that follows from one piece of news is written in one transaction, so a crash falls
between two steps, never between the end of a step and what it leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pilotage.domain.call import Outcome
from pilotage.domain.run import Event, Kind, Run
from pilotage.pipeline.decide import Move, decide
from pilotage.pipeline.fold import Draft
from pilotage.pipeline.plan import Plan

News = tuple[Kind, str | None, Mapping[str, Any]]
"""What happened, to which step, and what is to be said about it."""


def advance(
    plan: Plan, run: Run, news: Sequence[News], now: int, idempotent: Callable[[str], bool]
) -> tuple[Run, list[Event], Move]:
    """The run after the news and all that follows, the events to append for it, and the last
    move, which holds what to cancel and when to ask again. `now` in Unix microseconds;
    `idempotent` says it of a step."""
    events: list[Event] = []
    draft = Draft(plan, run)
    while True:
        now = max(now, run.at)
        for number, one in enumerate(news, run.seq + 1):
            events.append(Event(number, now, *one))
            draft.apply(events[-1])
        run = draft.run()
        move = decide(plan, run, now)
        news = _news(move, idempotent)
        if not news:
            return run, events, move


def _news(move: Move, idempotent: Callable[[str], bool]) -> list[News]:
    news: list[News] = []
    if move.stop:
        why = "the run took longer than it may"
        news.append((Kind.STOPPING, None, {"outcome": Outcome.TIMED_OUT, "why": why}))
    for one in move.close:
        news.append(
            (Kind.CLOSED, one.step, {"outcome": one.outcome, "well": one.well, "why": one.why})
        )
    news += [(Kind.SKIPPED, step, {"why": why}) for step, why in move.skip]
    news += [(Kind.PARKED, step, {"why": why}) for step, why in move.park]
    news += [(Kind.STARTED, step, {"idempotent": idempotent(step)}) for step in move.start]
    if move.end is not None:
        news.append((Kind.ENDED, None, {"outcome": move.end}))
    return news
