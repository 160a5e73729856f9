"""The contract of a CI platform: values, and functions that translate purely.

A function returns `Acts`, what to print and what to append to which file; `job.py` is the edge
that does it. What a platform cannot do is missing from its `abilities`, and then its function is
never asked: it is said, not faked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pilotage.domain.ci import Annotation, Context
from pilotage.domain.errors import BadInput

Env = Mapping[str, str]


class Ability(StrEnum):
    """What a platform can do for a program that runs as one step of a job."""

    OUTPUT = "output"
    ENV = "env"
    MASK = "mask"
    GROUP = "group"
    FENCE = "fence"
    ANNOTATE = "annotate"
    SUMMARY = "summary"
    ARTIFACT = "artifact"


@dataclass(frozen=True, slots=True)
class Say:
    """Text for the job's log, exactly as it stands."""

    text: str


@dataclass(frozen=True, slots=True)
class Append:
    """Text for the end of a file. `create`: the file may be new; else it must be there already.
    `limit`: the most bytes the file may have afterwards; what is over is left out, and said."""

    file: Path
    text: str
    create: bool = False
    limit: int | None = None


Act = Say | Append
Acts = tuple[Act, ...]


@dataclass(frozen=True, slots=True)
class Platform:
    """A CI platform. `marker` says whether these variables are those of one of its jobs; the
    markers of two platforms never both say yes. `budget` is how many annotations of one level a
    step may make (0: as many as there are). `fence` makes the acts before and after untrusted
    text from a token that cannot be guessed."""

    name: str
    summary: str
    url: str
    marker: Callable[[Env], bool]
    abilities: frozenset[Ability]
    context: Callable[[Env, Path], Awaitable[Context]]
    set_output: Callable[[Env, str, str], Acts]
    set_env: Callable[[Env, str, str], Acts]
    summarise: Callable[[Env, str], Acts]
    mask: Callable[[str], Acts]
    annotate: Callable[[Annotation], Acts]
    open_group: Callable[[str], Acts]
    close_group: Callable[[], Acts]
    fence: Callable[[str], tuple[Acts, Acts]]
    budget: int = 0


_SECRET_NAME = re.compile(
    r"(?i)(pass(word|wd|phrase)?$|secret|token|api_?key|credential|private_?key|authorization)"
)
_NO_SECRET_NAME = re.compile(r"(?i)(_file|_path|_dir|_url|askpass)$")
_NO_SECRETS = frozenset({"true", "false", "none", "null"})
_RUNNER = ("GITHUB_", "RUNNER_", "ACTIONS_", "INPUT_")
_OUTPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,199}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_TAKEN = frozenset({"PATH", "HOME", "BASH_ENV", "ENV", "NODE_OPTIONS", "PYTHONPATH", "CI"})
VALUE_LIMIT = 1_000_000
"""Bytes of one value. GitHub takes 1 MiB of outputs a job: github/docs#36846."""


def job_variables(env: Env) -> dict[str, str]:
    """What `${{ env.* }}` may read: all but the runner's own variables and our API key."""
    return {k: v for k, v in env.items() if not k.startswith(_RUNNER) and k != "MCP_API_KEY"}


def secret_values(env: Env) -> tuple[str, ...]:
    """The values of variables whose names say that they are secret, each once."""
    named = (v for k, v in env.items() if _SECRET_NAME.search(k) and not _NO_SECRET_NAME.search(k))
    return tuple(dict.fromkeys(v for v in named if len(v) >= 4 and v.lower() not in _NO_SECRETS))


def checked_output(name: str, value: str) -> None:
    """Refuse a name that an expression could not read and a value that would not arrive."""
    if not _OUTPUT_NAME.fullmatch(name):
        raise BadInput(f"{name!r} cannot be the name of an output", "letters, digits, _ and -")
    _check_value(name, value)


def checked_env(name: str, value: str) -> None:
    """The same for the environment, and no name that the runner owns or that makes a program of a
    later step load code."""
    if not _ENV_NAME.fullmatch(name):
        raise BadInput(f"{name!r} cannot be the name of a variable", "letters, digits and _")
    if name.upper() in _TAKEN or name.upper().startswith((*_RUNNER[:3], "LD_")):
        raise BadInput(f"the variable {name} may not be set for later steps", "choose another name")
    _check_value(name, value)


def _check_value(name: str, value: str) -> None:
    if "\0" in value:
        raise BadInput(f"the value of {name} holds a zero byte", "write it to a file instead")
    size = len(value.encode("utf-8", "replace"))
    if size > VALUE_LIMIT:
        raise BadInput(
            f"the value of {name} has {size:,} bytes, more than {VALUE_LIMIT:,}",
            "write it to a file instead",
        )


def secret_parts(value: str) -> tuple[str, ...]:
    """What to mask of a secret: it, each of its lines, and each leaf where it is JSON.

    A runner masks line by line and knows nothing of JSON. Parts shorter than four characters stay
    out: a masked `{` or `1` would blank the whole log.
    """
    parts = [value, json.dumps(value)[1:-1], *value.splitlines(), *_leaves(value)]
    kept = (part.strip() for part in parts if "\n" not in part and "\r" not in part)
    return tuple(dict.fromkeys(part for part in kept if len(part) >= 4))


def _leaves(value: str) -> list[str]:
    if not value.lstrip().startswith(("{", "[")):
        return []
    try:
        pending, found = [json.loads(value)], []
    except (ValueError, RecursionError):
        return []
    while pending:
        item: Any = pending.pop()
        if isinstance(item, dict):
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, str):
            found += [json.dumps(item)[1:-1], *item.splitlines()]
        elif isinstance(item, (int, float)) and not isinstance(item, bool):
            found.append(json.dumps(item))
    return found
