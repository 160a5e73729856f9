"""A job of a CI system, and what can be said to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Context:
    """`github` is what `${{ github.* }}` reads, on every platform; `native` are the variables of
    the article's `get_pipeline_context` under the platform's own names.

    `env` is what `${{ env.* }}` reads: the job's variables without the runner's own. `secrets` are
    the values of variables whose names say so: mask them before anything is printed.
    `attempt` counts from 1. `notes` say what could not be found out, and why.
    """

    platform: str
    github: Mapping[str, str]
    native: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    attempt: int = 1
    secrets: tuple[str, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotation:
    """A remark on a place in the source. `level` is error, warning or notice; `path` is relative
    to the job's workspace; lines and columns count from 1."""

    level: str
    message: str
    title: str = ""
    path: str = ""
    line: int | None = None
    end_line: int | None = None
    column: int | None = None
    end_column: int | None = None
