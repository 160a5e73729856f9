"""Ask the policy of this machine, show it, and test it with questions whose answers are known."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from pilotage import config
from pilotage.app import App
from pilotage.cli.door import arguments_of
from pilotage.config import Settings
from pilotage.domain.call import Effect
from pilotage.domain.errors import BadInput
from pilotage.domain.text import visible
from pilotage.policy import policy, questions
from pilotage.policy.policy import Rules
from pilotage.policy.questions import Question, Reply
from pilotage.tool.roots import roots


def register(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", required=True, metavar="test|ask|show")
    test = verbs.add_parser("test", help="questions and expected answers; exit 1 on a mismatch")
    test.add_argument("file", type=Path, metavar="FILE", help="a YAML list: docs/guides/policy.md")
    ask = verbs.add_parser("ask", help="what one call would be answered, and by which rule")
    add = ask.add_argument
    add("--role", action="append", default=[], metavar="ROLE", help="of who calls; repeatable")
    add("--tool", required=True, metavar="TOOL")
    effects = [effect.value for effect in Effect]
    add("--effect", choices=effects, help="of the tool (default: what the tool here says)")
    value = "one argument; V is JSON where it reads as JSON, else text; repeatable"
    add("--arg", action="append", default=[], metavar="K=V", help=value)
    add("--json", metavar="OBJECT", help="all arguments as one JSON object")
    add("--who", default="key:anybody", metavar="NAME", help="(default: %(default)s)")
    add("--key-tool", action="append", default=[], metavar="GLOB", help="its key's limits")
    doors = ("rest", "mcp", "cli", "step")
    add("--via", default="rest", choices=doors, help="(default: %(default)s)")
    add("--at", metavar="TIME", help="such as 2026-11-26T22:00 (UTC); default: now")
    show = verbs.add_parser("show", help="roles, rules, approvals needed, and what is remembered")
    for verb in (test, ask, show):
        ours = "instead of $PILOTAGE_HOME/"
        verb.add_argument("--roles", type=Path, metavar="FILE", help=f"{ours}roles.yaml")
        verb.add_argument("--rules", type=Path, metavar="FILE", help=f"{ours}policy.cedar")


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    roles = arguments.roles or settings.roles_file
    extra = arguments.rules or settings.rules_file
    rules = policy.load_rules(roles, extra)
    if arguments.what == "test":
        return _test(rules, questions.read(arguments.file))
    if arguments.what == "ask":
        return _ask(rules, settings, arguments)
    print(f"roles     {roles or 'those that ship with pilotage'}")
    print(f"rules     {extra or 'none in Cedar'}")
    print(f"version   {rules.version}")
    _show(rules)
    return 0


def _test(rules: Rules, asked: list[Question]) -> int:
    wrong = 0
    for question in asked:
        reply = questions.ask(rules, question)
        wrong += bool(reply.wrong)
        mark = "WRONG" if reply.wrong else "ok"
        print(visible(f"{mark:<6} {question.title()}: {_said(rules, reply)}"))
        for difference in reply.wrong:
            print(visible(f"       expected {difference}: {reply.decision.why}"))
    print(f"{len(asked)} asked, {wrong} wrong" if wrong else f"{len(asked)} asked, all as expected")
    return 1 if wrong else 0


def _ask(rules: Rules, settings: Settings, arguments: argparse.Namespace) -> int:
    unknown = sorted(set(arguments.role) - set(rules.roles.roles))
    if unknown:
        known = ", ".join(rules.roles.roles)
        raise BadInput(f"there is no role {unknown[0]!r}", f"one of {known}")
    question = Question(
        arguments.tool,
        Effect(arguments.effect) if arguments.effect else _effect(settings, arguments),
        who=arguments.who,
        roles=tuple(arguments.role),
        keys=tuple(arguments.key_tool) or ("*",),
        arguments=arguments_of(arguments),
        via=arguments.via,
        at=_time(arguments.at),
    )
    reply = questions.ask(rules, question)
    print(visible(_said(rules, reply)))
    print(visible(f"  {reply.decision.why}"))
    if reply.looking:
        names = ", ".join(reply.looking)
        print(visible(f"  decided anew for each call, since this looks at it: {names}"))
    else:
        print("  remembered: no rule that could fit looks at the arguments")
    return 0


def _said(rules: Rules, reply: Reply) -> str:
    decision = reply.decision
    lines = [rule.line for rule in rules.extra if rule.name == decision.rule]
    where = f" (policy.cedar, line {lines[0]})" if lines else ""
    persons = f", {decision.needed} must approve" if decision.answer == "ask" else ""
    return f"{decision.answer} by {decision.rule}{where}{persons}"


def _effect(settings: Settings, arguments: argparse.Namespace) -> Effect:
    tool = arguments.tool
    app = App(settings, roots(base="."))
    try:
        entry = app.registry.all.get(tool)
    finally:
        app.close()
    if entry is None:
        raise BadInput(f"there is no tool {tool!r} here", "--effect read|write|destroy")
    return entry.tool.effect_of(arguments_of(arguments))


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"--at {text!r} is no time", "such as 2026-11-26T22:00") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _show(rules: Rules) -> None:
    for name, role in rules.roles.roles.items():
        for what, values in (
            ("calls", role.effects),
            ("asks before", role.ask),
            ("manages", role.manage),
        ):
            if values:
                tools = f" (tools {', '.join(role.tools)})" if what != "manages" else ""
                print(visible(f"role      {name} {what} {', '.join(values)}{tools}"))
    for need in rules.roles.needs:
        what = f"{', '.join(need.tools)} ({', '.join(need.effects)})"
        print(visible(f"approvals {need.needed} persons for {what}"))
    for rule in rules.extra:
        does = "permits" if rule.permits else "forbids"
        looks = "; looks at the call" if rule.context else ""
        print(visible(f"rule      {rule.name} {does} (line {rule.line}{looks})"))
    if rules.contextual:
        print("answers   decided anew for each call that a rule which looks at it could fit")
    else:
        print("answers   remembered for each principal and tool: no rule looks at the arguments")
