from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from pilotage.domain.call import Outcome
from pilotage.scan.scanner import Raw
from pilotage.scanners.zizmor import ZIZMOR, parse
from scanners import golden
from scanners.looking import look, plant
from scanners.samples import SAMPLES


def test_without_its_log_there_is_no_evidence() -> None:
    assert parse(replace(golden.recorded("zizmor"), stderr=b"")).read is None


def test_the_paths_of_older_versions_are_read() -> None:
    raw = golden.recorded("zizmor")
    old = json.loads(raw.stdout)
    for audit in old:
        for place in audit["locations"]:
            local = place["symbolic"]["key"]["Local"]
            local["given_path"] = local.pop("verbatim_path")
            local["prefix"] = "."
            place["symbolic"]["primary"] = place["symbolic"].pop("kind") == "Primary"
    parsed = parse(Raw(14, json.dumps(old).encode(), raw.stderr, root=golden.ROOT))
    assert golden.plain(raw, parsed) == golden.expected("zizmor")


async def test_a_broken_workflow_hides_neither_itself_nor_the_others(tmp_path: Path) -> None:
    run = await look(ZIZMOR, plant(tmp_path, SAMPLES["zizmor"]))
    unread = {item.path for item in run.unread}
    assert unread == {".github/workflows/broken.yml", ".github/workflows/shape.yml"}
    assert "template-injection" in {finding.rule for finding in run.findings}


async def test_only_broken_workflows_are_a_failed_run(tmp_path: Path) -> None:
    run = await look(ZIZMOR, plant(tmp_path, {".github/workflows/broken.yml": "name: [\n"}))
    assert run.outcome is Outcome.FAILED
