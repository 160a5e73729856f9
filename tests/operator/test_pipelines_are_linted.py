"""What is wrong with an MCPPipeline is said by it, before anybody runs it."""

from __future__ import annotations

from operator_pipelines import good, pipeline
from operator_rig import Rig, until

SCAN = {"name": "look", "tool": "security_scanner"}


def test_a_pipeline_that_could_not_start_is_not_ready_and_says_why_until_it_could(
    rig: Rig,
) -> None:
    pipeline(rig, "wrong", {"name": "one", "tool": "no_such_tool"}, good("two", depends_on=["x"]))
    said = rig.wait("mcppipeline", "wrong", "InvalidPipeline")
    assert said["status"] == "False"
    assert "steps[1]" in said["message"]
    pipeline(rig, "wrong", {"name": "one", "tool": "no_such_tool"})
    until(lambda: "no_such_tool" in rig.wait("mcppipeline", "wrong", "InvalidPipeline")["message"])
    events = rig.kubectl("get", "events", "--field-selector=involvedObject.name=wrong")
    assert "InvalidPipeline" in events
    pipeline(rig, "wrong", good("one"))
    assert rig.wait("mcppipeline", "wrong", "Ready")["status"] == "True"
    assert rig.wait("mcppipeline", "wrong", "Valid", "Valid")["status"] == "True"


def test_a_misspelt_argument_is_a_warning(rig: Rig) -> None:
    pipeline(rig, "odd", {**SCAN, "params": {"source_path": ".", "scan_profil": "deep"}})
    said = rig.wait("mcppipeline", "odd", "Warnings", "Valid")
    assert said["status"] == "True"
    assert "scan_profil" in said["message"]
    assert rig.wait("mcppipeline", "odd", "Ready")["status"] == "True"


def test_one_that_nobody_could_look_at_is_not_said_to_be_ready(rig: Rig) -> None:
    pipeline(rig, "seen", good("one"))
    rig.wait("mcppipeline", "seen", "Ready")
    rig.house.stop()
    pipeline(rig, "unseen", good("one"))
    said = rig.wait("mcppipeline", "unseen", "NotLooked")
    assert (said["status"], "cannot be used" in said["message"]) == ("Unknown", True), said
    rig.kubectl("annotate", "mcppipeline", "seen", "look=again")
    rig.house.start()
    rig.wait("mcppipeline", "unseen", "Ready")
    assert rig.wait("mcppipeline", "seen", "Ready")["status"] == "True"
