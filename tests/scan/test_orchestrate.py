"""A whole scan with real scanners: what is told, what is kept apart, and how it is cancelled."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pilotage import config, shelf
from pilotage.domain.call import Outcome, Progress, silent
from pilotage.domain.errors import BadInput
from pilotage.domain.finding import ScanType
from pilotage.domain.verdict import Ruling
from pilotage.process.sandbox import unusable
from pilotage.scan.control import Controls, docker_archive
from pilotage.scan.environment import Environments, Installed
from pilotage.scan.orchestrate import ScanRequest, Scans
from pilotage.scan.rules import parse_rules
from pilotage.scan.scanner import Scanner
from pilotage.scan.slots import Slots
from waiting import LONG

SHELF = shelf.parts("pilotage.scanners", Scanner)
CODE = (ScanType.CODE,)
KEY = "aws_key = AKIA" + "Q3EGRJZX6WVTNP2K\n"


def scans(*names: str) -> Scans:
    settings = config.read()
    chosen = {name: SHELF[name] for name in names}
    environments = Environments(settings.cache, settings.programs)
    return Scans(chosen, environments, Controls(settings.cache))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text("import os\n\nos.system(input())\n")
    return folder


async def test_two_scanners_that_see_the_same_are_one_finding(project: Path) -> None:
    request = ScanRequest(project, scanners=("bandit", "ruff"))
    scan = await scans("bandit", "ruff").scan(request)
    (finding,) = scan.findings
    assert {finding.scanner, *finding.also} == {"bandit", "ruff"}
    assert finding.fingerprint
    assert scan.verdict.ruling is Ruling.FAIL
    assert scan.counts == {finding.severity: 1}
    assert scan.target == str(project)


async def test_names_are_reported_as_the_project_has_them(project: Path) -> None:
    odd = project / "lib" / "evil\n\x1b[31m.py"
    odd.parent.mkdir()
    (project / "app.py").rename(odd)
    scan = await scans("bandit").scan(ScanRequest(project, scanners=("bandit",)))
    paths = {finding.location.path for finding in scan.findings}
    assert paths == {"lib/evil\\n\\x1b[31m.py"}
    assert scan.inventory.files == ("lib/evil\\n\\x1b[31m.py",)


async def test_the_content_key_names_what_was_scanned_and_how(project: Path) -> None:
    engine = scans("bandit", "ruff")
    request = ScanRequest(project, scanners=("bandit",))
    first, again = [await engine.scan(request) for _ in range(2)]
    assert first.content_key == again.content_key
    assert first.id != again.id
    other = await engine.scan(replace(request, scanners=("ruff",)))
    (project / "app.py").write_text("import os\n")
    changed = await engine.scan(request)
    assert len({first.content_key, other.content_key, changed.content_key}) == 3


async def test_what_is_not_configured_is_unavailable_and_the_scan_incomplete(
    project: Path,
) -> None:
    text = b"""
scan_tools: {code: [sonarqube, bandit]}
risk_level_config:
  critical: {threshold: 9, action: fail}
  high: {threshold: 9, action: fail}
  medium: {threshold: 9, action: warn}
  low: {threshold: 9, action: info}
"""
    scan = await scans("bandit").scan(ScanRequest(project, rules=parse_rules(text, "own.yaml")))
    gone, ran = scan.runs
    assert (gone.scanner, gone.outcome) == ("sonarqube", Outcome.UNAVAILABLE)
    assert ran.complete
    assert scan.verdict.ruling is Ruling.INCOMPLETE
    assert "optional: [sonarqube]" in scan.verdict.reasons[0].hint


async def test_a_scanner_that_cannot_be_installed_does_not_stop_the_others(
    project: Path, tmp_path: Path
) -> None:
    settings = config.read()
    engine = scans("bandit", "ruff")
    engine.environments = Environments(settings.cache, {"ruff": "/nowhere/ruff"})
    scan = await engine.scan(ScanRequest(project, scanners=("bandit", "ruff")))
    outcomes = {run.scanner: run.outcome for run in scan.runs}
    assert outcomes == {"bandit": Outcome.SUCCEEDED, "ruff": Outcome.UNAVAILABLE}
    assert any(reason.ruling is Ruling.INCOMPLETE for reason in scan.verdict.reasons)


async def test_a_bug_of_a_scanner_file_is_a_failed_run(project: Path) -> None:
    class Broken(Environments):
        async def ensure(self, *_: object) -> Installed:
            raise RuntimeError("a bug")

    engine = scans("bandit")
    engine.environments = Broken(config.read().cache)
    scan = await engine.scan(ScanRequest(project, scanners=("bandit",)))
    assert not scan.runs[0].complete
    assert "a bug" in scan.runs[0].why
    assert scan.verdict.ruling is Ruling.INCOMPLETE


async def test_news_name_what_runs_what_is_done_and_what_was_found(project: Path) -> None:
    heard: list[Progress] = []
    await scans("bandit", "ruff").scan(
        ScanRequest(project, scanners=("bandit", "ruff")), heard.append
    )
    lines = [news.message for news in heard]
    assert "bandit code: runs" in lines
    assert any(line.startswith("bandit code: ") and "1 finding" in line for line in lines)
    assert (heard[-1].done, heard[-1].total) == (2, 2)


async def test_a_cancelled_scan_kills_every_program(project: Path, tmp_path: Path) -> None:
    mark = f"sleep-{os.getpid()}-{time.monotonic_ns()}"
    program = tmp_path / "slow"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo 1.0 && exit\n'
        f'setsid sh -c "exec -a {mark} sleep 60" &\nsleep 60\n'
    )
    program.chmod(0o755)
    settings = config.read()
    environments = Environments(settings.cache, {"bandit": str(program)})
    engine = Scans({"bandit": SHELF["bandit"]}, environments, Controls(tmp_path), sandbox=False)
    task = asyncio.create_task(engine.scan(ScanRequest(project, scanners=("bandit",))))
    while not _running(str(program)):
        assert not task.done()
        await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _running(str(program))
    assert not _running(mark)


def _running(word: str) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if word in line:
                found.append(line)
    return found


async def test_an_image_archive_is_looked_at_without_a_project(tmp_path: Path) -> None:
    image = tmp_path / "image.tar"
    image.write_bytes(docker_archive({"app/settings.ini": KEY}))
    request = ScanRequest(image=image, types=(ScanType.CONTAINER,), scanners=("trivy",))
    scan = await scans("trivy").scan(request)
    assert [run.pass_name for run in scan.runs] == ["image"]
    assert scan.runs[0].complete
    assert any("settings.ini" in finding.location.path for finding in scan.findings)


async def test_an_image_in_a_registry_is_unavailable(project: Path) -> None:
    request = ScanRequest(
        reference="nginx:latest", types=(ScanType.CONTAINER,), scanners=("trivy",)
    )
    scan = await scans("trivy").scan(request)
    assert [run.outcome for run in scan.runs] == [Outcome.UNAVAILABLE]
    assert "docker save" in scan.runs[0].why
    assert scan.verdict.ruling is Ruling.INCOMPLETE


async def test_a_path_that_is_no_folder_and_an_image_that_is_none_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(BadInput):
        await scans("bandit").scan(ScanRequest(tmp_path / "absent"))
    (tmp_path / "x.tar").write_text("no tar")
    with pytest.raises(BadInput):
        await scans("trivy").scan(ScanRequest(image=tmp_path / "x.tar", scanners=("trivy",)))


async def test_a_proof_is_kept_and_a_check_runs_afresh(project: Path, tmp_path: Path) -> None:
    settings = config.read()
    environments = Environments(settings.cache, settings.programs)
    engine = Scans({"ruff": SHELF["ruff"]}, environments, Controls(tmp_path))
    assert await engine.check(SHELF["ruff"], silent) == {"code": ""}
    proofs = list((tmp_path / "controls").iterdir())
    assert len(proofs) == 1
    wrong = replace(SHELF["ruff"].passes[0].control, rule="S999")
    dead = replace(SHELF["ruff"], passes=(replace(SHELF["ruff"].passes[0], control=wrong),))
    said = await engine.check(dead, silent)
    assert "did not find its planted weakness (S999)" in said["code"]
    assert list((tmp_path / "controls").iterdir()) == proofs, "a failed control was kept"


async def test_slots_keep_order_cores_and_memory() -> None:
    slots = Slots(cores=2, memory=10)
    running: list[int] = []
    most: list[int] = []
    order: list[int] = []

    async def work(name: int, memory: int) -> None:
        async with slots.one(memory):
            order.append(name)
            running.append(memory)
            most.append(sum(running))
            assert len(running) <= 2
            assert sum(running) <= 10 or len(running) == 1
            await asyncio.sleep(0.01)
            running.remove(memory)

    await asyncio.gather(*(work(n, m) for n, m in enumerate([6, 6, 3, 99, 1, 1])))
    assert order == list(range(6))
    assert max(most) == 99, "one that wants more than there is runs alone"


async def test_a_cancelled_wait_gives_its_place_back() -> None:
    slots = Slots(cores=1, memory=10)
    async with slots.one(1):
        waits = asyncio.create_task(slots.one(1).__aenter__())
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
    async with asyncio.timeout(LONG), slots.one(1):
        pass


async def test_a_scan_without_a_sandbox_says_so(project: Path) -> None:
    settings = config.read()
    environments = Environments(settings.cache, settings.programs)
    engine = Scans({"ruff": SHELF["ruff"]}, environments, Controls(settings.cache), sandbox=False)
    scan = await engine.scan(ScanRequest(project, scanners=("ruff",)))
    assert scan.runs[0].complete
    assert any("without a sandbox" in note for note in scan.notes)


@pytest.mark.skipif(bool(unusable()), reason="no sandbox here")
async def test_a_program_of_the_users_own_runs_in_the_sandbox(project: Path) -> None:
    settings = config.read()
    made = await Environments(settings.cache).ensure(SHELF["bandit"], silent)
    environments = Environments(settings.cache, {"bandit": made.program[0]})
    engine = Scans({"bandit": SHELF["bandit"]}, environments, Controls(settings.cache))
    scan = await engine.scan(ScanRequest(project, scanners=("bandit",)))
    assert scan.runs[0].complete, scan.runs[0].why
    assert not any("sandbox" in note for note in scan.notes)
