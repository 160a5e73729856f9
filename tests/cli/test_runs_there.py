"""pilotage run and runs at a server: what they say and how they exit is what they do here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotage.app import local_principal
from pipeline.test_command_line import Shell
from server.run_tools import run_app
from server.test_run_events import free_port, server
from waiting import LONG, until

WORK = """
name: work
steps:
- {name: a, tool: work, params: {mark: mark}}
- {name: b, tool: work, params: {mark: mark, end: end}}
- {name: c, tool: work, params: {mark: mark}}
"""


class There:
    """A server that sees `root`, and a command line elsewhere that only knows its address."""

    def __init__(self, folder: Path) -> None:
        self.home, self.root, self.port = folder / "home", folder / "root", free_port()
        self.away = folder / "away"
        self.root.mkdir()
        self.away.mkdir()
        app = run_app(self.home, self.root)
        self.secret = app.keys.create("ci", ("ci",), by=local_principal())[1]
        self.boss = app.keys.create("boss", ("operator",), by=local_principal())[1]
        app.close()

    def env(self, secret: str = "") -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept,
            "PILOTAGE_HOME": str(self.away / "state"),
            "MCP_SERVER_URL": f"http://127.0.0.1:{self.port}",
            "MCP_API_KEY": secret or self.secret,
        }

    def run(self, *words: str, secret: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pilotage.cli.main", *words], cwd=self.away,
            env={**self.env(secret), **env}, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip

    def begin(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pilotage.cli.main", *words], cwd=self.away, env=self.env(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def file(self, text: str) -> str:
        (self.away / "p.yaml").write_text(text)
        return "p.yaml"

    def marks(self) -> list[str]:
        mark = self.root / "mark"
        return mark.read_text().splitlines() if mark.exists() else []


@pytest.fixture
def there(tmp_path: Path) -> Iterator[There]:
    made = There(tmp_path)
    with server(made.home, made.root, made.port):
        yield made


def test_a_run_waits_and_is_approved_from_afar(there: There) -> None:
    waits = "name: g\nsteps:\n- {name: a, tool: gives, params: {answer: {}, outcome: failed}, "
    parked = there.run("run", there.file(waits + "on_failure: manual}\n- {name: b, tool: say}\n"))
    assert parked.returncode == 5, parked.stderr
    (line,) = there.run("runs", "list", "--state", "waiting").stdout.splitlines()
    run = line.split()[0]
    assert f"run {run}: waiting" in parked.stdout
    assert there.run("runs", "approve", run).returncode == 2, "ci may not"
    approved = there.run("runs", "approve", run[:12], "--reason", "known", secret=there.boss)
    assert approved.returncode == 0, approved.stderr
    assert f"run {run}: succeeded" in approved.stdout
    logs = there.run("runs", "logs", run).stdout
    assert "approved a by key:boss: known" in logs
    events = [json.loads(one) for one in there.run("runs", "events", run).stdout.splitlines()]
    assert [one["seq"] for one in events] == list(range(len(events)))
    tail = there.run("runs", "events", run, "--after", str(events[-2]["seq"])).stdout
    assert [json.loads(tail)] == events[-1:]
    assert json.loads(there.run("runs", "show", run, "--json").stdout)["results"]["b"]
    assert there.run("runs", "cancel", run).returncode == 2, "it has ended"
    assert not (there.away / "state" / "pilotage.db").exists(), "nothing fell back to here"


def test_a_failure_a_bad_file_and_a_run_that_is_not_there(there: There) -> None:
    failed = there.run(
        "run",
        there.file(
            "name: f\nsteps:\n- {name: a, tool: gives, params: {answer: {}, outcome: failed}}"
        ),
    )
    assert failed.returncode == 1
    bad = there.run("run", there.file("name: f\nsteps:\n- {name: a, tool: say, params: {x: 1}}\n"))
    assert bad.returncode == 2
    assert "p.yaml:3:" in bad.stderr, "the server's words, with the places of the file"
    nowhere = there.run("run", there.file("name: f\nsteps:\n- {name: a, tool: nowhere}\n"))
    assert nowhere.returncode == 2
    assert "there is no tool 'nowhere' here" in nowhere.stderr
    assert there.run("runs", "show", "0" * 26).returncode == 2
    assert there.run("run", "p.yaml", "--root", "/").returncode == 2


def test_a_wrong_address_and_a_missing_key_are_said_plainly(there: There) -> None:
    here = f"127.0.0.1:{there.port}"
    assert there.run("tools", "list", MCP_SERVER_URL=f"http://{here}/mcp").returncode == 0
    for env, exit_code, said in (
        ({"MCP_API_KEY": ""}, 2, "hint:  set MCP_API_KEY"),
        ({"MCP_SERVER_URL": f"https://{here}"}, 3, "it does not speak TLS"),
        ({"MCP_SERVER_URL": "http://127.0.0.1:1"}, 3, "cannot be used: Connection refused\n"),
    ):
        done = there.run("tools", "list", **env)
        assert (done.returncode, said in done.stderr) == (exit_code, True), done.stderr


def test_the_same_key_is_the_same_run(there: There) -> None:
    talk = there.file("name: t\ninputs: {w: {default: x}}\nsteps:\n- {name: a, tool: say}\n")
    first, again = (there.run("run", talk, "--key", "build-7") for _ in range(2))
    assert first.returncode == again.returncode == 0
    assert len(there.run("runs", "list").stdout.splitlines()) == 1
    other = there.run("run", talk, "--key", "build-7", "--input", "w=y")
    assert other.returncode == 2
    assert "with other inputs" in other.stderr


async def test_interrupted_it_leaves_the_run_and_says_how_to_go_on(there: There) -> None:
    process = there.begin("run", there.file(WORK))
    await until(lambda: "begin b" in there.marks())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=LONG)
    assert process.returncode == 130
    found = re.search(r"run (\w{26}) goes on at the server", said)
    assert found is not None, said
    assert f"pilotage runs logs {found[1]} --follow" in said
    following = there.begin("runs", "logs", found[1], "--follow")
    (there.root / "end").touch()
    logs, _ = following.communicate(timeout=LONG)
    assert logs.splitlines()[-1].endswith("run succeeded")
    assert there.marks().count("end c") == 1


async def test_a_run_is_cancelled_from_afar(there: There) -> None:
    process = there.begin("run", there.file(WORK))
    await until(lambda: "begin b" in there.marks())
    run = there.run("runs", "list").stdout.split()[0]
    assert (
        there.run("runs", "cancel", run, "--reason", "enough").stdout == f"run {run}: cancelled\n"
    )
    out, _ = process.communicate(timeout=LONG)
    assert process.returncode == 1
    assert f"run {run}: cancelled" in out


def test_files_are_listed_and_fetched(there: There) -> None:
    (there.root / "report.txt").write_text("all is well")
    files = "[{name: out/report.txt, file_path: report.txt}, {name: lost, file_path: gone}, "
    files += "{name: ../../up, file_path: report.txt}]"
    step = f"- {{name: a, tool: gives, params: {{answer: {{artifacts: {files}}}}}}}\n"
    assert there.run("run", there.file("name: f\nsteps:\n" + step)).returncode == 0
    run = there.run("runs", "list").stdout.split()[0]
    listed = there.run("runs", "artifacts", run)
    assert listed.stdout.splitlines()[0] == "a/out/report.txt  11 bytes"
    assert "a/lost  gone: lost is not there any more" in listed.stdout
    one = ("--output", "got", "--name", "a/out/report.txt")
    assert there.run("runs", "artifacts", run, *one).returncode == 0
    assert (there.away / "got/a/out/report.txt").read_text() == "all is well"
    assert there.run("runs", "artifacts", run, *one[:3], "a/lost").returncode == 3
    assert there.run("runs", "artifacts", run, *one[:3], "a/../../up").returncode == 2
    assert not (there.away / "up").exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_server_that_is_started_anew_breaks_no_run_and_no_line_comes_twice(
    tmp_path: Path, how: signal.Signals
) -> None:
    there = There(tmp_path)
    with server(there.home, there.root, there.port) as first:
        process = there.begin("run", there.file(WORK))
        await until(lambda: "begin b" in there.marks())
        if how is signal.SIGTERM:  # asked to stop, it waits for the step that runs
            (there.root / "end").touch()
        first.send_signal(how)
        first.wait(LONG)
    (there.root / "end").touch()
    with server(there.home, there.root, there.port):
        out, said = process.communicate(timeout=LONG)
    assert process.returncode == 0, said
    assert re.search(r"run \w{26}: succeeded", out)
    told = [line.split("] ")[-1] for line in said.splitlines()]
    assert sum(line.startswith("succeeded a") for line in told) == 1
    assert sum(line.startswith("succeeded c") for line in told) == 1
    assert there.marks().count("end a") == there.marks().count("end c") == 1


def test_it_says_and_exits_as_it_does_here(tmp_path: Path) -> None:
    """One pipeline, here and at `pilotage serve`: the same table, the same codes."""
    shell, port = Shell(tmp_path), free_port()
    key = shell.run("keys", "create", "me", "--role", "operator").stdout.strip()
    (tmp_path / "good" / "fine.py").write_text('"""Nothing to find."""\n')
    served = ("serve", "--port", str(port), "--root", str(tmp_path))
    with subprocess.Popen(
        shell.words(*served), cwd=tmp_path, env=shell.env, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            while "http" not in (line := process.stdout.readline()):
                assert line
            afar = {"MCP_SERVER_URL": f"http://127.0.0.1:{port}", "MCP_API_KEY": key}
            for given in ("where=good", "where=missing"):
                here = shell.run("run", "p.yaml", "--input", given)
                away = shell.run("run", "p.yaml", "--input", given, **afar)
                assert away.returncode == here.returncode == {"good": 0}.get(given[6:], 5)
                assert _alike(away.stdout) == _alike(here.stdout)
            listed = [shell.run("runs", "list", **env).stdout for env in ({}, afar)]
            assert listed[0] == listed[1]
            run = listed[0].split()[0]
            for words in (("show", run), ("logs", run), ("events", run)):
                told = [shell.run("runs", *words, **env).stdout for env in ({}, afar)]
                assert told[0] == told[1], words
        finally:
            process.terminate()
            process.wait(LONG)


def _alike(text: str) -> str:
    """Without ids and durations."""
    return re.sub(r"\d+\.\d s", "T", re.sub(r"\b[0-9A-Z]{26}\b", "RUN", text))
