"""The contract of a report format, and a finding as JSON reports and tools write it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pilotage.domain.errors import BadInput
from pilotage.domain.finding import Finding
from pilotage.domain.scan import Scan


@dataclass(frozen=True, slots=True)
class Format:
    """How a scan is written. `file` is its name in an output folder, "" for the terminal."""

    name: str
    summary: str
    file: str
    render: Callable[[Scan], bytes]


class Formats:
    """The shelf of report formats, looked at when the first report is asked for."""

    def __init__(self, load: Callable[[], Mapping[str, Format]]) -> None:
        self._load = load
        self._formats: Mapping[str, Format] | None = None

    def find(self, names: Iterable[str]) -> list[Format]:
        """The formats of these names. Raises BadInput for one that is not there."""
        if self._formats is None:
            self._formats = self._load()
        for name in names:
            if name not in self._formats:
                raise BadInput(f"there is no format {name!r}", "one of " + ", ".join(self._formats))
        return [self._formats[name] for name in dict.fromkeys(names)]


def finding_fields(finding: Finding) -> dict[str, Any]:
    """The finding as a JSON object with the names of `domain.Finding`, empty fields left out.
    `severity` is always there, in lower case."""
    fields: dict[str, Any] = _filled(msgspec.to_builtins(finding))
    return fields


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        walked = {key: _filled(each) for key, each in value.items()}
        return {key: each for key, each in walked.items() if each not in (None, "", [], (), {})}
    return value
