"""The folders a process may read and write in: every path argument passes here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pilotage.domain.errors import Denied


@dataclass(frozen=True, slots=True)
class Roots:
    """Absolute, resolved folders. A relative path starts at `base`, which need not be in one."""

    folders: tuple[Path, ...]
    base: Path

    def inside(self, given: str | Path) -> Path:
        """The path with its links followed. Outside every root it is refused, never replaced."""
        asked = self.base / Path(given).expanduser()
        path = asked.resolve()
        if not any(path.is_relative_to(folder) for folder in self.folders):
            allowed = ", ".join(map(str, self.folders))
            named = os.path.normpath(asked)  # a link's target is not told
            raise Denied(
                f"{named} lies outside what this process may see",
                f"allowed: {allowed}; where it is started, --root DIR allows another",
            )
        return path


def roots(*folders: str | Path, base: str | Path | None = None) -> Roots:
    """Roots of these folders, the working folder where none is named. Relative paths start at
    `base`: for who types a command the working folder, for a server's clients the first root."""
    resolved = tuple(dict.fromkeys(Path(folder).resolve() for folder in folders or (".",)))
    return Roots(resolved, resolved[0] if base is None else Path(base).resolve())
