"""What a test run said, and whether it may be believed."""

from __future__ import annotations

from dataclasses import dataclass

from pilotage.domain.text import counted
from pilotage.process.run import Finished


@dataclass(frozen=True, slots=True)
class Failure:
    """One test that did not pass. `kind` is failed or error; `line` counts from 1."""

    name: str
    kind: str
    message: str
    file: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """Counts of test cases. `failures` holds the first of those that did not pass."""

    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()

    @property
    def tests(self) -> int:
        return self.passed + self.failed + self.errors + self.skipped


def judge(done: Finished, results: Results | None, why: str = "") -> str:
    """Why this run is no success, "" where it is one: it ended well by itself, it says which tests
    ran, at least one did, and none of its two voices contradicts the other.

    `results` None: none could be read, and `why` says so.
    """
    if done.killed:
        return f"the tests were stopped: they {done.killed}"
    if done.exit is None:
        return f"the tests could not be started: {done.missing}"
    if results is None:
        return f"the tests ended with {done.exit} and left no results: {why}"
    bad = results.failed + results.errors
    if bad and done.exit == 0:
        return f"{counted(bad, 'test')} did not pass, and yet the run ended with 0"
    if bad:
        return f"{bad} of {counted(results.tests, 'test')} did not pass"
    if results.tests == results.skipped:
        skipped = f" ({results.skipped} were skipped)" if results.skipped else ""
        return f"no test ran{skipped}"
    if done.exit != 0:
        return f"every test passed, and yet the run ended with {done.exit}"
    return ""
