"""Whoever may write one object must not end the operator of all by how deep it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from operator_pipelines import good, pipeline
from operator_rig import Rig

API = "/apis/mcp.example.com/v1alpha1/namespaces"


def deep(depth: int) -> str:
    return '{"properties":{"a":' * depth + "{}" + "}}" * depth


def create(rig: Rig, plural: str, kind: str, name: str, spec: str, folder: Path) -> None:
    """As kubectl would not: it cannot read so deep itself."""
    file = folder / f"{name}.json"
    head = {"name": name, "namespace": rig.namespace}
    file.write_text(
        f'{{"apiVersion":"mcp.example.com/v1alpha1","kind":"{kind}",'
        f'"metadata":{json.dumps(head)},"spec":{spec}}}'
    )
    rig.kubectl("create", "--raw", f"{API}/{rig.namespace}/{plural}", "-f", str(file))


@pytest.mark.parametrize("depth", [100, 900, 3_000])
def test_an_object_that_is_too_deep_is_refused_and_all_others_go_on(
    rig: Rig, tmp_path: Path, depth: int
) -> None:
    tool = f'{{"builtin":"run_list","parameters":{deep(depth)}}}'
    create(rig, "mcptools", "MCPTool", "deep", tool, tmp_path)
    said = rig.wait("mcptool", "deep", "InvalidSpec")
    assert "nested deeper than" in said["message"]
    step = f'{{"name":"a","tool":"run_list","params":{{"x":{deep(depth)}}}}}'
    steps = f'{{"steps":[{step}]}}'
    create(rig, "mcppipelines", "MCPPipeline", "deep", steps, tmp_path)
    rig.wait("mcppipeline", "deep", "InvalidPipeline")
    pipeline(rig, "flat", good("one"))
    run = f'{{"pipelineRef":{{"name":"flat"}},"inputs":{{"x":{deep(depth)}}}}}'
    create(rig, "mcppipelineruns", "MCPPipelineRun", "deep", run, tmp_path)
    rig.wait("mcppipelinerun", "deep", "InvalidRun", "Succeeded")
    rig.apply("MCPTool", "plain", {"builtin": "run_list"})
    rig.wait("mcptool", "plain", "Ready")
    rig.operators.pop().stop(kill=True)
    rig.operate()  # it lists them, where it saw them come before
    rig.apply("MCPTool", "later", {"builtin": "run_list"})
    rig.wait("mcptool", "later", "Ready")
    for kind in ("mcptool", "mcppipelinerun"):
        rig.kubectl("delete", kind, "deep", "--timeout=30s")


def test_an_object_that_is_too_large_is_refused_and_all_others_go_on(
    rig: Rig, tmp_path: Path
) -> None:
    """A few of them, read as one page and kept whole, were more memory than the operator has."""
    large = json.dumps("x" * 1_000_000)
    tool = f'{{"builtin":"run_list","parameters":{{"description":{large}}}}}'
    create(rig, "mcptools", "MCPTool", "large", tool, tmp_path)
    said = rig.wait("mcptool", "large", "InvalidSpec")
    assert "spec.parameters is too large for an object of more than 256 KiB" in said["message"]
    step = '{"name":"a","tool":"run_list","params":{}}'
    plan = f'{{"cron":"0 3 * * *","inputs":{{"x":{large}}}}}'
    steps = f'{{"steps":[{step}],"schedule":{plan}}}'
    create(rig, "mcppipelines", "MCPPipeline", "large", steps, tmp_path)
    rig.wait("mcppipeline", "large", "InvalidPipeline", "Valid")
    pipeline(rig, "small", good("one"))
    run = f'{{"pipelineRef":{{"name":"small"}},"inputs":{{"x":{large}}}}}'
    create(rig, "mcppipelineruns", "MCPPipelineRun", "large", run, tmp_path)
    rig.wait("mcppipelinerun", "large", "InvalidRun", "Succeeded")
    rig.operators.pop().stop(kill=True)
    rig.operate()
    rig.apply("MCPTool", "later", {"builtin": "run_list"})
    rig.wait("mcptool", "later", "Ready")
    for kind in ("mcptool", "mcppipeline", "mcppipelinerun"):
        rig.kubectl("delete", kind, "large", "--timeout=30s")
