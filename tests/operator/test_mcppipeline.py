"""MCPPipelines: the clock that starts runs, once a time, and what is kept of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operator_pipelines import ended, good, pipeline, run, scan
from operator_rig import Rig, until
from pilotage.domain.errors import BadInput
from pilotage.operator.mcppipeline import run_name, since, times

RESUME = '-p={"spec":{"schedule":{"suspend":false}}}'
NOON = datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC)


def at(hour: int, minute: int = 0, day: int = 26) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def plan(cron: str, zone: str = "Etc/UTC", **more: Any) -> dict[str, Any]:
    return {"cron": cron, "timeZone": zone, **more}


def test_the_newest_time_that_has_come_is_due_and_the_next_one_is_told() -> None:
    assert times(plan("0 * * * *"), at(8, 30), NOON) == (at(12), at(13))
    assert times(plan("0 * * * *"), at(12), NOON) == (None, at(13))


def test_a_time_is_that_of_its_zone() -> None:
    assert times(plan("0 3 * * *", "Asia/Shanghai"), at(1), NOON) == (None, at(19))


def test_what_is_too_late_is_left_out() -> None:
    late = plan("0 * * * *", startingDeadlineSeconds=10)
    assert times(late, at(8, 30), NOON) == (None, at(13))
    assert times(late, at(8, 30), at(12) + timedelta(seconds=5)) == (at(12), at(13))


def test_what_was_missed_for_years_is_made_up_for_once_and_at_once() -> None:
    since = datetime(2020, 1, 1, tzinfo=UTC)
    assert times(plan("* * * * *"), since, NOON) == (at(12), at(12, 1))


@pytest.mark.parametrize("more", [{}, {"startingDeadlineSeconds": 604_800}])
def test_what_was_missed_days_ago_is_made_up_for_where_it_may_be_so_late(
    more: dict[str, Any],
) -> None:
    monthly = plan("0 3 24 * *", **more)
    assert times(monthly, at(3, day=1), NOON)[0] == at(3, day=24)


def test_a_schedule_that_is_new_starts_nothing_for_the_time_before_it() -> None:
    old: dict[str, Any] = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}
    assert since(old, None) == datetime(2026, 1, 1, tzinfo=UTC)
    for status in ({"observedGeneration": 1}, {"observedGeneration": 2, "conditions": []}):
        assert since({**old, "status": status}, None) > NOON
    going = {"observedGeneration": 2, "nextScheduleTime": "2026-02-01T00:00:00Z"}
    assert since({**old, "status": going}, None) == datetime(2026, 1, 1, tzinfo=UTC)
    assert since({**old, "status": going}, "2026-03-01T00:00:00Z").month == 3
    assert since({**old, "status": {"observedGeneration": 2}}, "2026-03-01T00:00:00Z") > NOON


def test_no_time_is_lost_in_the_hour_that_comes_twice() -> None:
    begin, half = datetime(2026, 10, 25, 0, 0, tzinfo=UTC), timedelta(minutes=30)
    for step in range(1, 6):
        now = begin + step * half + timedelta(seconds=1)
        due = times(plan("*/30 * * * *", "Europe/Berlin"), now - half, now)[0]
        assert due == begin + step * half


def test_the_runs_of_two_long_names_have_two() -> None:
    names = [run_name("x" * 170 + "." + "x" * 29 + end, NOON) for end in ("a", "b")]
    assert ".-" not in names[0], "no name of the cluster's"
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 253
    assert run_name("x", NOON) == f"x-{int(NOON.timestamp()) // 60}"


@pytest.mark.parametrize(
    ("cron", "zone"),
    [("0 3 * *", "Etc/UTC"), ("0 3 * * mon#9", "Etc/UTC"), ("61 * * * *", "Etc/UTC"),
     ("0 3 30 2 *", "Etc/UTC"), ("0 3 * * *", "Mars/Olympus"), ("0 3 * * *", "../etc/passwd"),
     ("* * * * * *", "Etc/UTC"), ("0 3 * * *", "")],
)  # fmt: skip
def test_what_is_no_time_says_so(cron: str, zone: str) -> None:
    with pytest.raises(BadInput) as raised:
        times(plan(cron, zone), at(8), NOON)
    assert "0 3 * * *" in raised.value.hint or "Europe/Berlin" in raised.value.hint


def test_all_that_is_wrong_with_a_time_is_said_at_once() -> None:
    with pytest.raises(BadInput, match=r"cron is '61 .*: Bad minute; there is no time zone 'Mars'"):
        times(plan("61 * * * *", "Mars"), at(8), NOON)


def scheduled(rig: Rig, name: str, last: str, **more: Any) -> None:
    """A pipeline that runs each minute, and ran last at `last`."""
    spec = {"cron": "* * * * *", "suspend": True, **more.pop("schedule", {})}
    pipeline(rig, name, good("only"), schedule=spec, **more)
    rig.wait("mcppipeline", name, "ScheduleSuspended")
    status = f'{{"status":{{"lastScheduleTime":"{last}","nextScheduleTime":"{last}"}}}}'
    rig.kubectl(
        "patch", "mcppipeline", name, "--subresource=status", "--type=merge", f"-p={status}"
    )
    rig.kubectl("patch", "mcppipeline", name, "--type=merge", RESUME)


def runs(rig: Rig) -> list[dict[str, Any]]:
    found = rig.kubectl("get", "mcppipelinerun", "-o", "jsonpath={.items[*].metadata.name}").split()
    return [one for name in found if (one := rig.get("mcppipelinerun", name))]


def test_a_run_is_made_by_the_clock_and_goes_with_its_pipeline(rig: Rig) -> None:
    scheduled(rig, "clock", "2020-01-01T00:00:00Z", schedule={"inputs": {}})
    (one, *_) = until(lambda: runs(rig), "a run of the clock")
    assert ended(rig, one["metadata"]["name"])["outcome"] == "succeeded"
    assert one["metadata"]["ownerReferences"][0]["name"] == "clock"
    said = rig.wait("mcppipeline", "clock", "Scheduled")
    assert "* * * * *" in said["message"]
    rig.kubectl("delete", "mcppipeline", "clock", "--cascade=foreground", "--timeout=60s")
    assert runs(rig) == []


def test_a_run_that_the_cluster_refuses_is_said_and_made_later(rig: Rig) -> None:
    hard = "--hard=count/mcppipelineruns.mcp.example.com=0"
    rig.kubectl("create", "quota", "none", hard)
    until(lambda: (rig.get("quota", "none") or {}).get("status", {}).get("hard"), "the quota")
    scheduled(rig, "full", "2020-01-01T00:00:00Z")
    said = rig.wait("mcppipeline", "full", "NotStarted")
    assert "exceeded quota: none" in said["message"]
    status = (rig.get("mcppipeline", "full") or {})["status"]
    assert status["lastScheduleTime"] == "2020-01-01T00:00:00Z"
    rig.kubectl("delete", "quota", "none")
    rig.kubectl("annotate", "mcppipeline", "full", "look=again")
    rig.wait("mcppipeline", "full", "Scheduled")
    assert until(lambda: runs(rig), "a run of it")


def test_no_more_runs_are_kept_than_it_says(rig: Rig) -> None:
    pipeline(rig, "kept", good("only"), successfulRunsHistoryLimit=1)
    for number in range(3):
        run(rig, f"kept-{number}", "kept")
        ended(rig, f"kept-{number}")
    until(lambda: [one["metadata"]["name"] for one in runs(rig)] == ["kept-2"], "the others' end")


def test_of_runs_that_ended_in_one_second_the_last_to_begin_is_kept(rig: Rig) -> None:
    rig.operators[0].stop()
    pipeline(rig, "kept", good("only"), successfulRunsHistoryLimit=1)
    for name, begun in (("a", 2), ("b", 3), ("c", 1)):
        run(rig, name, "kept")
        status = {
            "runId": f"0{begun}", "outcome": "succeeded", "completionTime": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        patch = ("--subresource=status", "--type=merge", f"-p={json.dumps({'status': status})}")
        rig.kubectl("patch", "mcppipelinerun", name, *patch)
    rig.operate()
    until(lambda: [one["metadata"]["name"] for one in runs(rig)] == ["b"], "the others' end")


def test_while_one_runs_no_other_begins_where_that_is_forbidden(rig: Rig) -> None:
    pipeline(rig, "one", scan("look", rig, on_failure="manual"))
    run(rig, "by-hand", "one")
    until(lambda: (rig.get("mcppipelinerun", "by-hand") or {}).get("status", {}).get("waiting"))
    scheduled_steps = [scan("look", rig, on_failure="manual")]
    spec = {"steps": scheduled_steps, "schedule": {"cron": "* * * * *", "suspend": True}}
    rig.apply("MCPPipeline", "one", spec)
    rig.wait("mcppipeline", "one", "ScheduleSuspended")
    status = '{"status":{"lastScheduleTime":"2020-01-01T00:00:00Z"}}'
    rig.kubectl(
        "patch", "mcppipeline", "one", "--subresource=status", "--type=merge", f"-p={status}"
    )
    rig.kubectl("patch", "mcppipeline", "one", "--type=merge", RESUME)
    until(
        lambda: "2020" not in (rig.get("mcppipeline", "one") or {})["status"]["lastScheduleTime"],
        "the time to be passed over",
    )
    assert [one["metadata"]["name"] for one in runs(rig)] == ["by-hand"]


@pytest.mark.parametrize(
    ("given", "why"),
    [({}, "no who, which the pipeline requires"), ({"who": "x", "hwo": 1}, "no input hwo")],
)
def test_a_schedule_whose_runs_could_not_begin_is_said_and_starts_none(
    rig: Rig, given: dict[str, Any], why: str
) -> None:
    plan = {"cron": "* * * * *", "startingDeadlineSeconds": 600, "inputs": given}
    pipeline(rig, "asks", good("only"), inputs={"who": {"required": True}}, schedule=plan)
    said = rig.wait("mcppipeline", "asks", "InvalidSchedule")
    assert why in said["message"]
    assert runs(rig) == []


@pytest.mark.parametrize("suspend", [False, True])
def test_a_schedule_that_is_none_is_said(rig: Rig, suspend: bool) -> None:
    schedule = {"cron": "every day", "suspend": suspend}
    pipeline(rig, "wrong", good("only"), schedule=schedule)
    assert "five fields" in rig.wait("mcppipeline", "wrong", "InvalidSchedule")["message"]
