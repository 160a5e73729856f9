"""Check a pipeline file: keys, types, names, expressions, and arguments against the tools here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pilotage import config
from pilotage.app import tools_here
from pilotage.domain.text import counted
from pilotage.pipeline import load
from pilotage.pipeline.lint import lint
from pilotage.pipeline.tell import problem_line


def register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a pipeline, YAML or JSON")
    parser.add_argument("--strict", action="store_true", help="a warning is an error")


def run(arguments: argparse.Namespace) -> int:
    with tools_here(config.read(file=arguments.settings)) as tools:
        linted = lint(load.file(arguments.file), tools)
    for problem in linted.problems:
        print(problem_line(problem, str(arguments.file)))
    errors, warnings = len(linted.errors), len(linted.problems) - len(linted.errors)
    told = [counted(errors, "error"), counted(warnings, "warning")]
    told += [counted(len(linted.pipeline.steps), "step")] if linted.pipeline else []
    print(f"{arguments.file}: {', '.join(told)}", file=sys.stderr)
    return 2 if errors or (arguments.strict and warnings) else 0
