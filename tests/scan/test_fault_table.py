"""Every scanner, every way to go wrong: INCOMPLETE each time, never PASS.

Parametrised over the shelf, so a new scanner is held to it without a line here. A fake stands where
the scanner's program stands; the project scanned is what the pass's own control plants.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest

from pilotage import config, shelf
from pilotage.domain.call import Outcome, Report, silent
from pilotage.domain.errors import Unavailable
from pilotage.domain.scan import Coverage, Scan
from pilotage.domain.verdict import Ruling
from pilotage.scan.control import Controls, docker_archive
from pilotage.scan.environment import Environments, Installed
from pilotage.scan.inventory import matching
from pilotage.scan.orchestrate import ScanRequest, Scans
from pilotage.scan.rules import parse_rules
from pilotage.scan.scanner import Parsed, Pass, Raw, Scanner, Unusable

SHELF = shelf.parts("pilotage.scanners", Scanner)
PASSES = [(scanner, each) for scanner in SHELF.values() for each in scanner.passes]
PROGRAMS = [(scanner, each) for scanner, each in PASSES if each.search is None]
FAKE = Path(__file__).parent / "faults" / "fake.py"
PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
LENIENT = b"""
scan_tools: {code: [none]}
risk_level_config:
  critical: {threshold: 9999, action: info}
  high: {threshold: 9999, action: info}
  medium: {threshold: 9999, action: info}
  low: {threshold: 9999, action: info}
"""
FAULTS = (
    "crashing",
    "killed",
    "printing nothing",
    "printing an empty report",
    "printing an error object",
    "printing half a report",
    "printing somebody else's report",
    "crashing after a whole report",
    "killed after a whole report",
)


def _id(value: object) -> str:
    return getattr(value, "name", str(value))


each_pass = pytest.mark.parametrize(("scanner", "each"), PASSES, ids=_id)
each_program = pytest.mark.parametrize(("scanner", "each"), PROGRAMS, ids=_id)


@dataclass(frozen=True)
class House:
    """A project that the pass looks at, and a fake of its program."""

    source: Path
    image: Path | None
    fake: Path

    def turn(self, mode: str) -> None:
        (self.fake / "mode").write_text(mode)


class Faked(Environments):
    """The scanner is installed as ever, then the fake put in the place of its program."""

    def __init__(self, house: House | None, program: tuple[str, ...] = ()) -> None:
        settings = config.read()
        super().__init__(settings.cache, settings.programs)
        self._house, self._program = house, program

    async def ensure(self, scanner: Scanner, report: Report) -> Installed:
        real = await super().ensure(scanner, report)
        if not real.program or self._house is None:
            return replace(real, program=self._program or real.program)
        fake = self._house.fake
        (fake / "real").write_text(json.dumps(real.program))
        reads = (*real.reads, fake, Path(sys.base_prefix))
        return replace(
            real, program=(PYTHON, str(fake / "fake.py")), reads=reads, identity=str(fake)
        )


class Proven(Controls):
    """Controls that hold: the fault has to show in the pass itself."""

    async def prove(self, *_: object, **__: object) -> str:
        return ""


async def scan(
    scanner: Scanner,
    each: Pass,
    house: House,
    environments: Environments,
    controls: Controls | None = None,
    *,
    sandbox: bool = True,
) -> Scan:
    """Scan with this one pass, under rules that no finding breaks."""
    alone = replace(scanner, passes=(each,))
    controls = controls or Proven(config.read().cache)
    scans = Scans({scanner.name: alone}, environments, controls, sandbox=sandbox)
    return await scans.scan(
        ScanRequest(
            house.source,
            house.image,
            types=(each.type,),
            scanners=(scanner.name,),
            rules=parse_rules(LENIENT, "lenient rules"),
        ),
        silent,
    )


@pytest.fixture
def house(each: Pass, tmp_path: Path) -> House:
    return build(each, tmp_path)


def build(each: Pass, tmp_path: Path) -> House:
    source, fake = tmp_path / "source", tmp_path / "fake"
    source.mkdir()
    fake.mkdir()
    shutil.copyfile(FAKE, fake / "fake.py")
    (fake / "exits").write_text(json.dumps(each.exits))
    image = None
    if each.control.image:
        image = tmp_path / "image.tar"
        image.write_bytes(docker_archive(each.control.files))
    else:
        for name, content in each.control.files.items():
            for path in (name, *_more(name, each)):
                (source / path).parent.mkdir(parents=True, exist_ok=True)
                (source / path).write_text(content)
    if each.control.history:
        _commit(source)
    return House(source, image, fake)


def _more(name: str, each: Pass) -> tuple[str, ...]:
    """Other names under which the pass reads the same content."""
    path = PurePosixPath(name)
    names = [
        str(path.with_name(f"{path.stem}2{path.suffix}")),
        f"{name}.second",
        *(f"{folder}/{name}" for folder in ("second", "third")),
    ]
    return matching(each.reads, names)


def _commit(source: Path) -> None:
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "one"), ("rm", "-rq", ".")):
        identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
        subprocess.run(["git", *identity, *words], cwd=source, check=True)


RECORDINGS: dict[str, Path] = {}


async def recording(scanner: Scanner, each: Pass, house: House) -> Path:
    """What the real program leaves behind on this project, run once a session."""
    key = f"{scanner.name}-{each.name}"
    if key not in RECORDINGS:
        house.turn("record")
        good = await scan(scanner, each, house, Faked(house), sandbox=False)
        assert good.verdict.ruling is Ruling.PASS, good.verdict
        assert good.findings, "what is planted was not found"
        RECORDINGS[key] = house.fake / "recorded"
    return RECORDINGS[key]


async def replayed(scanner: Scanner, each: Pass, house: House, mode: str) -> None:
    """Give the fake a recording of a good run, and tell it what to do."""
    recorded = await recording(scanner, each, house)
    if recorded.parent != house.fake:
        shutil.copytree(recorded, house.fake / "recorded")
    (house.fake / "other").write_bytes(b'[{"other": "tool", "path": "@ROOT@/a"}]')
    house.turn(mode)


def incomplete(done: Scan, outcome: Outcome | None = None) -> str:
    """Assert it; the reason."""
    assert done.verdict.ruling is Ruling.INCOMPLETE, done.verdict
    (run,) = done.runs
    assert not run.complete
    if outcome is not None:
        assert run.outcome is outcome, run.why
    assert run.why or run.unread
    print(f"{run.scanner} {run.pass_name}: {run.why} {run.unread[:2]}")
    return run.why


@each_pass
async def test_a_scanner_that_works_passes(scanner: Scanner, each: Pass, house: House) -> None:
    done = await scan(scanner, each, house, Faked(None), Controls(config.read().cache))
    assert done.verdict.ruling is Ruling.PASS, done.verdict
    assert each.control.rule in {finding.rule for finding in done.findings}
    (run,) = done.runs
    assert run.coverage is not Coverage.LISTED or run.read == run.expected


@each_program
async def test_a_missing_program_makes_the_scan_incomplete(
    scanner: Scanner, each: Pass, house: House
) -> None:
    done = await scan(scanner, each, house, Faked(None, ("/nowhere/scanner",)))
    assert "/nowhere/scanner" in incomplete(done, Outcome.UNAVAILABLE)


@each_program
async def test_a_program_of_the_users_that_is_not_there_makes_the_scan_incomplete(
    scanner: Scanner, each: Pass, house: House
) -> None:
    environments = Environments(config.read().cache, {scanner.name: "/nowhere/scanner"})
    done = await scan(scanner, each, house, environments)
    assert "/nowhere/scanner" in incomplete(done, Outcome.UNAVAILABLE)


@each_program
async def test_the_fake_passes_while_it_does_what_the_program_did(
    scanner: Scanner, each: Pass, house: House
) -> None:
    """So what the other tests see is the fault, not the fake."""
    await replayed(scanner, each, house, "replaying a good run")
    done = await scan(scanner, each, house, Faked(house))
    assert done.verdict.ruling is Ruling.PASS, done.verdict
    assert each.control.rule in {finding.rule for finding in done.findings}


@pytest.mark.parametrize("fault", FAULTS)
@each_program
async def test_a_scanner_that_goes_wrong_makes_the_scan_incomplete(
    scanner: Scanner, each: Pass, house: House, fault: str
) -> None:
    await replayed(scanner, each, house, fault)
    incomplete(await scan(scanner, each, house, Faked(house)), Outcome.FAILED)


@each_program
async def test_a_scanner_that_hangs_makes_the_scan_incomplete(
    scanner: Scanner, each: Pass, house: House
) -> None:
    house.turn("hanging")
    done = await scan(scanner, replace(each, seconds=0.5), house, Faked(house))
    assert "longer than" in incomplete(done, Outcome.TIMED_OUT)


@pytest.mark.parametrize(
    ("scanner", "each"), [p for p in PROGRAMS if p[1].coverage is Coverage.LISTED], ids=_id
)
async def test_a_scanner_that_reads_half_its_files_makes_the_scan_incomplete(
    scanner: Scanner, each: Pass, house: House
) -> None:
    house.turn("reading half its files")
    incomplete(await scan(scanner, each, house, Faked(house)))


@pytest.mark.parametrize(  # the fake can blind a folder only
    ("scanner", "each"), [p for p in PROGRAMS if p[1].target == "stage"], ids=_id
)
async def test_a_scanner_that_finds_nothing_any_more_is_found_out_by_its_control(
    scanner: Scanner, each: Pass, house: House, tmp_path: Path
) -> None:
    """Dead rules or a wrong flag: it runs, reads everything, and reports nothing."""
    house.turn("blind")
    done = await scan(scanner, each, house, Faked(house), Controls(tmp_path / "cache"))
    assert "did not find its planted weakness" in incomplete(done, Outcome.FAILED)


async def test_no_parser_takes_another_tools_report_for_its_own(tmp_path: Path) -> None:
    """Each parser is given what each other scanner left behind, with its own log beside it."""
    recorded: dict[str, tuple[Pass, dict[str, bytes]]] = {}
    for scanner, each in PROGRAMS:
        key = f"{scanner.name}-{each.name}"
        place = tmp_path / key
        place.mkdir()
        folder = await recording(scanner, each, build(each, place))
        parts = {name: (folder / name).read_bytes() for name in ("stdout", "stderr", "report")}
        recorded[key] = (each, parts)
    taken = []
    for (mine, (each, own)), (other, (_, parts)) in itertools.product(
        recorded.items(), recorded.items()
    ):
        if mine.partition("-")[0] == other.partition("-")[0]:
            continue
        report = parts["report"] or parts["stdout"]
        reports = {each.report: report} if each.report else {}
        stdout = own["stdout"] if each.report else report
        with_mine = Raw(each.exits[-1], stdout, own["stderr"], reports, "@ROOT@")
        try:
            each.parse(with_mine)
        except Unusable:
            continue
        taken.append(f"{mine} took {other}'s report")
    assert not taken


searches = pytest.mark.parametrize(
    ("scanner", "each"), [p for p in PASSES if p[1].search is not None], ids=_id
)


@searches
@pytest.mark.parametrize("fault", ["missing", "crashing", "hanging", "reading half its files"])
async def test_our_own_code_that_goes_wrong_makes_the_scan_incomplete(
    scanner: Scanner, each: Pass, house: House, fault: str
) -> None:
    async def search(stage: Path, files: tuple[str, ...]) -> Parsed:
        if fault == "missing":
            raise Unavailable("there is nothing to match with")
        if fault == "crashing":
            raise ZeroDivisionError
        if fault == "hanging":
            await asyncio.sleep(600)
        assert each.search is not None
        return await each.search(stage, files[::2])

    wrong = replace(each, search=search, seconds=0.5 if fault == "hanging" else each.seconds)
    outcome = {
        "missing": Outcome.UNAVAILABLE,
        "crashing": Outcome.FAILED,
        "hanging": Outcome.TIMED_OUT,
    }
    incomplete(await scan(scanner, wrong, house, Faked(None)), outcome.get(fault))
