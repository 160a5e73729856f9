"""A repository's tests, and when they are a success: when they ran, passed and said so."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from pilotage.domain.call import Outcome, ToolResult

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")

Run = Callable[..., Any]
Write = Callable[..., None]


def counts(result: ToolResult) -> tuple[int, ...]:
    return tuple(result.value[k] for k in ("tests", "passed", "failed", "errors", "skipped"))


async def test_passing_tests_are_a_success_with_their_counts(
    run: Run, project: Path, write: Write
) -> None:
    write(project, src__app_py="def double(n): return 2 * n\n", tests__test_app_py="""
        import pytest
        from app import double

        def test_double(): assert double(2) == 4

        @pytest.mark.skip(reason="later")
        def test_later(): pass
    """)  # fmt: skip
    result = await run(language="python", test_framework="pytest")
    assert result.outcome is Outcome.SUCCEEDED
    assert counts(result) == (2, 1, 0, 0, 1)
    assert result.value["sandboxed"] is True
    assert result.value["network"] is False
    assert "1 passed" in result.value["log"]


async def test_the_language_is_found_and_what_the_article_sends_is_enough(
    run: Run, project: Path, write: Write
) -> None:
    write(project, test_app_py="def test_it(): pass\n")
    assert (await run(source_path=str(project), scan_depth="x")).ignored == ("scan_depth",)


async def test_a_failing_test_is_named_with_its_message(
    run: Run, project: Path, write: Write
) -> None:
    write(project, test_app_py="""
        def test_good(): pass
        def test_bad(): assert [1] == [2], "told you"
        def test_broken(broken_fixture): pass
    """)  # fmt: skip
    result = await run()
    assert result.outcome is Outcome.FAILED
    assert result.error == "2 of 3 tests did not pass"
    assert counts(result) == (3, 1, 1, 1, 0)
    bad, broken = result.value["failures"]
    assert (bad["name"], bad["kind"]) == ("test_app::test_bad", "failed")
    assert "told you" in bad["message"]
    assert broken["kind"] == "error"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "no test ran"),
        ("import pytest\n@pytest.mark.skip\ndef test_it(): pass\n", "no test ran (1 were skipped)"),
        ("def test_it(:\n", "did not pass"),
        ("import os\ndef test_it(): os._exit(0)\n", "left no results"),
    ],
)
async def test_no_test_that_ran_is_no_success(
    run: Run, project: Path, write: Write, content: str, why: str
) -> None:
    write(project, test_app_py=content)
    result = await run(test_framework="pytest")
    assert result.outcome is Outcome.FAILED
    assert why in (result.error or "")


async def test_unittest_counts_subtests_errors_and_skips(
    run: Run, project: Path, write: Write
) -> None:
    write(project, tests__test_app_py="""
        import unittest

        class Tests(unittest.TestCase):
            def test_good(self): pass
            def test_bad(self): self.fail("told you")
            def test_broken(self): raise ValueError("broken")
            @unittest.skip("later")
            def test_later(self): pass
            @unittest.expectedFailure
            def test_known(self): self.fail()
            def test_parts(self):
                for n in range(3):
                    with self.subTest(n=n): self.assertNotEqual(n, 1)
    """)  # fmt: skip
    result = await run(test_framework="unittest")
    assert result.outcome is Outcome.FAILED
    assert counts(result) == (6, 2, 2, 1, 1)
    assert any("told you" in failure["message"] for failure in result.value["failures"])


async def test_passing_unittest_tests_are_a_success(run: Run, project: Path, write: Write) -> None:
    write(project, test_app_py="""
        import unittest
        class Tests(unittest.TestCase):
            def test_good(self): pass
    """)  # fmt: skip
    result = await run(test_framework="unittest")
    assert result.outcome is Outcome.SUCCEEDED
    assert counts(result) == (1, 1, 0, 0, 0)


async def test_unittest_without_tests_is_no_success(run: Run, project: Path, write: Write) -> None:
    write(project, app_py="")
    result = await run(test_framework="unittest")
    assert result.outcome is Outcome.FAILED
    assert result.error == "no test ran"


PACKAGE = {"name": "it", "version": "1.0.0", "scripts": {"test": "node --test"}}
JAVASCRIPT = """
    import test from 'node:test'; import assert from 'node:assert';
    test('good', () => {});
    test('bad', () => { assert.strictEqual(1, 2); });
    test('later', { skip: true }, () => {});
"""


async def test_npm_test_with_nodes_own_runner_is_counted(
    run: Run, project: Path, write: Write
) -> None:
    (project / "package.json").write_text(json.dumps(PACKAGE))
    write(project, **{"app.test.mjs": JAVASCRIPT})
    result = await run()
    assert result.value["test_framework"] == "npm"
    assert result.outcome is Outcome.FAILED
    assert counts(result) == (3, 1, 1, 0, 1)
    assert result.value["failures"][0]["name"].endswith("bad")


async def test_npm_test_that_passes_is_a_success(run: Run, project: Path, write: Write) -> None:
    (project / "package.json").write_text(json.dumps(PACKAGE))
    write(project, **{"app.test.mjs": "import test from 'node:test'; test('good', () => {});"})
    result = await run(language="javascript")
    assert result.outcome is Outcome.SUCCEEDED
    assert counts(result) == (1, 1, 0, 0, 0)


async def test_npm_test_that_tells_of_no_test_is_no_success(run: Run, project: Path) -> None:
    package = {**PACKAGE, "scripts": {"test": "echo all tests passed"}}
    (project / "package.json").write_text(json.dumps(package))
    result = await run(test_framework="npm")
    assert result.outcome is Outcome.FAILED
    assert "no sums" in (result.error or "")


async def test_a_folder_of_two_languages_or_none_is_not_guessed_at(
    run: Run, project: Path, write: Write
) -> None:
    result = await run()
    assert result.outcome is Outcome.FAILED
    assert "name the language" in (result.hint or "")
    (project / "package.json").write_text(json.dumps(PACKAGE))
    write(project, test_app_py="")
    result = await run()
    assert result.outcome is Outcome.FAILED
    assert "python and javascript" in (result.error or "")


async def test_an_interpreter_of_the_caller_brings_its_own_packages(
    run: Run, project: Path, write: Write
) -> None:
    """A virtual environment in the project, made with our own pytest and a package beside it."""
    site = project / ".venv/lib/python3/site-packages"
    write(project, test_app_py="import helper\ndef test_it(): assert helper.VALUE == 7\n")
    assert (await run()).outcome is Outcome.FAILED
    process = await asyncio.create_subprocess_exec(
        *(find_uv_bin(), "venv", "-q", str(project / ".venv")), env={**os.environ, "UV_PYTHON": ""}
    )
    assert await process.wait() == 0
    install = (find_uv_bin(), "pip", "install", "-q", "--python", str(project / ".venv/bin/python"))
    process = await asyncio.create_subprocess_exec(*install, "pytest")
    assert await process.wait() == 0
    site = next((project / ".venv").glob("lib/python3*/site-packages"))
    (site / "helper.py").write_text("VALUE = 7\n")
    result = await run(python=".venv/bin/python")
    assert result.outcome is Outcome.SUCCEEDED, result.value["log"]


async def test_requirements_are_installed_first_and_the_tests_have_no_network_after(
    run: Run, project: Path, write: Write
) -> None:
    (project / "requirements.txt").write_text("iniconfig==2.1.0\n")
    write(project, test_app_py="""
        import importlib.metadata, socket, pytest
        def test_installed(): assert importlib.metadata.version("iniconfig") == "2.1.0"
        def test_no_network():
            with pytest.raises(OSError): socket.create_connection(("1.1.1.1", 53), 2)
    """)  # fmt: skip
    assert (await run()).value["failed"] == 1
    result = await run(install=True)
    assert result.outcome is Outcome.SUCCEEDED, result.value["log"]
