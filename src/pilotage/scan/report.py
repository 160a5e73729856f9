"""The contract of a report format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pilotage.domain.scan import Scan


@dataclass(frozen=True, slots=True)
class Format:
    """How a scan is written. `file` is its name in an output folder, "" for the terminal."""

    name: str
    summary: str
    file: str
    render: Callable[[Scan], bytes]
