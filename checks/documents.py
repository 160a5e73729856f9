"""Write the generated documents, or with --check say which are not current.

Reference pages are made from the code. In the pages of `CUT`, a fenced block after a line
`<!-- cut: FILE -->` holds that file (its module docstring left out), which a test runs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

from pilotage import shelf
from pilotage.app import App
from pilotage.cli import main as cli
from pilotage.config import SETTINGS, read
from pilotage.formats import json_report
from pilotage.pipeline.spec import json_schema
from pilotage.scan.scanner import Scanner
from pilotage.tool.roots import roots
from pilotage.tool.tool import Tool

CUT = ("README.md", "CONTRIBUTING.md", *map(str, sorted(Path("docs/guides").glob("*.md"))))
UNOFFERED = " Nobody can call it until it is registered (`pilotage tools put NAME --builtin NAME`)."
NOTE = "<!-- Written by `make docs`; edit the code instead. -->\n"


def command_line() -> str:
    """Each verb's --help."""
    verbs = cli.summaries()
    text = [NOTE, "# Command line\n", "```\n" + cli.overview(verbs) + "\n```\n"]
    for verb, summary in verbs.items():
        _, parser = cli.prepare(verb, summary)
        text.append(f"## pilotage {verb}\n\n```\n{parser.format_help().rstrip()}\n```\n")
        text.extend(
            f"### {sub.prog}\n\n```\n{sub.format_help().rstrip()}\n```\n" for sub in below(parser)
        )
    return "\n".join(text)


def below(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parsers of a verb's own verbs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(action.choices.values())
    return []


SETTINGS_FILE = """\
Flags count before the environment, and that before the file: `config.yaml` in the state folder,
unless `--settings` names another. The state folder is `$PILOTAGE_HOME`, where that is not set
`~/.local/state/pilotage` (`$XDG_STATE_HOME/pilotage`). Keys may be nested
(`mcp: {log: {level: debug}}`) or dotted. Only in the file: [`upstreams`](../guides/federate.md),
the MCP servers that are there from the start.
"""


def settings() -> str:
    """The table of settings."""
    rows = [NOTE, "# Settings\n", SETTINGS_FILE]
    rows += ["| key | environment | default | meaning |", "|---|---|---|---|"]
    for one in SETTINGS:
        bounds = f" ({one.low} to {one.high})" if one.high is not None else ""
        default = f"`{one.default}`" if one.default != "" else "empty"
        rows.append(f"| `{one.key}` | `{one.env}` | {default} | {one.help}{bounds} |")
    return "\n".join(rows) + "\n"


def scanners() -> str:
    """The table of scanners and their passes."""
    rows = [NOTE, "# Scanners\n", "| scanner | pass | type | reads | evidence | control |"]
    rows.append("|---|---|---|---|---|---|")
    for scanner in shelf.parts("pilotage.scanners", Scanner).values():
        for one in scanner.passes:
            reads = " ".join(f"`{glob}`" for glob in one.reads) or one.target
            link = f"[{scanner.name}]({scanner.url})"
            rows.append(
                f"| {link} | {one.name} | {one.type} | {reads} | {one.coverage} | "
                f"`{one.control.rule}` |"
            )
    return "\n".join(rows) + "\n"


def tools() -> str:
    """Each tool: what it does, its effect and its arguments."""
    with tempfile.TemporaryDirectory() as home:
        app = App(read(environment={"PILOTAGE_HOME": home, "HOME": home}), roots(home))
        found = {tool.name: (tool, "") for tool in app.registry.tools()}
        found |= {name: (tool, UNOFFERED) for name, tool in app._unoffered.items()}
        app.close()
    text = [NOTE, "# Tools\n"]
    for _, (tool, more) in sorted(found.items()):
        required = tool.input_schema.get("required", [])
        text.append(f"## {tool.name}\n\n{tool.description}\n\n{_effect(tool)}{more}\n")
        text.extend(
            f"- `{name}`{' (required)' if name in required else ''}"
            for name in tool.input_schema.get("properties", {})
        )
        text.append("")
    return "\n".join(text)


def _effect(tool: Tool) -> str:
    if tool.actions is None:
        return f"Effect: {tool.effect}."
    each = ", ".join(f"{value} {effect}" for value, effect in tool.actions.effects.items())
    return f"Effect by `{tool.actions.argument}`: {each}; any other {tool.effect}."


def cut(page: str) -> str:
    """The page with its cut blocks made anew."""

    def fill(found: re.Match[str]) -> str:
        source = Path(found["file"]).read_text("utf-8")
        body = re.sub(r'\A""".*?"""\n+', "", source, flags=re.DOTALL).strip()
        return f"<!-- cut: {found['file']} -->\n```{found['language']}\n{body}\n```"

    pattern = r"<!-- cut: (?P<file>\S+) -->\n```(?P<language>\w*)\n(?:.*?\n)??```"
    return re.sub(pattern, fill, Path(page).read_text("utf-8"), flags=re.DOTALL)


def main() -> int:
    """1 where --check finds a page that is not current."""
    os.environ["COLUMNS"] = "90"
    pages = {
        "docs/reference/command-line.md": command_line(),
        "docs/reference/settings.md": settings(),
        "docs/reference/scanners.md": scanners(),
        "docs/reference/tools.md": tools(),
        "docs/schemas/pipeline.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        "docs/schemas/security_scan_report.schema.json": json_report.schema().decode(),
        **{page: cut(page) for page in CUT},
    }
    stale = [p for p, text in pages.items() if not Path(p).exists() or Path(p).read_text() != text]
    if "--check" in sys.argv:
        for page in stale:
            print(f"{page} is not current: make docs")
        return 1 if stale else 0
    for page in stale:
        Path(page).parent.mkdir(parents=True, exist_ok=True)
        Path(page).write_text(pages[page], "utf-8")
        print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
