"""`pilotage call`: a tool that is not there, and what stands in the audit of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pilotage.cli.main import main


def test_a_tool_that_is_not_there_is_audited_and_the_tools_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path))
    monkeypatch.delenv("MCP_SERVER_URL", raising=False)
    assert main(["call", "securty_scanner"]) == 2
    err = capsys.readouterr().err
    assert "error: there is no tool 'securty_scanner'" in err
    assert "hint:  one of bandit, " in err
    assert "security_scanner" in err
    assert main(["audit", "list", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["tool"] for row in rows} == {"securty_scanner"}


def test_no_rows_are_not_a_number_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("audit", "runs"):
        for number in ("0", "-1", "many"):
            with pytest.raises(SystemExit) as caught:
                main([verb, "list", "--limit", number])
            assert caught.value.code == 2
            assert f"'{number}' is no number from 1 up" in capsys.readouterr().err


def test_the_tools_are_listed_and_one_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path))
    monkeypatch.delenv("MCP_SERVER_URL", raising=False)
    assert main(["tools", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed == sorted(listed)
    (row,) = [line for line in listed if line.startswith("security_scanner ")]
    assert row.split()[1] == "write"
    assert " Scan a checkout, an image or both " in row
    assert main(["tools", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(listed)
    assert main(["tools", "show", "security_scanner"]) == 0
    assert '"source_path"' in capsys.readouterr().out
    assert main(["tools", "show", "nothing"]) == 2
    assert "pilotage tools list" in capsys.readouterr().err


def test_an_argument_that_is_nearly_one_is_ignored_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MCP_SERVER_URL", raising=False)
    (tmp_path / "app.py").write_text("x = 1\n")
    given = {"source_path": str(tmp_path), "types": ["code"], "profil": "strict"}
    words = ["--root", str(tmp_path), "--json", json.dumps(given)]
    assert main(["call", "security_scanner", *words]) == 0
    out, err = capsys.readouterr()
    said = "unknown argument 'profil' is ignored; did you mean 'profile'?"
    assert f"warning: {said}\n" in err
    told = json.loads(out)
    assert (told["warnings"], told["profile"]) == ([said], "default")
