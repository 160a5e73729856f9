"""A pipeline: what a team wrote down, with nothing left to guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class OnFailure(StrEnum):
    """What a step that did not succeed means for the run."""

    FAIL = "fail"
    CONTINUE = "continue"
    MANUAL = "manual"


class InputType(StrEnum):
    """What a value for an input must be."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Input:
    """A value that whoever starts the run may give. Without a default it must be given if it is
    required, and is empty (or 0, or false) otherwise."""

    type: InputType = InputType.STRING
    default: str | int | float | bool | None = None
    required: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One tool call. `needs` are the steps that must have ended well before it starts.

    `params` is JSON that may hold `${{ }}`. `retry_count` counts further attempts after the first
    (None: the setting `mcp.pipeline.retryCount`); `retry_delay` and `timeout` (of one attempt)
    are in seconds.
    """

    name: str
    tool: str
    params: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure.FAIL
    retry_count: int | None = None
    retry_delay: float = 0
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps in the order of the file. `env` is what `${{ env.* }}` reads before the job's own."""

    name: str
    steps: tuple[Step, ...]
    description: str = ""
    inputs: Mapping[str, Input] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


class Level(StrEnum):
    """An error stops the pipeline from running; a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a pipeline, and where. Lines and columns count from 1; `path` says it
    where there is no file (`steps[2].params.ref`)."""

    level: Level
    what: str
    hint: str = ""
    path: str = ""
    line: int = 0
    column: int = 0
