"""JavaScript projects: `npm test`, whatever stands behind it.

The script may be any program, so its results are looked for where the common runners leave them:
JUnit XML from node's own runner, and from jest and mocha with a JUnit reporter; else the sums that
node, jest, vitest and mocha print. Where neither is found, nobody knows that a test ran.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from pilotage.process.run import Finished
from pilotage.suite import junit
from pilotage.suite.junit import Unreadable
from pilotage.suite.recipe import Place, Recipe
from pilotage.suite.results import Results

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TAIL = 64 << 10
_LOCKS = ("package-lock.json", "npm-shrinkwrap.json")


def is_javascript(source: Path) -> bool:
    """It has a package.json with a test script of its own."""
    try:
        package = json.loads((source / "package.json").read_bytes())
        script = str(package.get("scripts", {}).get("test", ""))
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    return bool(script) and "no test specified" not in script


def recipe(
    place: Place,
    node: tuple[str, str],
    reads: tuple[Path, ...],
    *,
    install: bool,
    client: Mapping[str, str],
) -> Recipe:
    """`node` are the paths of node and of npm's program; `client` is npm's environment."""
    locked = any((place.tree / name).is_file() for name in _LOCKS)
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier")
    reporters = (
        *("--test-reporter=spec", "--test-reporter-destination=stdout"),
        *("--test-reporter=junit", f"--test-reporter-destination={place.out}/node.xml"),
    )
    return Recipe(
        (*node, "test", "--no-update-notifier"),
        _read,
        (*node, "ci" if locked else "install", *quiet) if install else (),
        {
            "PATH": f"{Path(node[0]).parent}:/usr/local/bin:/usr/bin:/bin",
            "NODE_OPTIONS": " ".join(reporters),
            "JEST_JUNIT_OUTPUT_FILE": f"{place.out}/jest.xml",
            "MOCHA_FILE": f"{place.out}/mocha.xml",
            "CI": "true",
        },
        {**client, "NODE_OPTIONS": ""},
        reads,
    )


def _read(place: Place, done: Finished) -> Results:
    for name in ("node.xml", "jest.xml", "mocha.xml"):
        try:
            found = junit.load(place.out / name)
        except Unreadable:
            continue
        if found.tests:
            return found
    said = (done.stdout[-_TAIL:] + b"\n" + done.stderr[-_TAIL:]).decode("utf-8", "replace")
    results = printed(said)
    if results is None:
        raise Unreadable(
            "it printed no sums of node, jest, vitest or mocha, and wrote no JUnit XML"
        )
    return results


def printed(text: str) -> Results | None:
    """The last sums that a known runner printed, None where there are none."""
    lines = [_COLOUR.sub("", line).strip() for line in text.splitlines()]
    for read in (_node, _jest, _vitest, _mocha):
        results = read(lines)
        if results is not None:
            return results
    return None


def _node(lines: list[str]) -> Results | None:
    """`# pass 3` (TAP) or `ℹ pass 3` (spec)."""
    sums = {m[1]: int(m[2]) for m in map(_NODE.fullmatch, lines) if m}
    if not {"tests", "pass", "fail"} <= sums.keys():
        return None
    skipped = sums.get("skipped", 0) + sums.get("todo", 0)
    return Results(sums["pass"], sums["fail"], sums.get("cancelled", 0), skipped)


_NODE = re.compile(r"[#ℹ] (tests|pass|fail|cancelled|skipped|todo) (\d{1,9})")


def _jest(lines: list[str]) -> Results | None:
    """`Tests: 1 failed, 2 skipped, 3 passed, 6 total`."""
    told = [line for line in lines if re.match(r"Tests:\s+\d.* total$", line)]
    return _sums(told[-1]) if told else None


def _vitest(lines: list[str]) -> Results | None:
    """`Tests  1 failed | 3 passed (4)`."""
    told = [line for line in lines if re.match(r"Tests\s+\d.*\(\d+\)$", line)]
    return _sums(told[-1]) if told else None


def _mocha(lines: list[str]) -> Results | None:
    """`3 passing (12ms)`, then `1 pending`, `2 failing`, each on its line where there are any."""
    told = [
        m for m in map(re.compile(r"(\d{1,9}) (passing \(.*\)|pending|failing)").match, lines) if m
    ]
    sums = {m[2].split()[0]: int(m[1]) for m in told}
    if "passing" not in sums:
        return None
    return Results(sums["passing"], sums.get("failing", 0), 0, sums.get("pending", 0))


def _sums(line: str) -> Results:
    sums = {word: int(n) for n, word in re.findall(r"(\d{1,9}) (passed|failed|skipped|todo)", line)}
    skipped = sums.get("skipped", 0) + sums.get("todo", 0)
    return Results(sums.get("passed", 0), sums.get("failed", 0), 0, skipped)
