"""A house with the tools of tools.py, in a folder of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Principal
from pilotage.domain.pipeline import Pipeline
from pilotage.pipeline import load
from pilotage.pipeline.lint import checked, lint
from pilotage.tool.roots import roots
from pipeline.tools import TOOLS

BY = Principal("local:test", frozenset({"admin"}))


def make_app(folder: Path, *, root: str = "", **environment: str) -> App:
    """State in folder/home; tools may write in folder."""
    env = {"PILOTAGE_HOME": str(folder / "home"), "HOME": str(folder), **environment}
    return App(config.read(environment=env), roots(folder / root), TOOLS)


def made(app: App, steps: str, head: str = "name: p") -> Pipeline:
    """A pipeline of these steps, in flow style, one a line."""
    lines = [f"  - {{{line.strip()}}}" for line in steps.strip().splitlines()]
    text = "\n".join([head, "steps:", *lines])
    return checked(lint(load.document(text), app.runs.tools))


def lines(file: Path, word: str = "") -> list[str]:
    """The steps that wrote this word, in order."""
    if not file.exists():
        return []
    rows = [line.split() for line in file.read_text().splitlines()]
    return [row[1] for row in rows if not word or row[0] == word]


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    made_app = make_app(tmp_path)
    yield made_app
    await made_app.runs.close()
    made_app.close()


@pytest.fixture
def pipeline(app: App) -> Callable[..., Pipeline]:
    return lambda steps, head="name: p": made(app, steps, head)
