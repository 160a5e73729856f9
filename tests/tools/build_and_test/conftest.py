"""A project, and the tool called on it through the gateway."""

from __future__ import annotations

import os
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.domain.call import ToolResult
from pilotage.tool.roots import roots

Run = Callable[..., Any]


@pytest.fixture(name="settings")
def _settings() -> Callable[..., config.Settings]:
    return settings


@pytest.fixture(name="write")
def _write() -> Callable[..., None]:
    return write


def settings(home: Path, **more: str) -> config.Settings:
    kept = {k: v for k, v in os.environ.items() if k in ("HOME", "PILOTAGE_CACHE")}
    return config.read(environment={**kept, **more, "PILOTAGE_HOME": str(home)})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
async def run(project: Path, tmp_path: Path) -> AsyncIterator[Run]:
    app = App(settings(tmp_path / "state"), roots(project))

    async def call(**arguments: Any) -> ToolResult:
        return await app.call("build_and_test", arguments, local_principal(), "cli")

    yield call
    app.close()


def write(folder: Path, **files: str) -> None:
    """`a__b_py="..."` is the file a/b.py."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py").replace("_js", ".js")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
