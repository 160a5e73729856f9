"""Show what a pipeline would do, in which order, without doing it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pilotage import config
from pilotage.app import tools_here
from pilotage.domain.pipeline import OnFailure, Pipeline, Step
from pilotage.domain.text import counted, visible
from pilotage.pipeline import load
from pilotage.pipeline.lint import checked, lint
from pilotage.pipeline.plan import plan, waves
from pilotage.pipeline.tell import problem_line


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a pipeline, YAML or JSON")
    choices = ("text", "mermaid", "json")
    parser.add_argument("--format", choices=choices, default="text", help="(default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    settings = config.read(file=arguments.settings)
    with tools_here(settings) as tools:
        linted = lint(load.file(arguments.file), tools)
        missing = {
            step.tool
            for step in (linted.pipeline.steps if linted.pipeline else ())
            if step.tool not in tools
        }
    for problem in linted.problems:
        print(problem_line(problem, str(arguments.file)), file=sys.stderr)
    pipeline = checked(linted)
    if arguments.format == "mermaid":
        print(mermaid(pipeline))
    elif arguments.format == "json":
        print(json.dumps(_json(pipeline, settings.number("mcp.pipeline.retryCount")), indent=2))
    else:
        print(_text(pipeline, missing))
    return 0


def _text(pipeline: Pipeline, missing: set[str]) -> str:
    """Waves of steps: each starts when what it needs has ended well."""
    steps = {step.name: step for step in pipeline.steps}
    width = max(map(len, steps))
    lines = [visible(f"{pipeline.name}: {pipeline.description}".rstrip(": ")), ""]
    for number, wave in enumerate(waves(pipeline), 1):
        for name in wave:
            step = steps[name]
            here = "  (not here: will not run)" if step.tool in missing else ""
            after = f"after {', '.join(step.needs)}" if step.needs else "at once"
            said = f"{number:>3}. {name:<{width}}  {step.tool}  {after}{_terms(step)}{here}"
            lines.append(visible(said))
    return "\n".join(lines)


def _terms(step: Step) -> str:
    terms = []
    if step.on_failure is not OnFailure.FAIL:
        terms.append(f"on failure: {step.on_failure}")
    if step.retry_count:
        retries = counted(step.retry_count, "retry", "retries")
        terms.append(f"{retries}, {step.retry_delay:g} s apart")
    if step.timeout is not None:
        terms.append(f"at most {step.timeout:g} s")
    return f"  [{'; '.join(terms)}]" if terms else ""


def mermaid(pipeline: Pipeline) -> str:
    """A flowchart. Numbers are ids: a name could be a word of mermaid's."""
    ids = {step.name: f"s{number}" for number, step in enumerate(pipeline.steps)}
    lines = ["flowchart TD"]
    for step in pipeline.steps:
        label = f"{step.name}<br>{step.tool}".replace('"', "#quot;")
        lines.append(f'  {ids[step.name]}["{visible(label)}"]')
    for step in pipeline.steps:
        lines += [f"  {ids[need]} --> {ids[step.name]}" for need in step.needs]
    return "\n".join(lines)


def _json(pipeline: Pipeline, retry_count: int) -> dict[str, object]:
    frozen = plan(pipeline, retry_count)
    return {
        "name": pipeline.name,
        "digest": frozen.digest,
        "waves": waves(pipeline),
        "steps": [
            {
                "name": step.name,
                "tool": step.tool,
                "needs": step.needs,
                "on_failure": step.on_failure,
                "retry_count": step.retry_count,
                "retry_delay": step.retry_delay,
                "timeout": step.timeout,
            }
            for step in frozen.pipeline.steps
        ],
    }
