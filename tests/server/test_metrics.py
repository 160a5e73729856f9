"""What /metrics says, after real requests; alerts and the dashboard ask for what is there."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pilotage import __version__
from pilotage.domain.call import Outcome, Principal
from pilotage.pipeline import lint, load
from pilotage.pipeline.prepare import Given
from pilotage.server.metrics import NAMES_LIMIT, Metrics
from pilotage.tool.registry import State
from server.conftest import House, running
from server.test_agents import app, pipeline
from server.test_federated import fronted
from server.test_mcp import connected
from upstream.mcp_server import serving
from waiting import until

__all__ = ["app"]
CALL = "/api/v2/tools/call/"
DEPLOY = Path(__file__).parents[2] / "deploy"
Sample = tuple[str, frozenset[tuple[str, str]]]


async def metrics(house: House) -> dict[Sample, float]:
    async with house.session.get(house.url + "/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(found: dict[Sample, float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


async def call(house: House, tool: str, body: Any, key: str | None, **headers: str) -> int:
    given = {**headers, **({"Authorization": f"Bearer {key}"} if key else {})}
    async with house.session.post(house.url + CALL + tool, json=body, headers=given) as answer:
        await answer.read()
        return answer.status


def refused(found: dict[Sample, float]) -> dict[tuple[str, str], float]:
    """By door and reason."""
    told = {key: value for key, value in found.items() if key[0] == "pilotage_refused_total"}
    labels = {key: dict(key[1]) for key in told}
    return {(labels[key]["via"], labels[key]["reason"]): value for key, value in told.items()}


async def test_calls_and_refusals_are_counted_by_reason(house: House) -> None:
    developer, viewer = house.key("developer"), house.key("viewer")
    house.app.registry.mark({"note": (State.QUARANTINED, "it changed")})
    house.app.registry.mark({"reads": (State.UNAVAILABLE, "it is away")})
    assert await call(house, "echo", {"text": "hi"}, developer) == 200
    assert await call(house, "echo", {"text": "hi"}, None) == 401
    assert await call(house, "echo", {"text": "hi"}, viewer) == 403
    assert await call(house, "echo", {"txt": "hi"}, developer) == 400
    assert await call(house, "wreck", {"text": "x"}, house.key("operator")) == 403
    assert await call(house, "note", {"text": "x"}, developer) == 403
    assert await call(house, "reads", {"path": "x"}, developer) == 503
    assert await call(house, "nowhere", {}, developer) == 404
    assert await call(house, "echo", {"text": "x"}, developer, Origin="https://evil.example") == 403
    async with house.session.get(house.url + "/api/v2/audit", headers=house.headers("ci")) as no:
        assert no.status == 403
    async with connected(house, viewer, "2026-07-28") as client:
        assert (await client.call_tool("echo", {"text": "hi"})).is_error is True
    found = await metrics(house)
    assert refused(found) == {
        ("rest", "unauthenticated"): 1,
        ("rest", "denied"): 2,  # by the policy, and at the door
        ("rest", "arguments"): 1,
        ("rest", "approval"): 1,
        ("rest", "quarantined"): 1,
        ("rest", "unavailable"): 1,
        ("rest", "not_found"): 1,
        ("api", "denied"): 1,
        ("mcp", "denied"): 1,
    }
    said = {"tool": "echo", "via": "rest", "outcome": "succeeded"}
    assert of(found, "pilotage_calls_total", **said) == 1
    assert of(found, "pilotage_call_seconds_count", tool="(unknown)") == 3
    assert of(found, "pilotage_approvals_waiting") == 1
    assert of(found, "pilotage_tools", state="unavailable") == 1
    build = [dict(labels) for name, labels in found if name == "pilotage_build_info"]
    assert [one["version"] for one in build] == [__version__]


async def test_what_waits_and_what_is_open_is_shown(house: House, tmp_path: Path) -> None:
    key, file = house.key("developer"), tmp_path / "go"
    waiting = asyncio.create_task(call(house, "waits", {"file": str(file)}, key))
    await until(lambda: house.app.gateway.running == 1)
    async with (
        connected(house, key, "legacy") as client,
        connected(house, key, "2026-07-28") as new,
    ):
        await client.list_tools()
        async with new.listen(tools_list_changed=True):
            found = await metrics(house)
    assert of(found, "pilotage_calls_running") == 1
    assert of(found, "pilotage_streams_open", kind="sessions") == 1
    assert of(found, "pilotage_streams_open", kind="subscriptions") == 1
    assert of(found, "pilotage_streams_open", kind="events") == 0
    assert of(found, "pilotage_queue_limit", queue="audit") == 20_000
    assert of(found, "pilotage_queue_waiting", queue="writes") == 0
    file.touch()
    assert await waiting == 200
    await house.app.audit.settled()
    found = await metrics(house)
    assert of(found, "pilotage_calls_running") == 0
    assert of(found, "pilotage_queue_waiting", queue="audit") == 0


async def test_runs_that_have_not_ended_are_shown_by_state(house: House, tmp_path: Path) -> None:
    house.key("developer", name="dev")
    by, file = Principal("key:dev", frozenset({"developer"})), tmp_path / "go"
    text = f"name: p\nsteps:\n- {{name: a, tool: waits, params: {{file: {file}}}}}\n"
    checked = lint.checked(lint.lint(load.document(text), house.app.runs.tools))
    run = await house.app.runs.start(checked, Given({}, {}, {}), by)
    await until(lambda: house.app.gateway.running == 1)
    assert of(await metrics(house), "pilotage_runs", state="running") == 1
    file.touch()
    await house.app.runs.wait(run)
    assert of(await metrics(house), "pilotage_runs", state="running") == 0


async def test_how_a_server_behind_us_stands_is_shown(tmp_path: Path) -> None:
    async with serving() as server, fronted(tmp_path / "h", server) as house:
        found = await metrics(house)
        assert of(found, "pilotage_upstream", upstream="up", state="ready") == 1
        assert of(found, "pilotage_upstream", upstream="up", state="unavailable") == 0
        await server.stop()
        key = house.key("developer")
        while house.app.registry.all["echo"].state is State.READY:
            await call(house, "echo", {"text": "x"}, key)
        found = await metrics(house)
        assert of(found, "pilotage_upstream", upstream="up", state="unavailable") == 1
        assert of(found, "pilotage_upstream", upstream="up", state="ready") == 0


async def test_names_of_tools_do_not_become_labels_without_end(house: House) -> None:
    counted = Metrics(house.app.gateway, house.app.fair.limits)
    for number in range(NAMES_LIMIT + 50):
        for _ in range(2):
            counted.ended(f"tool_{number}", "rest", Outcome.SUCCEEDED, 0.1)
    (family,) = [each for each in counted.collect() if each.name == "pilotage_calls"]
    names = {sample.labels["tool"]: sample.value for sample in family.samples}
    assert len(names) == NAMES_LIMIT + 1
    assert names["(other)"] == 100
    assert names["tool_0"] == 2


@pytest.fixture
async def shelf(app: Any) -> AsyncIterator[House]:
    """With every tool, and everything counted once."""
    async with running(app) as house:
        assert await call(house, "nowhere", {}, house.key("developer")) == 404
        await house.app.runs.wait(await house.app.runs.start(*pipeline(house)))
        house.front.metrics.kept("cached")
        house.app.fair.limits.refused["key"] += 1
        yield house


def asked() -> dict[str, list[str]]:
    """The expressions of PromQL in our files, by where they stand."""
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))
    found = {
        f"alert {rule['alert']}": [rule["expr"]]
        for group in rules["groups"]
        for rule in group["rules"]
    }
    board = json.loads((DEPLOY / "dashboards" / "pilotage.json").read_text("utf-8"))
    for panel in board["panels"]:
        found[f"panel {panel['title']}"] = [one["expr"] for one in panel.get("targets", ())]
    for one in board["templating"]["list"]:
        found[f"variable {one['name']}"] = [one["definition"]] if "definition" in one else []
    return found


OURS = re.compile(r"\b(?:pilotage|process)_[a-z_]+")
MATCHED = re.compile(r"((?:pilotage|process)_[a-z_]+)\{([^}]*)\}")


async def test_alerts_and_dashboard_name_metrics_and_labels_that_there_are(shelf: House) -> None:
    found = await metrics(shelf)
    names = {name for name, _ in found}
    values: dict[str, dict[str, set[str]]] = {}
    for name, labels in found:
        for label, value in labels:
            values.setdefault(name, {}).setdefault(label, set()).add(value)
    no_upstream = {"pilotage_upstream"}  # there is none in this house; tests/upstream has them
    expressions = [(where, one) for where, each in asked().items() for one in each]
    assert len(expressions) > 20
    for where, expression in expressions:
        wanted = set(OURS.findall(expression))
        assert wanted, where
        assert wanted - no_upstream <= names, where
        for name, matchers in MATCHED.findall(expression):
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
                there = values.get(name, {"state": set(), "upstream": set()})
                assert label in {*there, "instance"}, where  # which Prometheus adds
    told = {name for _, one in expressions for name in OURS.findall(one)}
    ours = {n for n in names if n.startswith("pilotage_") and not n.endswith(("_created", "_sum"))}
    plain = {name.removesuffix("_count") for name in ours}
    assert plain - told == {"pilotage_call_seconds"}, "the dashboard shows all that we count"


def test_each_alert_says_what_to_do_and_how_bad_it_is() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
            assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
            assert re.fullmatch(r"\d+[smh]", rule["for"]), rule["alert"]
