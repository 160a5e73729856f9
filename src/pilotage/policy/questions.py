"""Questions to a policy with the answers that somebody expects: `pilotage policy test`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from pilotage.domain.call import Answer, Decision, Effect, Principal, ToolCall
from pilotage.domain.errors import BadInput
from pilotage.policy import cedar
from pilotage.policy.policy import Rules


class Question(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Who calls what, and what is expected. `keys` are the globs of the caller's key; `at` is when
    (default: now). What is not expected is not compared."""

    tool: str
    effect: Effect
    answer: Answer | None = None
    question: str = ""
    who: str = "key:anybody"
    roles: tuple[str, ...] = ()
    keys: tuple[str, ...] = ("*",)
    arguments: Mapping[str, Any] = {}
    via: str = "rest"
    run: str | None = None
    step: str | None = None
    at: datetime | None = None
    rule: str | None = None
    needed: int | None = None

    def title(self) -> str:
        roles = "+".join(self.roles) or "no role"
        return self.question or f"{roles} calls {self.tool} ({self.effect})"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the policy says; `wrong` names what is not as expected, `looking` the rules for whose
    sake the call is decided anew each time."""

    question: Question
    decision: Decision
    wrong: tuple[str, ...]
    looking: tuple[str, ...]


def ask(rules: Rules, question: Question) -> Reply:
    """One question, with its answer compared."""
    by = Principal(question.who, frozenset(question.roles), question.keys)
    call = ToolCall(
        "", question.tool, question.arguments, by, question.via, None, question.run, question.step
    )
    at = question.at or datetime.now(UTC)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    context = cedar.context(call, at)
    decision = rules.answer(by, question.tool, question.effect, context)
    pairs = (
        ("answer", question.answer, decision.answer),
        ("rule", question.rule, decision.rule),
        ("needed", question.needed, decision.needed),
    )
    wrong = tuple(
        f"{what} {wanted}, not {given}"
        for what, wanted, given in pairs
        if wanted is not None and wanted != given
    )
    looking = tuple(rule.name for rule in rules.looking(by, question.tool))
    return Reply(question, decision, wrong, looking)


def read(path: Path) -> list[Question]:
    """The questions of a file. Each expects an answer."""
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        questions = msgspec.convert(content, list[Question])
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", "the file of questions to test with") from None
    except (UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise BadInput(f"{path}: {error}", "a list of questions: docs/guides/policy.md") from None
    if not questions:
        raise BadInput(f"{path} asks nothing", "a list of questions: docs/guides/policy.md")
    for number, question in enumerate(questions, 1):
        if question.answer is None:
            raise BadInput(f"{path}: question {number} expects no answer", "answer: allow|ask|deny")
    return questions
