"""Runs in words: one line an event, one line a problem. What tools said is made printable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from pilotage.domain.pipeline import Problem
from pilotage.domain.run import Event, Kind
from pilotage.domain.text import counted, visible


def problem_line(problem: Problem, file: str = "") -> str:
    """file:line:column: error: what (hint)"""
    place = f"{file}:{problem.line}:{problem.column}" if problem.line and file else problem.path
    hint = f" ({problem.hint})" if problem.hint else ""
    return visible(f"{place or file}: {problem.level}: {problem.what}{hint}")


def left_alone(runs: Counter[str]) -> str:
    """How many runs of each folder a server leaves to those who are there, on one line."""
    shown = [f"{count} in {folder}" for folder, count in runs.most_common(3)]
    shown += [f"others in {counted(len(runs) - 3, 'more folder')}"] if len(runs) > 3 else []
    total = counted(runs.total(), "unfinished run")
    return visible(f"{total} left alone, begun elsewhere: {', '.join(shown)} (pilotage runs list)")


class Teller:
    """Remembers when attempts began and how many there were. `done` of `total` steps are over."""

    def __init__(self, total: int = 0) -> None:
        self.done, self.total = 0, total
        self._began: dict[str, int] = {}
        self._attempts: dict[str, int] = {}

    def lines(self, event: Event) -> list[str]:
        """Nothing for events that only matter to the machine."""
        if event.kind in (Kind.CLOSED, Kind.SKIPPED) or event.body.get("outcome") == "succeeded":
            self.done += event.step is not None
        if event.kind is Kind.STARTED and event.step is not None:
            self._began[event.step] = event.at
            self._attempts[event.step] = self._attempts.get(event.step, 0) + 1
        elif event.kind is Kind.FINISHED:
            return [visible(self._finished(event))]
        text = _TEXT.get(event.kind)
        said = [visible(line) for line in (text(event) if text is not None else ())]
        if event.kind is Kind.STARTED and self._attempts[str(event.step)] > 1:
            said = [f"{said[0]} (attempt {self._attempts[str(event.step)]})"]
        return said

    def _finished(self, event: Event) -> str:
        seconds = (event.at - self._began.get(str(event.step), event.at)) / 1e6
        error = f": {event.body['error']}" if event.body.get("error") else ""
        if event.body.get("hint"):
            error += f" ({event.body['hint']})"
        outcome = str(event.body["outcome"]).replace("_", " ")
        return f"{outcome} {event.step} after {seconds:.1f} s{error}"


def _said(event: Event) -> list[str]:
    return [f"{event.step}: {line}" for line in event.body["lines"]]


def _judged(event: Event) -> list[str]:
    reason = f": {event.body['reason']}" if event.body.get("reason") else ""
    step = f" {event.step}" if event.step else ""
    return [f"{event.kind}{step} by {event.body['by']}{reason}"]


_TEXT: Mapping[Kind, Callable[[Event], list[str]]] = {
    Kind.CREATED: lambda e: [f"pipeline {e.body['pipeline']['name']}"],
    Kind.TAKEN: lambda e: [f"process {e.body['pid']} runs it"],
    Kind.STARTED: lambda e: [f"started {e.step}"],
    Kind.SKIPPED: lambda e: [f"skipped {e.step}, since {e.body['why']}"],
    Kind.PARKED: lambda e: [f"waiting for a person in {e.step}, since {e.body['why']}"],
    Kind.STOPPING: lambda e: [f"stopping: {e.body['why']}"],
    Kind.ENDED: lambda e: [f"run {e.body['outcome']}".replace("_", " ")],
    Kind.SAID: _said,
    Kind.APPROVED: _judged,
    Kind.REJECTED: _judged,
    Kind.RESUMED: _judged,
}
