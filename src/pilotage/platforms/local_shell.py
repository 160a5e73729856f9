"""A shell of one's own, and any CI system that has no platform here."""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
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
    secret_values,
)
from pilotage.domain.ci import Annotation, Context
from pilotage.domain.text import visible
from pilotage.process.run import Limits, Program, run

OUTPUTS = "PILOTAGE_OUTPUT"
"""Names a file that gets one JSON object a line: {"name": ..., "value": ...}."""

VARIABLES = "PILOTAGE_ENV"
"""Names a file that gets `export NAME=value` lines, quoted for a POSIX shell."""

SUMMARY = "PILOTAGE_SUMMARY"
"""Names a file that gets the summary's Markdown; without it the summary is printed."""

_REMOTE = re.compile(r"(?:[a-z+]+://(?:[^/@]*@)?[^/]+/|(?:[^/@:]+@)?[^/:]+:)(.+?)(?:\.git)?/*$")


async def context(env: Env, folder: Path) -> Context:
    """What git says of the folder. Outside a checkout, or without git, that part is empty."""
    top = await _git(folder, "rev-parse", "--show-toplevel")
    sha = await _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    ref = await _git(folder, "symbolic-ref", "--quiet", "HEAD")
    remote = await _git(folder, "config", "--local", "--no-includes", "--get", "remote.origin.url")
    matched = _REMOTE.fullmatch(remote)
    root = Path(top) if top else folder.resolve()
    github = {
        "workflow": "",
        "run_id": "",
        "run_attempt": "1",
        "repository": matched[1] if matched else root.name,
        "ref": ref,
        "ref_name": ref.removeprefix("refs/heads/"),
        "sha": sha,
        "event_name": "local",
        "actor": _user(env),
        "workspace": str(root),
    }
    notes = () if sha else (f"{folder} is no git checkout with a commit: no sha, no ref",)
    secrets = secret_values(env)
    return Context("local-shell", github, github, job_variables(env), 1, secrets, notes)


async def _git(folder: Path, *words: str) -> str:
    """One line of git's, "" where it has none. Nothing of the repository's settings is obeyed that
    could start a program, fetch, or lead to another file."""
    settings = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "protocol.allow=never")
    options = [word for setting in settings for word in ("-c", setting)]
    finished = await run(
        Program(
            ("git", "-C", str(folder), *options, "-c", "safe.directory=*", *words),
            environment={
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_OPTIONAL_LOCKS": "0",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_NO_LAZY_FETCH": "1",
            },
            limits=Limits(seconds=10, output=64 << 10),
        )
    )
    if finished.exit != 0:
        return ""
    return finished.stdout.decode("utf-8", "replace").strip("\n")


def _user(env: Env) -> str:
    try:
        return env.get("USER") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def set_output(env: Env, name: str, value: str) -> Acts:
    checked_output(name, value)
    said = Say(f"output {name} = {quiet(visible(value))}\n")
    line = json.dumps({"name": name, "value": value}) + "\n"
    return (said, *_into(env, OUTPUTS, line))


def set_env(env: Env, name: str, value: str) -> Acts:
    checked_env(name, value)
    said = Say(f"env {name} = {quiet(visible(value))}\n")
    return (said, *_into(env, VARIABLES, f"export {name}={shlex.quote(value)}\n"))


def summarise(env: Env, markdown: str) -> Acts:
    text = markdown if markdown.endswith("\n") else markdown + "\n"
    return _into(env, SUMMARY, text) or (Say(quiet("\n".join(map(visible, text.split("\n"))))),)


def annotate(remark: Annotation) -> Acts:
    place = f"{remark.path}:{remark.line}" if remark.line else remark.path
    words = (f"{place}:" if place else "", remark.level, remark.title, remark.message)
    return (Say(quiet(visible(" ".join(word for word in words if word))) + "\n"),)


def open_group(title: str) -> Acts:
    return (Say(f"--- {quiet(visible(title))}\n"),)


def _into(env: Env, name: str, text: str) -> Acts:
    return (Append(Path(env[name]), text, create=True),) if env.get(name) else ()


LOCAL_SHELL = Platform(
    name="local-shell",
    summary="a shell of one's own: outputs are printed, and saved where a variable names a file",
    url="",
    marker=lambda env: False,
    abilities=frozenset(
        {Ability.OUTPUT, Ability.ENV, Ability.GROUP, Ability.ANNOTATE, Ability.SUMMARY}
    ),
    context=context,
    set_output=set_output,
    set_env=set_env,
    summarise=summarise,
    mask=lambda secret: (),
    annotate=annotate,
    open_group=open_group,
    close_group=lambda: (),
    fence=lambda token: ((), ()),
)
