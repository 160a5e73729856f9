"""The stage: a private, read-only copy of the project's own files, and all that scanners ever see.

Bytes are copied, never linked. Nothing but regular files is opened, and no symbolic link is ever
followed on the way to one. Archives are copied as they are: we never unpack, so none can grow.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pilotage.domain.call import Progress, Report, silent
from pilotage.domain.errors import BadInput, Unavailable
from pilotage.domain.finding import Suppression
from pilotage.domain.scan import ScannerRun, Unread
from pilotage.domain.text import visible
from pilotage.scan.copying import Copied, StageLimits, copy_tree
from pilotage.scan.listing import Listing, own_files, some

__all__ = ["Stage", "StageLimits", "stage"]

_ARCHIVES = (".zip", ".jar", ".war", ".ear", ".whl", ".egg", ".tar", ".tgz", ".gz", ".bz2", ".xz",
             ".zst", ".7z", ".rar", ".apk", ".nupkg", ".gem", ".deb", ".rpm")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """`path` is the copy, `files` its regular files by their staged names. `aliases` maps a staged
    name to the one to report, where they differ. `unread`, `suppressions` and `notes` carry
    reported names already. `digest` names the original contents."""

    path: Path
    files: tuple[str, ...]
    bytes: int = 0
    unread: tuple[Unread, ...] = ()
    suppressions: tuple[Suppression, ...] = ()
    notes: tuple[str, ...] = ()
    digest: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    has_history: bool = False
    _back: Mapping[str, str] = field(default_factory=dict, repr=False)
    _known: frozenset[str] = field(default=frozenset(), repr=False)

    def name(self, staged: str) -> str:
        """The name to report for a staged one: the real one, made printable."""
        return self.aliases.get(staged) or visible(staged)

    def staged(self, name: str) -> str:
        """The staged name of a reported one."""
        return self._back.get(name, name)

    def restore(self, run: ScannerRun) -> ScannerRun:
        """The same run with the paths of its findings and of what it left unread as reported."""
        return replace(
            run,
            findings=tuple(
                replace(f, location=replace(f.location, path=self.name(f.location.path)))
                for f in run.findings
            ),
            unread=tuple(replace(u, path=self.name(u.path)) for u in run.unread),
        )

    def lines(self, name: str) -> list[str]:
        """The lines of a staged file, by its reported name; none where it is not a staged file.

        Bytes that are not UTF-8 come as replacement characters, CR and CRLF end a line too.
        """
        staged = self.staged(name)
        if staged not in self._known:
            return []
        text = (self.path / staged).read_bytes().decode("utf-8", "replace")
        return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


@asynccontextmanager
async def stage(
    source: Path, limits: StageLimits | None = None, report: Report = silent
) -> AsyncIterator[Stage]:
    """Stage the project at `source`; the copy is gone when the block ends.

    Raises BadInput where there is no such folder. What could not be taken is in `Stage.unread`.
    """
    source = Path(os.path.realpath(source))
    if not source.is_dir():
        what = "is a file, not a folder" if source.exists() else "is not there"
        raise BadInput(f"{visible(str(source))} {what}", "name the project's folder")
    listing = await own_files(source)
    report(Progress("copying the project's own files"))
    with tempfile.TemporaryDirectory(prefix="pilotage-stage-") as folder:
        target = Path(folder) / "project"
        copied = await asyncio.to_thread(_copy, source, target, listing, limits or StageLimits())
        try:
            yield _stage(target, copied, tuple(listing.notes), listing.has_history)
        finally:
            await asyncio.to_thread(copied.unlock)


def _copy(source: Path, target: Path, listing: Listing, limits: StageLimits) -> Copied:
    try:
        return copy_tree(source, target, listing, limits)
    except OSError as error:
        raise Unavailable(
            f"{visible(str(source))} could not be copied: {error.strerror}",
            f"check that it can be read and that {tempfile.gettempdir()} has room",
        ) from error


def _stage(target: Path, copied: Copied, notes: tuple[str, ...], has_history: bool) -> Stage:
    files = tuple(sorted(copied.files))
    archives = [copied.aliases.get(f, f) for f in files if f.lower().endswith(_ARCHIVES)]
    if archives:
        notes += (f"archives are not unpacked by the stage: {some(archives)}",)
    return Stage(
        path=target,
        files=files,
        bytes=copied.bytes,
        unread=tuple(copied.unread),
        suppressions=tuple(sorted(copied.suppressions, key=lambda s: (s.path, s.line))),
        notes=notes + tuple(copied.notes()),
        digest=copied.digest(),
        aliases=copied.aliases,
        has_history=has_history,
        _back={name: staged for staged, name in copied.aliases.items()},
        _known=frozenset(files),
    )
