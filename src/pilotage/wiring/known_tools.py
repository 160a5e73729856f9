"""Tools and pipelines: what a pipeline is told of the tools that there are now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pilotage.pipeline.catalogue import Known, Wrong
from pilotage.tool.registry import Registry


class KnownTools(Mapping[str, Known]):
    """Those that can be called, by name."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getitem__(self, name: str) -> Known:
        entries = self._registry.entries
        if name not in entries:
            raise KeyError(name)
        tool, arguments = entries[name].tool, entries[name].arguments
        return Known(
            tool.idempotent,
            tool.timeout,
            lambda given: [Wrong(*one) for one in arguments.problems(given)],
        )

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._registry.entries))

    def __len__(self) -> int:
        return len(self._registry.entries)
