"""Settings: file < environment < flags, each checked, nothing silently ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotage import config
from pilotage.domain.errors import BadInput


def env(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"PILOTAGE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), **more}


def test_the_defaults_are_those_of_the_article(tmp_path: Path) -> None:
    settings = config.read(environment=env(tmp_path))
    assert settings.number("mcp.pipeline.timeout") == 3600
    assert settings.number("mcp.pipeline.retryCount") == 0
    assert settings.flag("mcp.verifySSL") is True
    assert settings.text("mcp.log.level") == "info"
    assert settings.text("mcp.artifact.uploadPath") == "artifacts"
    assert settings.text("mcp.apiKey") == ""


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("mcp: {pipeline: {timeout: 10, retryCount: 1}, log: {level: debug}}\n")
    environment = env(tmp_path, MCP_PIPELINE_TIMEOUT="20", MCP_PIPELINE_RETRY_COUNT="2")
    settings = config.read({"mcp.pipeline.timeout": 30}, environment, file)
    assert settings.number("mcp.pipeline.timeout") == 30
    assert settings.number("mcp.pipeline.retryCount") == 2
    assert settings.text("mcp.log.level") == "debug"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("mcp: {pipeline: {timeout: 0}}", "mcp.pipeline.timeout from the settings file is 0"),
        ("mcp: {pipeline: {timeout: soon}}", "'soon'"),
        ("mcp: {log: {level: loud}}", "'loud'"),
        ("mcp: {verifySSL: perhaps}", "'perhaps'"),
        ("mcp: {serverURL: x}", "unknown setting 'mcp.serverURL'"),
        ("[1, 2]", "must hold a mapping"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(BadInput) as caught:
        config.read(environment=env(tmp_path), file=file)
    assert named in caught.value.what


def test_a_named_settings_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no settings file"):
        config.read(environment=env(tmp_path), file=tmp_path / "none.yaml")


def test_state_and_cache_follow_the_environment(tmp_path: Path) -> None:
    given = {"HOME": str(tmp_path), "XDG_STATE_HOME": "/s", "XDG_CACHE_HOME": "/c"}
    settings = config.read(environment=given)
    assert (settings.home, settings.cache) == (Path("/s/pilotage"), Path("/c/pilotage"))
    own = config.read(environment={**given, "PILOTAGE_HOME": "/h", "PILOTAGE_CACHE": "/k"})
    assert (own.home, own.cache) == (Path("/h"), Path("/k"))
