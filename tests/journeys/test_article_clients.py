"""The article's two Python programs as clients, unchanged: cut from the article at run time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotage.scan.control import docker_archive

ROOT = Path(__file__).resolve().parents[2]
ARTICLE = ROOT.parent / "shared/seed/000_1ac00eae005894be.txt"
pytestmark = pytest.mark.skipif(not ARTICLE.exists(), reason="the article (../shared) is not here")

RULES = """
scan_tools:
  code: [bandit, eslint, pylint]
  container: [trivy]
  dependency: [osv]
  infrastructure: [checkov]
  secret: [gitleaks]
risk_level_config:
  critical: {threshold: 0, action: fail}
  high: {threshold: 2, action: fail}
  medium: {threshold: 5, action: warn}
  low: {threshold: 10, action: info}
"""


def program_of(name: str) -> types.ModuleType:
    """The article's program as a module: from its first comment line to the heading after it."""
    text = ARTICLE.read_text("utf-8")
    found = re.search(rf"^# src/{re.escape(name)}\.py$.*?(?=^运行说明$)", text, re.M | re.S)
    assert found is not None, f"the article has no {name}"
    module = types.ModuleType(name.replace("-", "_"))
    sys.modules[module.__name__] = module
    exec(compile(found[0], f"{name}.py", "exec"), module.__dict__)
    return module


class House:
    """A running server: its address, a key, and the folder it may see."""

    def __init__(self, address: str, key: str, source: Path) -> None:
        self.address, self.key, self.source = address, key, source


def pilotage(*words: str, env: dict[str, str]) -> str:
    argv = [sys.executable, "-m", "pilotage.cli.main", *words]
    return subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("article")
    source = folder / "source"
    argv = [sys.executable, "examples/01-first-gate/prepare.py", "vulnerable", str(folder)]
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
    (folder / "vulnerable").rename(source)
    advisories = ROOT / "examples/01-first-gate/advisories"
    env = os.environ | {"PILOTAGE_HOME": str(folder / "state")}
    env |= {"PILOTAGE_ADVISORIES": str(advisories)}
    made = pilotage("keys", "create", "article", "--role", "ci", env=env)
    key = next(word for word in made.split() if word.startswith("plt_"))
    command = [sys.executable, str(Path(__file__).with_name("article_program.py")), str(folder)]
    with subprocess.Popen(
        command, cwd=source, env=env, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield House(server.stdout.readline().strip(), key, source)
        finally:
            server.terminate()
            server.wait(30)


def test_a_pipeline_of_more_than_forty_seconds_ends_true_and_sets_its_variables(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = program_of("mcp-cicd-plugin-framework").GitHubActionsMCPParser(
        house.address, house.key
    )
    monkeypatch.setenv("GITHUB_SHA", "0123abc")
    step: dict[str, Any] = {"tool": "slow_build", "on_failure": "fail"}
    steps = [
        step | {"name": "first", "params": {"seconds": 21, "version": "${{ github.sha }}"}},
        step | {"name": "second", "params": {"seconds": 21, "version": "2.0"}},
    ]
    assert plugin.run_mcp_pipeline({"name": "slow", "steps": steps}) is True
    printed = capsys.readouterr().out
    assert "::set-output name=first_built::0123abc" in printed
    assert "::set-output name=VERSION::2.0" in printed


def test_a_pipeline_that_fails_ends_false_and_says_why(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = program_of("mcp-cicd-plugin-framework").JenkinsMCPParser(house.address, house.key)
    bad = {"name": "gate", "tool": "security_scanner", "params": {"source_path": str(house.source)}}
    assert plugin.run_mcp_pipeline({"name": "gate", "steps": [bad]}) is False
    assert "MCP Pipeline failed: gate: FAIL: 4 critical findings" in capsys.readouterr().out


def test_scans_aggregate_evaluate_and_report(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = program_of("mcp-security-scan-orchestrator")
    (tmp_path / "security_scan_configs.yaml").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    client = module.MCPSecurityScanOrchestrator(house.address, house.key)
    where = {"source_path": str(house.source), "language": "python"}
    kind = module.ScanType
    code = client.run_scan(kind.CODE, where | {"scan_depth": "full"})
    dependency = client.run_scan(kind.DEPENDENCY, where | {"package_manager": "pip"})
    image = house.source.parent / "image.tar"
    image.write_bytes(docker_archive({"settings.ini": "aws_key = AKIA" + "Q3EGRJZX6WVTNP2K\n"}))
    asked = {"image": str(image), "scan_type": "vulnerability"}
    container = client.run_scan(kind.CONTAINER, asked)
    assert [result.tool_name for result in code] == ["bandit", "eslint", "pylint"]
    assert [result.tool_name for result in dependency + container] == ["osv", "trivy"]
    assert all(result.findings for result in (code[0], code[1], *dependency, *container))
    assert dependency[0].risk_level is module.RiskLevel.CRITICAL
    report = client.aggregate_scan_results(code + dependency + container)
    assert report["scan_summary"]["total_scans"] == 5
    assert report["scan_summary"]["total_findings"] == len(report["aggregated_findings"])
    assert report["scan_summary"]["overall_risk"] == "critical"
    assert client.evaluate_risk(report)["action"] == "fail"
    assert client.generate_scan_report(report) is True
    assert (tmp_path / "security_scan_report.json").exists()


def test_an_image_that_is_not_there_is_no_clean_result(
    house: House,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = program_of("mcp-security-scan-orchestrator")
    (tmp_path / "security_scan_configs.yaml").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    client = module.MCPSecurityScanOrchestrator(house.address, house.key)
    asked = {"image": "your-docker-image:latest", "scan_type": "vulnerability"}
    assert client.run_scan(module.ScanType.CONTAINER, asked) == []
    assert "扫描工具 trivy 失败" in capsys.readouterr().out
