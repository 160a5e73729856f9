"""What a pipeline knows of tools: enough to check a step, and to know whether it may run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with arguments at `path`. `keyword` is the rule of JSON Schema that says so; of
    an argument that the tool does not know "ignored", where it drops it, or "unknown"."""

    path: Path
    keyword: str
    what: str


@dataclass(frozen=True, slots=True)
class Known:
    """A tool that is there. `timeout` (seconds) bounds every step that calls it."""

    idempotent: bool
    timeout: float
    wrong: Callable[[Mapping[str, Any]], Sequence[Wrong]]


Catalogue = Mapping[str, Known]
