"""The gate as a tool, and each scanner as a tool of its own, called through the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotage import config
from pilotage.app import App
from pilotage.domain.call import Outcome, Principal, ToolResult
from pilotage.domain.errors import BadInput
from pilotage.scan.control import docker_archive
from pilotage.scan.orchestrate import KEPT
from pilotage.tool.answer import answer
from pilotage.tool.roots import roots

DEVELOPER = Principal("dev", frozenset({"developer"}))
KEY = "aws_key = AKIA" + "Q3EGRJZX6WVTNP2K\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "project").mkdir(parents=True)
    project = tmp_path / "root" / "project"
    (project / "app.py").write_text("import os\n\nos.system(input())\n")
    return tmp_path / "root"


@pytest.fixture
def app(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path / "home"))
    app = App(config.read(), roots(root))
    yield app
    app.close()


async def call(app: App, tool: str, by: Principal = DEVELOPER, **arguments: Any) -> ToolResult:
    return await app.call(tool, arguments, by, "rest")


async def test_a_fail_is_a_failed_call_with_the_whole_report(app: App, root: Path) -> None:
    result = await call(
        app, "security_scanner", source_path=str(root / "project"), scan_type="code"
    )
    assert result.outcome is Outcome.FAILED
    assert result.error == "FAIL: 1 high finding, more than the 0 allowed"
    value = result.value
    assert value["verdict"] == "FAIL"
    assert value["counts"]["high"] == value["findings_total"] == 1
    assert value["findings"][0]["location"] == {
        "path": "app.py", "line": 3, "column": 1, "end_line": 3, "end_column": 19
    }  # fmt: skip
    assert value["findings"][0]["severity"] == "high"
    assert {row["scanner"] for row in value["scanners"]} == {"bandit", "ruff"}
    assert json.loads(json.dumps(answer(result)))["success"] is False


async def test_a_clean_project_succeeds(app: App, root: Path) -> None:
    (root / "project" / "app.py").write_text('print("hello")\n')
    result = await call(app, "security_scanner", source_path="project", scan_type="code")
    assert result.succeeded
    assert result.value["verdict"] == "PASS"


async def test_incomplete_is_a_failed_call(app: App, root: Path) -> None:
    (root / "project" / "app.py").write_text('print("hello")\n')
    (root / "rules.yaml").write_text(
        "scan_tools: {code: [bandit, sonarqube]}\nrisk_level_config:\n"
        + "".join(
            f"  {level}: {{threshold: 0, action: fail}}\n"
            for level in ("critical", "high", "medium", "low")
        )
    )
    result = await call(
        app, "security_scanner", source_path="project", config="rules.yaml", profile="default"
    )
    assert result.outcome is Outcome.FAILED
    assert result.value["verdict"] == "INCOMPLETE"
    assert "sonarqube" in str(result.error)


async def test_arguments_of_the_articles_clients_are_ignored_by_name(app: App, root: Path) -> None:
    result = await call(
        app,
        "security_scanner",
        source_path="project",
        scan_type="code",
        project_type="python",
        scan_depth="full",
    )
    assert result.ignored == ("project_type", "scan_depth")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "nothing to scan"),
        ({"source_path": "absent"}, "absent is not there"),
        ({"source_path": "project", "profile": "none"}, "no profile"),
        ({"source_path": "project", "formats": ["pdf"]}, "no format"),
        ({"source_path": "project", "scanners": ["none"]}, "no scanner"),
        ({"image": "./absent.tar"}, "no image file"),
    ],
)
async def test_a_request_that_names_what_is_not_there_is_no_scan(
    app: App, arguments: dict[str, Any], said: str
) -> None:
    result = await call(app, "security_scanner", **arguments)
    assert result.outcome is Outcome.FAILED
    assert said in str(result.error)
    assert "verdict" not in result.value


async def test_an_unknown_scan_type_is_refused_before_anything_runs(app: App) -> None:
    with pytest.raises(BadInput):
        await call(app, "security_scanner", source_path="project", scan_type="everything")


@pytest.mark.parametrize("argument", ["source_path", "output", "config", "image"])
async def test_what_lies_outside_the_roots_is_denied(app: App, argument: str) -> None:
    arguments = {"source_path": "project", argument: "/etc"}
    result = await call(app, "security_scanner", **arguments)
    assert result.outcome is Outcome.DENIED


async def test_reports_are_written_inside_the_roots_and_no_link_is_followed(
    app: App, root: Path, tmp_path: Path
) -> None:
    (root / "reports").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (root / "reports" / "security_scan_report.json").symlink_to(victim)
    result = await call(
        app,
        "security_scanner",
        source_path="project",
        scan_type="code",
        output="reports",
        formats=["json", "terminal"],
    )
    path = Path(result.value["reports"]["json"])
    assert path == root / "reports" / "security_scan_report.json"
    assert json.loads(path.read_text())["scan_summary"]["total_findings"] == 1
    assert victim.read_text() == "precious"
    assert "app.py" in result.value["rendered"]["terminal"]
    assert [p.name for p in (root / "reports").iterdir()] == ["security_scan_report.json"]


async def test_findings_come_by_the_page_to_whoever_had_the_scan_made(app: App, root: Path) -> None:
    (root / "project" / "app.py").write_text("import os\n" + "os.system(input())\n" * 7)
    scan = await call(app, "security_scanner", source_path="project", scan_type="code", limit=2)
    assert (len(scan.value["findings"]), scan.value["findings_total"]) == (2, 7)
    scan_id = scan.value["scan_id"]
    cursor = scan.value["next_cursor"]
    page = await call(app, "scan_findings", scan_id=scan_id, cursor=cursor, limit=99)
    assert len(page.value["findings"]) == 5
    assert "next_cursor" not in page.value
    seen = [*scan.value["findings"], *page.value["findings"]]
    assert len({finding["fingerprint"] for finding in seen}) == 7
    none = await call(app, "scan_findings", scan_id=scan_id, severity="low")
    assert none.value["findings_total"] == 0
    stranger = Principal("somebody", frozenset({"admin"}))
    for tool in ("scan_findings", "scan_report"):
        refused = await call(app, tool, stranger, scan_id=scan_id)
        assert refused.outcome is Outcome.FAILED
        assert refused.error == f"no scan {scan_id} of yours is kept here"
    other = await call(app, "security_scanner", source_path="project", scan_type="secret")
    foreign = await call(app, "scan_findings", scan_id=other.value["scan_id"], cursor=cursor)
    assert foreign.error == "the cursor is not of these findings"


async def test_a_report_is_rendered_again_from_a_scan_that_is_kept(app: App) -> None:
    scan = await call(app, "security_scanner", source_path="project", scan_type="code")
    scan_id = scan.value["scan_id"]
    summary = await call(app, "scan_report", scan_id=scan_id)
    assert summary.succeeded, "it is there to be read, whatever the verdict"
    assert (summary.value["verdict"], summary.value["findings"]) == ("FAIL", [])
    assert summary.value["findings_total"] == 1
    sarif = await call(app, "scan_report", scan_id=scan_id, format="sarif")
    log = json.loads(sarif.value["rendered"]["sarif"])
    assert log["version"] == "2.1.0"
    wrong = await call(app, "scan_report", scan_id=scan_id, format="pdf")
    assert wrong.error == "there is no format 'pdf'"


async def test_who_scans_a_lot_pushes_out_only_its_own_scans(app: App, root: Path) -> None:
    (root / "empty").mkdir()
    (root / "empty" / "a.txt").write_text("nothing\n")
    first = await call(app, "security_scanner", source_path="empty", scan_type="secret")
    busy = Principal("busy", frozenset({"developer"}))
    ids = []
    for _ in range(KEPT + 1):
        made = await call(app, "security_scanner", busy, source_path="empty", scan_type="secret")
        ids.append(made.value["scan_id"])
    assert (await call(app, "scan_report", scan_id=first.value["scan_id"])).succeeded
    assert not (await call(app, "scan_report", busy, scan_id=ids[0])).succeeded
    assert (await call(app, "scan_report", busy, scan_id=ids[1])).succeeded


async def test_a_single_scanner_succeeds_with_findings(app: App) -> None:
    """The article's orchestrator sends more than we declare, and reads these keys."""
    result = await call(
        app, "bandit", source_path="project", scan_type="code", language="python", scan_depth="x"
    )
    body = answer(result)
    assert body["success"] is True
    assert [f["severity"] for f in body["findings"]] == ["high"]
    assert body["scan_duration"] > 0
    assert body["scan_date"].startswith("20")
    assert body["ignored_arguments"] == ["language", "scan_depth"]


async def test_a_scanner_with_nothing_to_look_at_is_skipped_and_not_clean(app: App) -> None:
    for tool, arguments in (
        ("eslint", {"source_path": "project"}),
        ("bandit", {"source_path": "project", "scan_type": "container"}),
        ("trivy", {"source_path": "project", "scan_type": "container"}),
    ):
        result = await call(app, tool, **arguments)
        assert result.outcome is Outcome.SKIPPED, (tool, result)
        assert result.error
        assert answer(result)["success"] is False


async def test_trivy_looks_at_an_image_without_a_project(app: App, root: Path) -> None:
    (root / "image.tar").write_bytes(docker_archive({"app/settings.ini": KEY}))
    result = await call(app, "trivy", image="image.tar", scan_type="container")
    assert result.succeeded, result
    assert any(f["rule"] == "aws-access-key-id" for f in result.value["findings"])


async def test_an_image_in_a_registry_is_unavailable(app: App) -> None:
    result = await call(app, "trivy", image="your-docker-image:latest", scan_type="container")
    assert result.outcome is Outcome.UNAVAILABLE
    assert "docker save" in str(result.error)


async def test_a_scanner_that_did_not_read_everything_fails(app: App, root: Path) -> None:
    (root / "project" / "broken.py").write_text("def broken(:\n")
    result = await call(app, "bandit", source_path="project", scan_type="code")
    assert result.outcome is Outcome.FAILED
    assert result.value["findings_total"] == 1, "what it did find is there all the same"
    assert "broken.py" in str(result.value["unread"])


async def test_every_scanner_is_a_tool_of_its_own_name(app: App) -> None:
    tools = {tool.name: tool for tool in app.registry.tools()}
    for name in ("bandit", "checkov", "eslint", "gitleaks", "hadolint", "osv", "trivy", "zizmor"):
        assert tools[name].open
        assert tools[name].summary.startswith(f"Scan with {name}: ")
