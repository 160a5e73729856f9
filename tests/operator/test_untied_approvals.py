"""Where no admission policy ties approvals to their writers, those in objects are refused."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.access import Access

from operator_pipelines import ended, good, pipeline, run, scan
from operator_rig import rigged, until


def test_an_approval_that_anybody_could_have_forged_is_refused_and_the_status_says_why(
    installed: Access, namespace: str, tmp_path: Path
) -> None:
    with rigged(installed, namespace, tmp_path) as rig:
        rig.operate("--refuse-approvals")
        pipeline(rig, "asks", scan("look", rig, on_failure="manual"), good("after"))
        run(rig, "asks-1", "asks")
        rig.wait("mcppipelinerun", "asks-1", "Waiting", "Succeeded")
        status = (rig.get("mcppipelinerun", "asks-1") or {})["status"]
        user = rig.kubectl("auth", "whoami", "-o=jsonpath={.status.userInfo.username}")
        entry = {"id": status["waiting"][0]["id"], "user": user, "decision": "approve"}
        patch = json.dumps([{"op": "add", "path": "/spec/approvals/-", "value": entry}])
        rig.kubectl("patch", "mcppipelinerun", "asks-1", "--type=json", f"-p={patch}")
        said = rig.wait("mcppipelinerun", "asks-1", "ApprovalsRefused", "Succeeded")
        assert said["status"] == "Unknown"
        assert "nobody can tell who wrote it. Approve at the tool server" in said["message"]
        assert "look" in said["message"]  # and still what it waits for
        audit = rig.house.ask("GET", "/api/v2/audit?limit=200")[1]
        assert "approved" not in [one["event"] for one in audit["entries"]]

        body = {"step": "look", "reason": "seen"}
        done, answer = rig.house.ask("POST", f"/api/v2/runs/{status['runId']}/approve", body)
        assert done == 200, answer
        assert ended(rig, "asks-1")["outcome"] == "succeeded"
        until(lambda: rig.wait("mcppipelinerun", "asks-1", "Succeeded", "Succeeded"))
