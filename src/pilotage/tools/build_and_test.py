"""Run a repository's own tests, shut in a sandbox."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import uv

from pilotage.config import Settings
from pilotage.domain.call import Effect, Outcome, Report, ToolResult
from pilotage.domain.errors import BadInput, Unavailable
from pilotage.domain.text import visible
from pilotage.process.sandbox import unusable
from pilotage.scan.environment import Environments, prefixes
from pilotage.scan.install import client_environment
from pilotage.scan.orchestrate import Scans
from pilotage.scan.scanner import Install, Scanner
from pilotage.suite import npm, python
from pilotage.suite.recipe import Attempt, Place, Recipe, Terms, attempt
from pilotage.tool.roots import Roots
from pilotage.tool.tool import Call, tool

LOG = 4_000
"""Characters of the log's end in an answer."""

LONGEST = 3_600
_PYTEST = Scanner("pytest", "", "", (), Install("pip", "pytest.txt", "bin/pytest"))
_SECRET = re.compile(r"(?i)token|password|secret|_auth|api_?key|credential|netrc")

Make = Callable[[Place], Recipe]


@tool(Effect.WRITE, idempotent=True, open=True, timeout=2 * LONGEST + 300, tasks="optional")
async def build_and_test(
    source_path: Path | None = None,
    language: Literal["auto", "python", "javascript"] = "auto",
    test_framework: Literal["", "pytest", "unittest", "npm"] = "",
    install: bool = False,
    network: bool = False,
    python: str = "",
    seconds: int = 900,
    *,
    scans: Scans,
    roots: Roots,
    settings: Settings,
    here: Call,
) -> ToolResult:
    """Run a project's tests in a sandbox, on a copy; it fails unless at least one ran and all pass.

    `source_path` is the project's folder, the workspace where it is not given. The tests have no
    network, no sight of anything but the copy, and limits; `network` gives them one, `install`
    installs the project's requirements first, with a network. `python` is the interpreter to use,
    such as .venv/bin/python with the project's packages; without it, our own with pytest.
    `seconds` bound each step. Without bubblewrap the tool refuses.
    """
    folder = source_path or roots.folders[0]
    if not 1 <= seconds <= LONGEST:
        raise BadInput(f"seconds is {seconds}", f"1 to {LONGEST}")
    framework = _framework(folder, language, test_framework)
    sandboxed = await _sandboxed(settings)
    if framework == "npm":
        make = await _npm(scans.environments, here.report, install)
    else:
        make = await _python(scans.environments, here.report, framework, python, roots, install)
    tried = await attempt(folder, make, Terms(sandboxed, network, seconds), here.report)
    told = {"test_framework": framework, "sandboxed": sandboxed, "installed": install}
    return _result(tried, {**told, "network": network or not sandboxed})


def _result(tried: Attempt, told: dict[str, Any]) -> ToolResult:
    value = _value(tried) | told
    if not tried.wrong:
        return ToolResult(Outcome.SUCCEEDED, value)
    late = "took longer" in tried.done.killed
    return ToolResult(Outcome.TIMED_OUT if late else Outcome.FAILED, value, visible(tried.wrong))


def _framework(folder: Path, language: str, framework: str) -> str:
    """What to run. Named by the caller, else by what lies in the folder; never a guess of two."""
    needs = {"": language, "npm": "javascript"}.get(framework, "python")
    if language not in ("auto", needs):
        raise BadInput(f"{framework} does not test {language}", f"{framework} tests {needs}")
    if framework:
        return framework
    if language == "auto":
        found = [name for name, test in _LANGUAGES.items() if test(folder)]
        if len(found) != 1:
            what = " and ".join(found) if found else "no Python project and no npm test script"
            raise BadInput(f"{folder} holds {what}", "name the language: python or javascript")
        language = found[0]
    return "npm" if language == "javascript" else "pytest"


_LANGUAGES: dict[str, Callable[[Path], bool]] = {
    "python": python.is_python,
    "javascript": npm.is_javascript,
}


async def _sandboxed(settings: Settings) -> bool:
    why = await asyncio.to_thread(unusable)
    if why and not settings.flag("tests.unsandboxed"):
        raise Unavailable(
            f"a repository's code runs only in a sandbox: {why}",
            "or set tests.unsandboxed: true in the settings, where what is tested may be trusted",
        )
    return not why


async def _python(
    environments: Environments,
    report: Report,
    framework: str,
    given: str,
    roots: Roots,
    install: bool,
) -> Make:
    if given:
        program, reads = python.interpreter(_allowed(given, roots))
    else:
        ours = await environments.ensure(_PYTEST, report)
        program, reads = Path(ours.program[0]).with_name("python"), ours.reads
    installer = uv.find_uv_bin() if install else ""
    return partial(
        python.recipe,
        framework=framework,
        interpreter=program,
        reads=reads,
        uv=installer,
        client=_client(),
    )


def _allowed(given: str, roots: Roots) -> Path:
    """The interpreter, its folder inside the roots or inside a known installation of Python. Its
    own link is not followed: that it is a link is what makes a virtual environment of it."""
    path = roots.base / Path(given).expanduser()
    folder = path.parent.resolve()
    return (folder if python.known_base(folder / path.name) else roots.inside(folder)) / path.name


async def _npm(environments: Environments, report: Report, install: bool) -> Make:
    node = await environments.node(report)
    reads = prefixes(Path(node[0]))
    pair = (node[0], node[1])
    return partial(npm.recipe, node=pair, reads=reads, install=install, client=_client())


def _client() -> dict[str, str]:
    """Where packages come from, without anything that could be a key: what is installed runs code,
    and it has a network."""
    return {
        name: value
        for name, value in client_environment(os.environ).items()
        if name not in ("HOME", "PATH", "NETRC", "UV_FIND_LINKS", "PIP_FIND_LINKS")
        and not name.startswith("XDG_")
        and not _SECRET.search(name)
        and "@" not in value
    }


def _value(tried: Attempt) -> dict[str, Any]:
    results, done = tried.results, tried.done
    log = (done.stdout + (b"\n" if done.stderr else b"") + done.stderr).decode("utf-8", "replace")
    lines = log[-4 * LOG :].splitlines()
    return {
        "tests": results.tests,
        "passed": results.passed,
        "failed": results.failed,
        "errors": results.errors,
        "skipped": results.skipped,
        "failures": [msgspec.to_builtins(failure) for failure in results.failures],
        "duration": round(tried.seconds, 3),
        "exit": done.exit,
        "memory": done.memory,
        "log": "\n".join(map(visible, lines))[-LOG:],
        "log_cut": bool(done.cut) or len(log) > LOG,
    }
