"""How a run stands, for people, for the shell and for the CI system's job."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from pilotage.ci.job import Job
from pilotage.ci.markdown import escape
from pilotage.ci.publish import Results, publish
from pilotage.domain.call import Outcome
from pilotage.domain.finding import Finding
from pilotage.domain.run import RunState
from pilotage.domain.text import visible
from pilotage.domain.verdict import Ruling

NOTE_WIDTH = 100
LOCAL_FILES = ("PILOTAGE_OUTPUT", "PILOTAGE_ENV", "PILOTAGE_SUMMARY")


def exit_code(answer: Mapping[str, Any]) -> int:
    """0 succeeded, 1 failed, 3 nothing failed but something could not be looked at, 5 waits."""
    if answer["success"]:
        return 0
    if answer.get("state") == RunState.WAITING:
        return 5
    bad = [s for s in answer["steps"] if not s["well"] and s["outcome"] != Outcome.SKIPPED]
    blind = bad and all(
        step["outcome"] == Outcome.UNAVAILABLE
        or step["outputs"].get("verdict") == Ruling.INCOMPLETE
        for step in bad
    )
    return 3 if blind else 1


def reports(answer: Mapping[str, Any]) -> list[str]:
    """Reports for a terminal that steps have made, in their order."""
    rendered = [step.get("rendered") for step in answer["steps"]]
    texts = [each.get("terminal") for each in rendered if isinstance(each, Mapping)]
    return [text for text in texts if isinstance(text, str)]


def table(answer: Mapping[str, Any]) -> str:
    """A line a step, then how the run ended and what to do next."""
    rows = [_row(step) for step in answer["steps"]]
    widths = [max(len(row[n]) for row in [*rows, ("", "", "", "", "")]) for n in range(4)]
    lines = [
        "  ".join((*(row[n].ljust(widths[n]) for n in range(4)), row[4])).rstrip() for row in rows
    ]
    state = answer["state"] if answer["state"] != RunState.ENDED else answer["outcome"]
    said = [f"run {answer['run']}: {state}".replace("_", " ")]
    if not answer["success"]:
        said += [f"{word}: {answer[word]}" for word in ("error", "hint") if answer.get(word)]
    said += hints(answer)
    written = [step.get("reports") for step in answer["steps"]]
    for each in written:
        said += [f"{k} report: {v}" for k, v in each.items()] if isinstance(each, Mapping) else []
    return "\n".join(["", *lines, "", *map(visible, said)])


def hints(answer: Mapping[str, Any]) -> list[str]:
    """The mend of each step that did not end well, where its tool knows one."""
    bad = [step for step in answer["steps"] if not step["well"] and step.get("hint")]
    return [f"hint for {step['name']}: {step['hint']}" for step in bad]


def _row(step: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    outcome = (step["outcome"] or step["state"]).replace("_", " ")
    if step["state"] == "waiting":
        outcome = "waiting"
    attempts = f" ({step['attempt']} attempts)" if step["attempt"] > 1 else ""
    words = ("why", "error") if step["well"] else ("error", "why")
    note = visible(str(step.get(words[0]) or step.get(words[1]) or ""))
    short = note if len(note) <= NOTE_WIDTH else note[: NOTE_WIDTH - 3] + "..."
    verdict = step["outputs"].get("verdict")
    shown = f"{outcome} {verdict}" if verdict else outcome
    return (
        visible(step["name"]), visible(step["tool"]), visible(shown) + attempts,
        f"{step['seconds']:.1f} s", short,
    )  # fmt: skip


def publish_to(job: Job, answer: Mapping[str, Any]) -> bool:
    """Hand the results to the job; True where something it would rely on was not set. In a plain
    shell there is nobody to hand them to, unless a file is named for them."""
    if job.platform.name == "local-shell" and not any(job.env.get(n) for n in LOCAL_FILES):
        return False
    done = publish(
        job,
        Results(
            variables=answer["variables"],
            artifacts=answer["artifacts"],
            findings=[f for f in answer["findings"] if _is_finding(f)],
            summary=_markdown(answer),
        ),
    )
    for line in (*done.notes, *done.problems):
        print(visible(line), file=sys.stderr)
    return bool(done.problems)


def _is_finding(value: Any) -> bool:
    try:
        msgspec.convert(value, Finding, strict=False)
    except msgspec.ValidationError:
        return False
    return True


def _markdown(answer: Mapping[str, Any]) -> str:
    state = answer["state"] if answer["state"] != RunState.ENDED else answer["outcome"]
    lines = [
        f"## Pipeline {escape(answer['pipeline'])}: {escape(str(state))}",
        "",
        "| step | tool | outcome | time | |",
        "|---|---|---|---|---|",
    ]
    for step in answer["steps"]:
        lines.append("| " + " | ".join(escape(cell) for cell in _row(step)) + " |")
    if not answer["success"] and answer.get("hint"):
        lines += ["", escape(answer["hint"])]
    for hint in hints(answer):
        lines += ["", escape(hint)]
    return "\n".join(lines) + "\n"
