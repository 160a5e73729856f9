"""A job of a CI system, and what can be said to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Context:
    """`github` is what `${{ github.* }}` reads, on every platform; `native` are the variables of
    the article's `get_pipeline_context` under the platform's own names."""

    platform: str
    github: Mapping[str, str]
    native: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Annotation:
    """A remark on a place in the source. `level` is error, warning or notice."""

    level: str
    message: str
    title: str = ""
    path: str = ""
    line: int | None = None
    end_line: int | None = None
    column: int | None = None
    end_column: int | None = None
