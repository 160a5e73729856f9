"""pilotage lint, plan, run, runs: as a user runs them, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.test_lint import appendix_d
from waiting import LONG

CHECKER = """
name: quality
inputs:
  where: {default: good}
steps:
  - name: quality
    tool: code_quality_checker
    params: {source_path: "${{ inputs.where }}"}
    on_failure: manual
  - name: again
    tool: code_quality_checker
    params: {source_path: good}
    depends_on: [quality]
"""


class Shell:
    """A folder with a pipeline and something to look at, and a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "p.yaml").write_text(CHECKER)
        (folder / "good").mkdir()
        (folder / "good" / "notes.txt").write_text("nothing to judge here\n")
        kept = ("PATH", "HOME", "LANG")
        self.env = {name: os.environ[name] for name in kept if name in os.environ}
        self.env["PILOTAGE_HOME"] = str(folder / "state")

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pilotage.cli.main", *words]

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*words), cwd=self.folder, env={**self.env, **env}, capture_output=True,
            text=True, timeout=120, check=False,
        )  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_the_articles_pipeline_lints_and_plans_and_is_refused_in_run(shell: Shell) -> None:
    (shell.folder / "d.yaml").write_text(appendix_d(), "utf-8")
    lint = shell.run("lint", "d.yaml")
    assert lint.returncode == 0
    assert "there is no tool 'integration_tester' here" in lint.stdout
    assert "k8s_deployer" not in lint.stdout, "it is here, and takes what the article sends it"
    plan = shell.run("plan", "d.yaml")
    assert plan.returncode == 0
    assert "6. deploy-to-production" in plan.stdout
    run = shell.run("run", "d.yaml")
    assert run.returncode == 2
    assert "tools that are not here: " in run.stderr
    assert "integration_tester" in run.stderr
    assert shell.run("runs", "list").stdout == ""


def test_lint_names_each_error_and_touches_no_state(shell: Shell) -> None:
    (shell.folder / "bad.yaml").write_text("name: p\nsteps:\n- {name: a, tol: x}\n")
    lint = shell.run("lint", "bad.yaml")
    assert lint.returncode == 2
    assert lint.stdout.startswith("bad.yaml:3:13: error: unknown key 'tol' (did you mean tool?)")
    assert not (shell.folder / "state").exists()
    assert shell.run("lint", "none.yaml").returncode == 2


def test_a_plan_is_drawn(shell: Shell) -> None:
    drawn = shell.run("plan", "p.yaml", "--format", "mermaid").stdout
    assert drawn.splitlines()[0] == "flowchart TD"
    assert "  s0 --> s1" in drawn
    told = json.loads(shell.run("plan", "p.yaml", "--format", "json").stdout)
    assert told["waves"] == [["quality"], ["again"]]


def test_a_run_waits_for_a_person_and_goes_on_in_another_process(shell: Shell) -> None:
    parked = shell.run("run", "p.yaml", "--input", "where=missing")
    assert parked.returncode == 5, parked.stderr
    assert "pilotage runs approve" in parked.stdout
    (line,) = shell.run("runs", "list").stdout.splitlines()
    run = line.split()[0]
    assert line.split()[1] == "waiting"
    shown = shell.run("runs", "show", run[:12])
    assert "waiting" in shown.stdout
    approved = shell.run("runs", "approve", run, "--reason", "known")
    logs = shell.run("runs", "logs", run).stdout
    assert "approved quality by" in logs
    assert ": known" in logs
    again = json.loads(shell.run("runs", "show", run, "--json").stdout)
    assert next(step["name"] for step in again["steps"] if step["well"]) == "quality"
    assert approved.returncode == {True: 0, False: 1}[again["success"]]
    assert shell.run("runs", "approve", run).returncode == 2


def test_a_step_that_is_denied_shows_its_mend_until_a_person_has_decided(shell: Shell) -> None:
    mend = f"hint for quality: allowed: {shell.folder.resolve()}; where it is started, --root DIR"
    parked = shell.run("run", "p.yaml", "--input", "where=/")
    assert parked.returncode == 5, parked.stderr
    assert mend in parked.stdout
    run = shell.run("runs", "list").stdout.split()[0]
    assert mend in shell.run("runs", "show", run).stdout
    logs = shell.run("runs", "logs", run).stdout
    assert "since it was denied: " in logs
    assert "--root DIR" in next(line for line in logs.splitlines() if "denied quality" in line)
    assert "hint for" not in shell.run("runs", "approve", run).stdout


def test_what_is_typed_is_relative_to_the_working_folder_whatever_the_roots(shell: Shell) -> None:
    (shell.folder / "one.yaml").write_text(CHECKER.split("  - name: again")[0])
    done = shell.run("run", "one.yaml", "--root", "good", "--input", "where=./good")
    assert "lies outside" not in done.stdout + done.stderr
    words = ("--root", "good", "--arg", "source_path=good")
    called = shell.run("call", "code_quality_checker", *words)
    assert "lies outside" not in called.stdout
    denied = shell.run("call", "code_quality_checker", "--root", "good", "--arg", "source_path=.")
    assert f"{shell.folder.resolve()} lies outside" in denied.stdout + denied.stderr


def test_the_same_key_answers_again_without_running_again(shell: Shell) -> None:
    first = shell.run("run", "p.yaml", "--key", "k", "--input", "where=missing")
    again = shell.run("run", "p.yaml", "--key", "k", "--input", "where=missing")
    assert (first.returncode, again.returncode) == (5, 5)
    assert len(shell.run("runs", "list").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--input", "nowhere"), "is not K=V"),
        (("--input", "who=x"), "has no input 'who'"),
        (("--platform", "moon"), "no platform 'moon'"),
    ],
)
def test_a_wrong_word_is_said_and_nothing_runs(
    shell: Shell, words: tuple[str, ...], said: str
) -> None:
    done = shell.run("run", "p.yaml", *words)
    assert done.returncode in (1, 2)
    assert said in done.stderr + done.stdout
    assert shell.run("runs", "list").stdout == ""


def test_an_interrupt_ends_the_run(shell: Shell) -> None:
    (shell.folder / "slow.yaml").write_text(
        "name: slow\nsteps:\n"
        "- {name: a, tool: code_quality_checker, params: {source_path: nothing},"
        " retry_count: 9, retry_delay: 60}\n"
    )
    process = subprocess.Popen(
        shell.words("run", "slow.yaml"), cwd=shell.folder, env=shell.env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    while "failed a after" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LONG)
    assert ": cancelled" in out
    assert process.returncode == 1
    assert "cancelled" in shell.run("runs", "list").stdout


def test_a_run_that_was_killed_is_told_of_and_goes_on(shell: Shell) -> None:
    file = shell.folder / "slow.yaml"
    file.write_text(
        "name: slow\nsteps:\n"
        "- {name: a, tool: code_quality_checker, params: {source_path: nothing},"
        " retry_count: 1, retry_delay: 8, on_failure: continue}\n"
        "- {name: b, tool: scan_findings, params: {scan_id: none}, on_failure: continue}\n"
    )
    process = subprocess.Popen(
        shell.words("run", "slow.yaml"), cwd=shell.folder, env=shell.env,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    while "failed a after" not in (line := process.stderr.readline()):
        assert line
    process.kill()
    process.wait()
    process.stderr.close()
    (line,) = shell.run("runs", "list").stdout.splitlines()
    run = line.split()[0]
    assert line.split()[1] == "running"
    assert f"pilotage runs resume {run}" in shell.run("runs", "show", run).stdout
    again = shell.run("run", "p.yaml")
    assert "was cut off" not in again.stderr
    file.write_text(file.read_text().replace("retry_count: 1, retry_delay: 8, ", ""))
    again = shell.run("run", "slow.yaml")
    assert f"a run of this pipeline was cut off: pilotage runs resume {run}" in again.stderr
    resumed = shell.run("runs", "resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert "code_quality_checker  failed (2 attempts)" in resumed.stdout
