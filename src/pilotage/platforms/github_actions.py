"""GitHub Actions, and act. https://docs.github.com/actions/reference/workflow-commands"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

from pilotage.ci.guard import quiet
from pilotage.ci.platform import (
    Ability,
    Acts,
    Append,
    Env,
    Platform,
    Say,
    checked_env,
    checked_output,
    job_variables,
    secret_parts,
    secret_values,
)
from pilotage.domain.ci import Annotation, Context
from pilotage.domain.errors import Unavailable
from pilotage.domain.text import visible

SUMMARY_LIMIT = 1_000_000
"""Bytes. Over 1 MiB the runner drops a summary whole: actions/runner FileCommandManager.cs."""

BUDGET = 10
"""Annotations of a level a step: actions/runner ExecutionContext.cs. The rest is log text only."""

MESSAGE_LIMIT = 4_000
_CONTEXT = (
    *("action", "actor", "actor_id", "api_url", "base_ref", "event_name", "event_path"),
    *("graphql_url", "head_ref", "job", "ref", "ref_name", "ref_protected", "ref_type"),
    *("repository", "repository_id", "repository_owner", "repository_owner_id"),
    *("retention_days", "run_attempt", "run_id", "run_number", "server_url", "sha"),
    *("triggering_actor", "workflow", "workflow_ref", "workflow_sha", "workspace"),
)
_NATIVE = ("workflow", "run_id", "repository", "ref", "sha", "event_name", "actor", "workspace")


def marker(env: Env) -> bool:
    """Gitea and Forgejo set the same variables and more."""
    others = env.get("GITEA_ACTIONS") or env.get("FORGEJO_ACTIONS")
    return env.get("GITHUB_ACTIONS") == "true" and not others


async def context(env: Env, _: Path) -> Context:
    """From the variables that the runner sets for each step; one that is not set is empty."""
    github = {key: env.get(f"GITHUB_{key.upper()}", "") for key in _CONTEXT}
    attempt = github["run_attempt"]
    missing = [key for key in _NATIVE if not github[key]]
    return Context(
        "github-actions",
        github,
        {key: github[key] for key in _NATIVE},
        job_variables(env),
        int(attempt) if attempt.isdecimal() else 1,
        secret_values(env),
        (f"the runner does not say: {', '.join(missing)}",) if missing else (),
    )


def set_output(env: Env, name: str, value: str) -> Acts:
    checked_output(name, value)
    return (Append(_file(env, "GITHUB_OUTPUT"), heredoc(name, value)),)


def set_env(env: Env, name: str, value: str) -> Acts:
    checked_env(name, value)
    return (Append(_file(env, "GITHUB_ENV"), heredoc(name, value)),)


def summarise(env: Env, markdown: str) -> Acts:
    text = markdown if markdown.endswith("\n") else markdown + "\n"
    return (Append(_file(env, "GITHUB_STEP_SUMMARY"), text, limit=SUMMARY_LIMIT),)


def heredoc(name: str, value: str) -> str:
    """Name and value for a file command, as @actions/core writes them: the delimiter is made after
    the value is known, so no value can hold it."""
    delimiter = f"ghadelimiter_{uuid.uuid4()}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"


def mask(secret: str) -> Acts:
    return tuple(Say(f"::add-mask::{_data(part)}\n") for part in secret_parts(secret))


def annotate(remark: Annotation) -> Acts:
    """`endLine` needs a line; columns count only where the remark stays on one line."""
    line = remark.line
    end = (remark.end_line or line) if line else None
    one_line = line is not None and end == line
    properties = {
        "title": _shown(remark.title, 200),
        "file": remark.path,
        "line": line,
        "endLine": end if end != line else None,
        "col": remark.column if one_line else None,
        "endColumn": remark.end_column if one_line and remark.column else None,
    }
    said = ",".join(f"{k}={_property(str(v))}" for k, v in properties.items() if v)
    head = f"::{remark.level} {said}" if said else f"::{remark.level}"
    return (Say(f"{head}::{_data(_shown(remark.message, MESSAGE_LIMIT))}\n"),)


def open_group(title: str) -> Acts:
    return (Say(f"::group::{_data(_shown(' '.join(title.split()), 200))}\n"),)


def close_group() -> Acts:
    return (Say("::endgroup::\n"),)


def fence(token: str) -> tuple[Acts, Acts]:
    return (Say(f"::stop-commands::{token}\n"),), (Say(f"::{token}::\n"),)


def _file(env: Mapping[str, str], name: str) -> Path:
    path = env.get(name)
    if not path:
        raise Unavailable(f"the runner did not set {name}", "is this step a step of a job?")
    return Path(path)


def _data(text: str) -> str:
    """Source: @actions/core command.js."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _shown(text: str, limit: int) -> str:
    """Lines that a log page can show (a terminal escape would reach it), quiet, and bounded."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return quiet("\n".join(visible(line) for line in text.split("\n")))


GITHUB_ACTIONS = Platform(
    name="github-actions",
    summary="GitHub Actions",
    url="https://docs.github.com/actions",
    marker=marker,
    abilities=frozenset(Ability) - {Ability.ARTIFACT},  # a `run:` step gets no token for uploads
    context=context,
    set_output=set_output,
    set_env=set_env,
    summarise=summarise,
    mask=mask,
    annotate=annotate,
    open_group=open_group,
    close_group=close_group,
    fence=fence,
    budget=BUDGET,
)
