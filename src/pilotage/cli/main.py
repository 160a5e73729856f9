"""pilotage: the command line. Each verb is one file of this folder."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from pilotage import __version__
from pilotage.ci import guard
from pilotage.domain.errors import PilotageError
from pilotage.domain.text import visible

NOT_VERBS = {"delivery", "desk", "door", "main", "run_there", "summary", "terminal", "tool_pins"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return its exit code (0, 1 FAIL, 2 usage, 3 INCOMPLETE, 4 bug, 5 waits).

    Whatever breaks is 4: Python's own 1 would read as FAIL. A reader that closed the pipe has
    seen enough, but no verdict: 141, as a shell says it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if "--stdio" not in words:  # there the stream is a protocol, not a log
        guard.install(os.environ)
    try:
        code = _guarded(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):  # or Python flushes it again at the end
            try:
                stream.flush()
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 141


def _guarded(words: Sequence[str]) -> int:
    try:
        return _run(words)
    except PilotageError as error:
        return _refused(error.what, error.hint, error.exit)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename:
            return _refused(f"{error.filename}: {error.strerror}", "is PILOTAGE_HOME right?", 2)
        traceback.print_exc()
        hint = "please report it: CONTRIBUTING.md; a weakness: SECURITY.md"
        return _refused("this is a bug of pilotage, not a verdict", hint, 4)


def _run(words: Sequence[str]) -> int:
    if words == ["--version"]:
        print(f"pilotage {__version__}")
        return 0
    verbs = summaries()
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview(verbs))
        return 0 if words else 2
    verb = words[0]
    if verb not in verbs:
        near = difflib.get_close_matches(verb, verbs, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        return _refused(f"there is no verb {verb!r}", f"{meant}one of {', '.join(verbs)}", 2)
    module, parser = prepare(verb, verbs[verb])
    return int(module.run(parser.parse_args(words[1:])))


def _refused(what: str, hint: str, code: int) -> int:
    """What is said may quote a server or a file: nothing of it is obeyed by a terminal, and no line
    but the first begins at the margin."""
    for word, text in (("error:", what), ("hint: ", hint)):
        for line in map(visible, text.split("\n")) if text else ():
            print(f"{word} {line}".rstrip(), file=sys.stderr)
            word = " " * len(word)
    return code


def prepare(verb: str, summary: str) -> tuple[ModuleType, argparse.ArgumentParser]:
    """The verb's file and its parser."""
    module = importlib.import_module(f"pilotage.cli.{verb.replace('-', '_')}")
    parser = argparse.ArgumentParser(prog=f"pilotage {verb}", description=summary)
    parser.add_argument("--settings", type=Path, help="settings file instead of the usual one")
    module.register(parser)
    return module, parser


def summaries() -> dict[str, str]:
    """Each verb with the first line of its file, without importing it."""
    found = {}
    for folder in sys.modules[__package__].__path__:
        for module in pkgutil.iter_modules([folder]):
            if module.name in NOT_VERBS or module.name.startswith("_"):
                continue
            with open(Path(folder) / f"{module.name}.py", encoding="utf-8") as file:
                summary = file.readline().strip().strip('"').strip()
            found[module.name.replace("_", "-")] = summary
    return dict(sorted(found.items()))


def overview(verbs: dict[str, str]) -> str:
    """What `pilotage --help` prints."""
    width = max(map(len, verbs), default=0)
    lines = [f"  {verb:<{width}}  {summary}" for verb, summary in verbs.items()]
    return "\n".join(
        [
            "usage: pilotage VERB ... | pilotage VERB --help | pilotage --version",
            "",
            "MCP tools, durable pipelines and a security gate: one server for a delivery line.",
            "",
            *lines,
            "",
            "Exit codes: 0 pass or warn, 1 fail, 2 usage, 3 incomplete, 4 our bug, 5 waits.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
