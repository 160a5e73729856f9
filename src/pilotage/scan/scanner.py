"""The contract of a scanner: values that say what it reads, how it is run and what its exit codes
mean, and a pure `parse`. The engine owns staging, limits, exit codes, bad bytes and controls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.domain.finding import Finding, ScanType
from pilotage.domain.scan import Coverage, Unread


@dataclass(frozen=True, slots=True)
class Raw:
    """What a program left behind. `reports` maps a name of `Pass.reports` to the file's bytes.

    `root` is the stage's path as the program saw it: parsers cut it off with `relative`.
    """

    exit: int
    stdout: bytes
    stderr: bytes
    reports: Mapping[str, bytes] = field(default_factory=dict)
    root: str = ""

    def relative(self, path: str) -> str:
        """A path of the report as we write it: relative to the stage, with `/`."""
        path = path.removeprefix("file://")
        root = self.root.rstrip("/")
        if not root:  # a report of another machine; on ours a backslash is part of a name
            path = path.replace("\\", "/")
        for prefix in (root + "/", root.lstrip("/") + "/", "./"):
            if root.strip("/") or prefix == "./":
                path = path.removeprefix(prefix)
        return path


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a report says. `read` names files that were looked at, or counts them, or None: it
    gives no evidence. `unread` are files the scanner says it could not look at. `data` names what
    it compared with (advisories and their date), `remark` what a reader should know of the run."""

    findings: tuple[Finding, ...] = ()
    read: frozenset[str] | int | None = None
    unread: tuple[Unread, ...] = ()
    data: str = ""
    remark: str = ""


class Unusable(ValueError):
    """Raised by `parse`: this is not this scanner's report. The run has failed, never is clean."""


@dataclass(frozen=True, slots=True)
class Control:
    """A planted weakness: files (path -> content) in which a working scanner finds `rule`.

    `image` plants it as a docker-archive tar of these files; `history` commits them, then removes
    them.
    """

    files: Mapping[str, str]
    rule: str
    image: bool = False
    history: bool = False


@dataclass(frozen=True, slots=True)
class Pass:
    """One way in which a scanner looks at one kind of thing.

    `reads` are globs over staged paths (`*.py` matches at any depth, `.github/workflows/*.yml`
    from the root); the pass is chosen when one matches, and `{files}` expands to what matched.
    `target` is what it looks at: "stage", "history" (a bare clone) or "image".
    `command` is an argument list; the item `{program}` is the scanner's own binary, the item
    `{files}` all files that match, and items may hold {stage} {history} {image} {report} {config}
    {cache} {empty} {environment}. `report` names the file of `{report}` that the program writes
    (its bytes come as `Raw.reports[report]`). `config` maps a file name to content that is written
    to `{config}` (a folder of ours). `{cache}` is writable and empty, `{environment}` the folder
    that the scanner is installed in.
    `exits` are the exit codes that mean "it ran to its end". `cost` orders the start, longest
    first (seconds on a small project). `search`: run our own code instead of a program.
    `private`: what the program prints may hold secrets, so nothing of it is ever quoted.
    """

    name: str
    type: ScanType
    reads: tuple[str, ...]
    parse: Callable[[Raw], Parsed]
    control: Control
    coverage: Coverage
    command: tuple[str, ...] = ()
    exits: tuple[int, ...] = (0,)
    target: str = "stage"
    folder: str = "{empty}"
    report: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 300.0
    memory: int = 3 << 30
    cost: float = 1.0
    private: bool = False
    search: Callable[[Path, tuple[str, ...]], Awaitable[Parsed]] | None = None


@dataclass(frozen=True, slots=True)
class Install:
    """Where a scanner's program comes from: a hash-locked environment of its own.

    `lock` is a file (pip) or folder (npm) of scanners/locks; `program` the path of the binary in
    the environment, `*` for a part that varies (lib/python3*/site-packages/x/bin/y): the binary
    itself, not a script that fetches it. `kind` is pip, npm, or none for our own code.
    """

    kind: str
    lock: str = ""
    program: str = ""
    version: tuple[str, ...] = ("{program}", "--version")


@dataclass(frozen=True, slots=True)
class Scanner:
    """A scanner: its passes and where it comes from. `name` is its id, its file and its test."""

    name: str
    summary: str
    url: str
    passes: tuple[Pass, ...]
    install: Install
