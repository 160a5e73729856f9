"""`pilotage scan` and `pilotage scanners`: exit codes, reports, and what is printed where."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest

from pilotage.cli.main import main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MCP_SERVER_URL", raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text("import os\n\nos.system(input())\n")
    return folder


def scan(*words: object) -> int:
    return main(["scan", *map(str, words), "--quiet"])


def test_fail_is_1_and_the_report_says_why(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(project, "--type", "code") == 1
    out, err = capsys.readouterr()
    assert "FAIL" in out
    assert "app.py:3" in out
    assert "\x1b" not in out, "colours went into a pipe"
    assert not err


def test_pass_is_0(project: Path) -> None:
    (project / "app.py").write_text('print("hello")\n')
    assert scan(project, "--type", "code") == 0


def test_incomplete_is_3(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "app.py").write_text('print("hello")\n')
    monkeypatch.setenv("PILOTAGE_SCANNER_BANDIT", "/nowhere/bandit")
    assert scan(project, "--scanner", "bandit") == 3


@pytest.mark.parametrize(
    "words",
    [
        ("/nowhere",),
        (".", "--profile", "none"),
        (".", "--format", "pdf"),
        (".", "--format", "pdf", "--output", "x"),
        (".", "--output", "one.json", "--format", "json", "--format", "sarif"),
        (".", "--config", "absent.yaml"),
    ],
)
def test_what_is_not_there_is_a_mistake_of_usage(
    project: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(project)
    assert scan(*words) == 2
    assert "error: " in capsys.readouterr().err


def test_reports_go_into_a_folder_or_a_file(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = tmp_path / "reports", tmp_path / "own.sarif"
    assert scan(project, "--type", "code", "--output", folder) == 1
    names = {path.name for path in folder.iterdir()}
    assert names == {f"security_scan_report.{end}" for end in ("json", "sarif", "html")}
    assert "FAIL" in capsys.readouterr().out
    assert scan(project, "--type", "code", "--output", file, "--format", "sarif") == 1
    assert json.loads(file.read_text())["version"] == "2.1.0"
    assert not capsys.readouterr().out


def test_nothing_is_copied_where_there_is_no_project(
    tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", str(tmp_path / "nowhere")]) == 2
    assert "copying" not in capsys.readouterr().err
    assert main(["scan", str(project), "--type", "code"]) == 1
    assert capsys.readouterr().err.startswith("  copying the project's own files\n")


def test_where_no_report_can_be_written_nothing_is_scanned(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output, said in (
        ("/proc/no/such", "no folder /proc/no/such"),
        (project / "app.py" / "reports", "no folder"),
    ):
        assert main(["scan", str(project), "--output", str(output)]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert said in err
        assert "copying" not in err, "the scan began"


def test_the_terminal_report_goes_into_no_file(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scan(project, "--format", "terminal", "--output", project / "t.txt") == 2
    assert "the terminal report goes into no file" in capsys.readouterr().err


def test_scanners_that_are_not_here_are_named_in_the_line_that_does_without_them(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "security_scan_configs.yaml"
    default = (files("pilotage.scan") / "default_rules.yaml").read_text("utf-8")
    policy = default.replace("code: [bandit,", "code: [bandit, sonarqube, trufflehog,")
    rules.write_text(policy)
    (project / "app.py").write_text('print("hello")\n')
    assert scan(project, "--config", rules) == 3
    assert "next optional: [sonarqube, trufflehog]" in capsys.readouterr().out


def test_one_format_can_be_printed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scan(project, "--type", "code", "--format", "json") == 1
    assert json.loads(capsys.readouterr().out)["scan_summary"]["total_findings"] == 1


def test_progress_is_told_in_lines_where_there_is_no_terminal(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", str(project), "--scanner", "bandit"]) == 1
    assert "bandit code: runs" in capsys.readouterr().err


def test_a_scan_is_audited(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan(project, "--type", "code")
    capsys.readouterr()
    assert main(["audit", "list"]) == 0
    assert "security_scanner" in capsys.readouterr().out


def test_scanners_are_listed_with_what_they_read(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scanners", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["bandit"]["types"] == ["code"]
    assert "*.py" in rows["bandit"]["passes"][0]["reads"]
    assert rows["osv"]["source"] == "pilotage itself"


def test_a_check_runs_the_control_and_says_what_is_bad(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["scanners", "check", "ruff"]) == 0
    assert "ok   ruff code: finds its planted weakness" in capsys.readouterr().out
    monkeypatch.setenv("PILOTAGE_SCANNER_RUFF", "/bin/true")
    assert main(["scanners", "check", "ruff"]) == 3
    assert "BAD  ruff code: did not find" in capsys.readouterr().out
    assert main(["scanners", "check", "none"]) == 2
