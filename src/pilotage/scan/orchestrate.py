"""A scan: stage, inventory, choice, all chosen passes side by side, and one verdict on it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pilotage.domain.call import Outcome, Progress, Report, silent
from pilotage.domain.errors import PilotageError, Unavailable
from pilotage.domain.finding import ScanType
from pilotage.domain.ids import new_id
from pilotage.domain.scan import Choice, Inventory, Scan, ScannerRun, Unread
from pilotage.domain.text import visible
from pilotage.process.sandbox import unusable
from pilotage.scan.choose import LANGUAGES, choose, unavailable, unlooked, unlooked_notes
from pilotage.scan.control import Controls, definition
from pilotage.scan.environment import Environments, Installed
from pilotage.scan.gate import judge
from pilotage.scan.history import History, bare_history
from pilotage.scan.image import Image, open_image
from pilotage.scan.inventory import inventory
from pilotage.scan.merge import merge
from pilotage.scan.registry import pull
from pilotage.scan.rules import Rules, load_rules
from pilotage.scan.run_pass import Ground, run_pass
from pilotage.scan.scanner import Pass, Scanner
from pilotage.scan.slots import Slots
from pilotage.scan.stage import Stage, stage
from pilotage.scan.watch import Watch

KEPT, KEPT_OF_ALL = 8, 64
"""Scans of one principal, and of all, that a process remembers, so that their findings can be paged
through."""

NO_REGISTRY = (
    "the image is in a registry, and scans may not use the network (save it first: docker save "
    "IMAGE -o image.tar; or set scan.network: true to let scans fetch images)"
)


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What to scan. Empty `types` and `scanners`: what the profile says. `image` is an archive or a
    layout here; `reference` names one in a registry, unavailable where there is no network for it.
    `source` None: nothing but the image. `rules` None: ours."""

    source: Path | None = None
    image: Path | None = None
    reference: str = ""
    profile: str = "default"
    types: tuple[ScanType, ...] = ()
    scanners: tuple[str, ...] = ()
    rules: Rules | None = None


class Scans:
    """Runs scans with these scanners. `sandbox`: use bubblewrap where it works (a scan without it
    says so). `network`: an image may be fetched from its registry; scanners never have a network.
    """

    def __init__(
        self,
        scanners: Mapping[str, Scanner],
        environments: Environments,
        controls: Controls,
        *,
        sandbox: bool = True,
        network: bool = False,
    ) -> None:
        self.scanners, self.environments, self.controls = scanners, environments, controls
        self._network = network
        self._no_sandbox: str | None = None if sandbox else "it was switched off"
        self._kept: dict[tuple[str, str], Scan] = {}

    async def scan(self, request: ScanRequest, report: Report = silent, by: str = "") -> Scan:
        """Scan to a verdict. Raises BadInput for a request that names what is not there.

        Cancelling the task kills every program first. `by` may page through it later.
        """
        began, started = time.monotonic(), _now()
        rules = request.rules or load_rules()
        async with AsyncExitStack() as stack:
            work = Path(stack.enter_context(TemporaryDirectory(prefix="pilotage-scan-")))
            staged = await stack.enter_async_context(_staged(request, work, report))
            whole = await asyncio.to_thread(inventory, staged)
            choices = choose(
                self.scanners,
                rules,
                whole,
                profile=request.profile,
                types=request.types,
                only=request.scanners,
                image=_image_name(request) or None,
            )
            looked = await self._look(request, choices, staged, work, report)
            if not request.types and not request.scanners:
                looked.blind = unlooked(self.scanners, whole, choices)
            scan = await asyncio.to_thread(_told, request, rules, choices, whole, staged, looked)
        scan = replace(
            scan,
            started=started,
            seconds=round(time.monotonic() - began, 3),
        )
        self._keep(scan, by)
        return scan

    def kept(self, scan_id: str, by: str) -> Scan | None:
        """A scan that `by` had made here not long ago."""
        return self._kept.get((by, scan_id))

    def mine(self, by: str) -> list[Scan]:
        """The scans of `by` that are kept, the newest first."""
        return [scan for (who, _), scan in reversed(self._kept.items()) if who == by]

    async def no_sandbox(self) -> str:
        """Why scanners run without bubblewrap here, else ""."""
        if self._no_sandbox is None:
            self._no_sandbox = await asyncio.to_thread(unusable)
        return self._no_sandbox

    async def check(self, scanner: Scanner, report: Report) -> dict[str, str]:
        """Each pass's positive control, run now: "" where it works, else why it does not."""
        installed = await self.environments.ensure(scanner, report)
        sandboxed = not await self.no_sandbox()
        wrong = {}
        for each in scanner.passes:
            report(Progress(f"{scanner.name} {each.name}: looking for its planted weakness"))
            wrong[each.name] = await self.controls.prove(
                scanner, each, installed, sandboxed=sandboxed, fresh=True
            )
        return wrong

    async def _look(
        self,
        request: ScanRequest,
        choices: Sequence[Choice],
        staged: Stage,
        work: Path,
        report: Report,
    ) -> _Looked:
        """Run every chosen pass; the order of the runs is that of the choices."""
        chosen = [choice for choice in choices if choice.chosen]
        passes = {choice: self._pass(choice) for choice in chosen}
        targets = {each.target for each in passes.values() if each is not None}
        looked = _Looked()
        ground = await self._ground(request, targets, staged, work, looked, report)
        with Watch(report, sum(each is not None for each in passes.values())) as watch:
            async with asyncio.TaskGroup() as group:
                names = {choice.scanner for choice, each in passes.items() if each is not None}
                installs = {
                    name: group.create_task(self._install(self.scanners[name], watch))
                    for name in sorted(names)
                }
                work_of = _Work(self, ground, installs, watch, looked)
                tasks = {
                    choice: group.create_task(work_of.run(choice, each))
                    for choice, each in sorted(passes.items(), key=_longest_first)
                }
        looked.runs = [tasks[choice].result() for choice in chosen]
        return looked

    async def _ground(
        self,
        request: ScanRequest,
        targets: Collection[str],
        staged: Stage,
        work: Path,
        looked: _Looked,
        report: Report,
    ) -> Ground:
        """Make ready what the passes look at beside the stage: the history, the image."""
        if "history" in targets and request.source is not None:
            report(Progress("cloning the history"))
            looked.history = await bare_history(request.source, work)
        into = work / "image"
        into.mkdir()
        if request.image is not None:
            looked.image = await open_image(request.image, into)
        elif request.reference and self._network:
            report(Progress(f"fetching the image {visible(request.reference)}"))
            try:
                looked.image = await pull(request.reference, into)
            except Unavailable as error:
                looked.no_image = str(error)
        if why := await self.no_sandbox():
            looked.notes.append(f"scanners ran without a sandbox, with their offline flags: {why}")
        history = looked.history or History(None, why="there is no git history here")
        image = looked.image.path if looked.image else None
        return Ground(staged.path, staged.files, history.path, history.why, image, not why)

    def _pass(self, choice: Choice) -> Pass | None:
        """The chosen pass; None for a scanner that is not on the shelf."""
        if not choice.pass_name or choice.scanner not in self.scanners:
            return None
        return next(
            each
            for each in self.scanners[choice.scanner].passes
            if (each.name, each.type) == (choice.pass_name, choice.type)
        )

    async def _install(self, scanner: Scanner, watch: Watch) -> Installed | PilotageError:
        """A failed installation is a value: the scanner's runs tell it, the others go on."""
        try:
            return await self.environments.ensure(scanner, watch.report)
        except PilotageError as error:
            return error
        except Exception as error:
            return PilotageError(f"it could not be installed: {type(error).__name__}: {error}")

    def _keep(self, scan: Scan, by: str) -> None:
        """One that scans a lot pushes out its own scans, not those of others."""
        self._kept[by, scan.id] = scan
        for old in self.mine(by)[KEPT:]:
            del self._kept[by, old.id]
        while len(self._kept) > KEPT_OF_ALL:
            del self._kept[next(iter(self._kept))]


@dataclass(slots=True)
class _Looked:
    """What running the passes gave, as it comes. `keys` name what each run was made with."""

    runs: list[ScannerRun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    history: History | None = None
    image: Image | None = None
    no_image: str = NO_REGISTRY
    keys: list[str] = field(default_factory=list)
    blind: dict[str, tuple[str, ...]] = field(default_factory=dict)


class _Work:
    """Runs one choice: wait for its installation and a free slot, prove it, run it."""

    def __init__(
        self,
        scans: Scans,
        ground: Ground,
        installs: Mapping[str, asyncio.Task[Installed | PilotageError]],
        watch: Watch,
        looked: _Looked,
    ) -> None:
        self._scans, self._ground, self._installs = scans, ground, installs
        self._watch, self._looked = watch, looked
        self._slots = Slots()

    async def run(self, choice: Choice, each: Pass | None) -> ScannerRun:
        """Never raises but for a cancellation."""
        if each is None:
            return unavailable(choice)
        installed = await self._installs[choice.scanner]
        async with self._slots.one(each.memory):
            try:
                run = await self._run(choice, each, installed)
            except Exception as error:
                why = f"it could not be run: {type(error).__name__}: {error}"
                run = replace(unavailable(choice), outcome=Outcome.FAILED, why=visible(why))
            self._watch.done(run)
        return replace(run, required=choice.required)

    async def _run(
        self, choice: Choice, each: Pass, installed: Installed | PilotageError
    ) -> ScannerRun:
        if each.target == "image" and self._ground.image is None:
            return replace(unavailable(choice), why=self._looked.no_image)
        if isinstance(installed, PilotageError):
            return replace(unavailable(choice), why=visible(str(installed)))
        scanner = self._scans.scanners[choice.scanner]
        made_with = (scanner.name, each.name, installed.identity, definition(each))
        self._looked.keys.append(" ".join(made_with))
        self._watch.started(scanner.name, each.name)
        wrong = await self._scans.controls.prove(
            scanner, each, installed, sandboxed=self._ground.sandboxed, fresh=False
        )
        if wrong:
            failed = replace(unavailable(choice), outcome=Outcome.FAILED, why=wrong)
            return replace(failed, version=installed.version, coverage=each.coverage)
        return await run_pass(scanner, each, installed, self._ground)


def _told(
    request: ScanRequest,
    rules: Rules,
    choices: tuple[Choice, ...],
    whole: Inventory,
    staged: Stage,
    looked: _Looked,
) -> Scan:
    """Everything that was seen, under the names of the project itself, and the verdict on it."""
    runs = tuple(staged.restore(run) for run in looked.runs)
    findings = merge(runs, rules, staged.suppressions, staged.lines)
    history = looked.history.notes if looked.history else ()
    untaken = (*staged.unread, *(looked.history.unread if looked.history else ()))
    strange = {kind: files for kind, files in looked.blind.items() if kind in LANGUAGES}
    notes = unlooked_notes(looked.blind, whole)
    return Scan(
        id=new_id(),
        target=_target(request),
        started="",
        seconds=0.0,
        profile=request.profile,
        policy=rules.name,
        content_key=_content_key(request, rules, staged, looked),
        inventory=_renamed(whole, staged),
        choices=choices,
        runs=runs,
        findings=findings,
        suppressions=staged.suppressions,
        unread=(*untaken, *_unread(runs)),
        verdict=judge(rules, choices, runs, findings, untaken, strange),
        notes=(*staged.notes, *history, *looked.notes, *_remarks(runs), *notes),
        counts=Counter(f.severity for f in findings if f.suppressed is None),
    )


def _content_key(request: ScanRequest, rules: Rules, staged: Stage, looked: _Looked) -> str:
    parts = {
        "tree": staged.digest,
        "image": looked.image.digest if looked.image else request.reference,
        "commits": looked.history.commits if looked.history else 0,
        "rules": rules.digest,
        "profile": request.profile,
        "types": sorted(request.types),
        "scanners": sorted(request.scanners),
        "passes": sorted(looked.keys),
        "data": sorted(run.version for run in looked.runs),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _renamed(whole: Inventory, staged: Stage) -> Inventory:
    return replace(
        whole,
        files=tuple(staged.name(path) for path in whole.files),
        kinds={k: tuple(staged.name(path) for path in v) for k, v in whole.kinds.items()},
    )


def _unread(runs: Sequence[ScannerRun]) -> tuple[Unread, ...]:
    return tuple(dict.fromkeys(row for run in runs for row in run.unread))


def _remarks(runs: Sequence[ScannerRun]) -> list[str]:
    """What a run that ended well still has to say of itself."""
    ended = [run for run in runs if run.outcome is Outcome.SUCCEEDED]
    return [f"{run.scanner}: {run.why}" for run in ended if run.why]


def _target(request: ScanRequest) -> str:
    named = [str(request.source)] if request.source else []
    if _image_name(request):
        named.append(f"image {_image_name(request)}")
    return " and ".join(map(visible, named))


def _image_name(request: ScanRequest) -> str:
    return str(request.image) if request.image else request.reference


def _staged(request: ScanRequest, work: Path, report: Report) -> AbstractAsyncContextManager[Stage]:
    """The project, or an empty folder, of which nothing is said, where only an image is given."""
    if request.source is None:
        return stage(_nothing(work))
    return stage(request.source, report=report)


def _nothing(work: Path) -> Path:
    """An empty project, for a scan of an image alone."""
    folder = work / "nothing"
    folder.mkdir()
    return folder


def _longest_first(item: tuple[Choice, Pass | None]) -> float:
    return -(item[1].cost if item[1] is not None else 0.0)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
