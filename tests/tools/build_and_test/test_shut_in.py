"""What a hostile repository tries from inside its own tests, and what it gets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pilotage.app import App, local_principal
from pilotage.domain.call import Outcome
from pilotage.tool.roots import roots
from waiting import until

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")

Run = Callable[..., Any]
Write = Callable[..., None]


async def test_the_repository_itself_is_never_written(
    run: Run, project: Path, write: Write
) -> None:
    write(project, test_app_py="""
        import pathlib
        def test_it():
            pathlib.Path("made").write_text("x")
            pathlib.Path(__file__).write_text("def test_it(): pass")
    """)  # fmt: skip
    before = (project / "test_app.py").read_text()
    assert (await run()).outcome is Outcome.SUCCEEDED
    assert [path.name for path in project.iterdir()] == ["test_app.py"]
    assert (project / "test_app.py").read_text() == before


async def test_a_hostile_test_gets_nowhere(
    run: Run, project: Path, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks for our state, our secrets and a network, and tries to write outside."""
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_of_the_caller")
    outside = tmp_path / "outside"
    with socket.create_server(("127.0.0.1", 0)) as server:
        write(project, test_app_py=f"""
            import os, pathlib, socket, pytest

            def test_no_secret_in_any_environment():
                for file in pathlib.Path("/proc").glob("[0-9]*/environ"):
                    try: text = file.read_bytes()
                    except OSError: continue
                    assert b"ghp_of_the_caller" not in text

            @pytest.mark.parametrize("path", [
                {str(tmp_path / "state")!r}, {str(Path.home() / ".pilotage")!r}, {str(project)!r},
                {str(Path.home() / ".ssh")!r}, "/etc/shadow", "/var", "/home", "/run",
            ])
            def test_not_there(path):
                assert not os.path.exists(path)

            def test_no_network():
                with pytest.raises(OSError):
                    socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 2)

            @pytest.mark.parametrize("path", [{str(outside)!r}, "/usr/made", "/made", "/etc/made"])
            def test_no_writing(path):
                with pytest.raises(OSError):
                    open(path, "w")

            def test_nobody():
                assert os.getuid() != 0
        """)  # fmt: skip
        result = await run()
    assert result.value["failures"] == []
    assert result.outcome is Outcome.SUCCEEDED
    assert not outside.exists()


async def test_a_link_in_place_of_the_results_leads_nowhere(
    run: Run, project: Path, write: Write, tmp_path: Path
) -> None:
    """The results file is read by us, outside of the sandbox."""
    secret = tmp_path / "secret.xml"
    secret.write_text("<testsuites><testsuite><testcase name='x'/></testsuite></testsuites>")
    write(project, conftest_py=f"""
        import atexit, os, sys
        path = [w.split("=")[1] for w in sys.argv if w.startswith("--junitxml=")][0]
        @atexit.register
        def swap():
            os.path.exists(path) and os.remove(path)
            os.symlink({str(secret)!r}, path)
    """, test_app_py="def test_it(): pass\n")  # fmt: skip
    result = await run()
    assert result.outcome is Outcome.FAILED
    assert "left no results" in (result.error or "")


FORGED = """
    import os, sys
    path = [w.split("=")[1] for w in sys.argv if w.startswith("--junitxml=")][0]
    open(path, "w").write({xml!r})
    os._exit({exit})
"""
SUITE = "<testsuites><testsuite {}>{}</testsuite></testsuites>"


@pytest.mark.parametrize(
    ("xml", "code", "why"),
    [
        (SUITE.format('tests="5"', ""), 0, "no test ran"),
        (SUITE.format("", '<testcase name="a"/>'), 3, "ended with 3"),
        (SUITE.format("", '<testcase name="a"><failure/></testcase>'), 0, "ended with 0"),
        ('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><testsuite/>', 0, "document type"),
        ("<html><testcase/></html>", 0, "no JUnit"),
        ("<testsuite><testcase>", 0, "no XML"),
    ],
)
async def test_forged_results_are_no_success(
    run: Run, project: Path, write: Write, xml: str, code: int, why: str
) -> None:
    write(project, conftest_py=FORGED.format(xml=xml, exit=code), test_app_py="")
    result = await run(test_framework="pytest")
    assert result.outcome is Outcome.FAILED
    assert why in (result.error or "")


async def test_a_test_that_hangs_is_timed_out(run: Run, project: Path, write: Write) -> None:
    write(project, test_app_py="import time\ndef test_it(): time.sleep(60)\n")
    result = await run(seconds=3)
    assert result.outcome is Outcome.TIMED_OUT
    assert "took longer than 3 s" in (result.error or "")


async def test_a_fork_bomb_is_held_and_fails(run: Run, project: Path, write: Write) -> None:
    write(project, test_app_py="""
        import os, time
        def test_it():
            until = time.monotonic() + 1
            while time.monotonic() < until:
                os.fork()
            time.sleep(2)
    """)  # fmt: skip
    result = await run(seconds=20)
    assert result.outcome in (Outcome.FAILED, Outcome.TIMED_OUT)


async def test_a_daemon_left_behind_does_not_outlive_the_tests(
    run: Run, project: Path, write: Write
) -> None:
    seconds = f"97.{os.getpid()}"
    write(project, test_app_py=f"""
        import subprocess
        def test_it():
            subprocess.Popen(["setsid", "env", "-i", "sleep", "{seconds}"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    """)  # fmt: skip
    result = await run()
    assert result.outcome is Outcome.SUCCEEDED
    assert not running(seconds)


def running(word: str) -> list[bytes]:
    """The command lines of processes that hold this word."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_bytes())
    return [line for line in found if word.encode() in line]


async def test_a_flood_of_output_is_bounded_and_harmless(
    run: Run, project: Path, write: Write
) -> None:
    write(project, test_app_py="""
        import os
        def test_it():
            for _ in range(400): os.write(1, b"\\x1b[31m::error::x\\n" * 5000)
    """)  # fmt: skip
    (project / "pytest.ini").write_text("[pytest]\naddopts = -s\n")
    result = await run()
    assert result.value["log_cut"] is True
    assert len(result.value["log"]) <= 4000
    assert "\x1b" not in result.value["log"]


async def test_cancelling_ends_the_tests(
    run: Run, project: Path, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    write(project, test_app_py="""
        import pathlib, time
        def test_it():
            pathlib.Path("begun").touch()
            time.sleep(93.25)
    """)  # fmt: skip
    task = asyncio.create_task(run(seconds=90))
    await until(lambda: bool(list(place.glob("*/tree/begun"))))
    assert running(str(place))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running(str(place))


async def test_an_interpreter_may_not_lead_the_tests_to_a_folder_of_ours(
    run: Run, project: Path, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "keys/bin").mkdir(parents=True)
    (tmp_path / "keys/bin/python").write_text("#!/bin/sh\n")
    (tmp_path / "keys/bin/python").chmod(0o755)
    (project / "bin").mkdir()
    (project / "bin/python").symlink_to(tmp_path / "keys/bin/python")
    write(project, test_app_py="")
    for given in ("bin/python", str(tmp_path / "keys/bin/python")):
        result = await run(python=given)
        assert result.outcome in (Outcome.FAILED, Outcome.DENIED)
        assert str(tmp_path / "keys") in (result.error or "")


async def test_without_bubblewrap_it_refuses_and_says_what_to_install(
    project: Path,
    write: Write,
    settings: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pilotage.process.sandbox._WHERE", str(tmp_path))
    write(
        project, test_app_py="import os\ndef test_it(): assert 'GITHUB_TOKEN' not in os.environ\n"
    )
    for allowed, outcome in (("false", Outcome.UNAVAILABLE), ("true", Outcome.SUCCEEDED)):
        told = settings(tmp_path / "state", PILOTAGE_TESTS_UNSANDBOXED=allowed)
        app = App(told, roots(project))
        try:
            result = await app.call("build_and_test", {}, local_principal(), "cli")
        finally:
            app.close()
        assert result.outcome is outcome
        if allowed == "true":
            assert result.value["sandboxed"] is False
            assert result.value["network"] is True
        else:
            assert "apt-get install bubblewrap" in (result.error or "")
            assert "tests.unsandboxed" in (result.hint or "")
