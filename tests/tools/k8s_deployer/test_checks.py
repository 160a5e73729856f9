"""What a deployment is asked when it is up, and that a no takes it back: a real API server, and
servers of the test's that answer over HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from cluster_desk import Desk, refused
from deployed_web import settings
from pilotage.domain.call import Outcome, Principal, Tenant

DEPLOY = "k8s_deployer"


@asynccontextmanager
async def answering(body: str, status: int = 200) -> AsyncIterator[str]:
    """A server that answers everything like this; its address."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=body, status=status, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def measured(*values: str) -> str:
    """As Prometheus answers an instant query."""
    result = [{"metric": {}, "value": [1_700_000_000.5, value]} for value in values]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})


async def deployed(desk: Desk, **check: Any) -> tuple[Outcome, str]:
    """How a second version of some settings did, whose first is there."""
    first = await desk.call(DEPLOY, manifest_path=desk.write(settings(a="1")))
    assert first.succeeded, first
    path = desk.write(settings(a="2"))
    done = await desk.call(DEPLOY, manifest_path=path, checks=[check])
    kept = "2" if done.succeeded else "1"
    assert desk.there("configmap", "settings")["data"] == {"a": kept}
    (asked,) = done.value["steps"][0]["checks"]
    assert asked["passed"] is done.succeeded
    return done.outcome, done.error or asked["said"]


async def test_an_address_that_answers_as_it_should_holds(desk: Desk) -> None:
    async with answering("fine") as url:
        assert await deployed(desk, url=url) == (Outcome.SUCCEEDED, "3 answers with 200")


async def test_an_address_that_answers_otherwise_takes_it_back(desk: Desk) -> None:
    async with answering("broken", 500) as url:
        outcome, why = await deployed(desk, url=url)
    assert outcome is Outcome.FAILED
    assert "rolled back: the new version does not hold" in why
    assert "3 of 3 were not 200: answered 500" in why


async def test_no_answer_is_no_yes(desk: Desk) -> None:
    async with answering("fine") as url:
        pass
    outcome, why = await deployed(desk, url=url, times=1)
    assert (outcome, "cannot be reached" in why) == (Outcome.FAILED, True), why


async def test_where_the_guard_lets_nobody_go_nothing_is_asked(desk: Desk) -> None:
    outcome, why = await deployed(desk, url="http://169.254.169.254/latest/meta-data")
    assert outcome is Outcome.FAILED
    assert "link-local" in why


async def test_a_new_pod_that_is_not_there_cannot_answer(desk: Desk) -> None:
    outcome, why = await deployed(desk, path="/healthz", port=8080)
    assert (outcome, "there is no new pod to ask" in why) == (Outcome.FAILED, True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (measured("0.01"), "0.01 is at most 0.05"),
        (measured("0.01", "0.04"), "0.01, 0.04 is at most 0.05"),
    ],
)
async def test_values_within_their_threshold_hold(desk: Desk, body: str, said: str) -> None:
    async with answering(body) as url:
        asked = {"prometheus": url, "query": "errors", "at_most": 0.05}
        assert await deployed(desk, **asked) == (Outcome.SUCCEEDED, said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (measured("0.01", "0.2"), "0.2 is not at most 0.05"),
        (measured("NaN"), "nan is not at most 0.05"),
        (measured(), "Prometheus has no value for this query"),
        ('{"status": "error", "error": "bad query"}', "bad query"),
        ("<p>a proxy</p>", "Prometheus answered 200: that is not the JSON of Prometheus"),
        ('{"password": "hunter2"}', "that is not the JSON of Prometheus"),
        ('{"status": "success", "data": {"result": "hunter2"}}', "that is not the JSON"),
    ],
)
async def test_a_value_that_is_out_or_absent_takes_it_back(
    desk: Desk, body: str, said: str
) -> None:
    async with answering(body) as url:
        asked = {"prometheus": url, "query": "errors", "at_most": 0.05}
        outcome, why = await deployed(desk, **asked)
    assert (outcome, said in why) == (Outcome.FAILED, True), why
    assert "hunter2" not in why


@pytest.mark.parametrize("more", ["/api/v1/admin?x=", "/#", "?"])
async def test_the_address_of_prometheus_is_no_way_to_another_path(desk: Desk, more: str) -> None:
    asked = {"prometheus": f"http://127.0.0.1:9090{more}", "query": "up", "at_most": 1}
    path = desk.write(settings(a="1"))
    said = await refused(desk, DEPLOY, manifest_path=path, checks=[asked])
    assert f"check: prometheus is http://127.0.0.1:9090{more}" in said
    assert desk.get("configmap", "settings") is None, "nothing has happened"


@pytest.mark.parametrize("ask", ["url", "prometheus"])
@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("prices.bank.svc.cluster.local", "is in the namespace bank, and this run in"),
        ("prices.bank.svc", "is in the namespace bank"),
        ("prices-0.prices.bank.svc.example.org.", "is in the namespace bank"),
        ("10-0-0-7.bank.pod.cluster.local", "is in the namespace bank"),
        ("PRICES.BANK:8080", "prices.bank may be in the namespace bank"),
        ("prices", "prices is a name in the server's own namespace"),
        ("10.0.0.7", "10.0.0.7 says not whose it is"),
        ("[::ffff:10.0.0.7]", "says not whose it is"),
    ],
)
async def test_a_run_of_a_namespace_asks_nothing_of_another(
    desk: Desk, ask: str, host: str, said: str
) -> None:
    name = f"{Tenant('prod', desk.namespace).name} via key:operator"
    tenant = replace(desk, by=Principal(name, frozenset({"asker"})))
    more = {} if ask == "url" else {"query": "up", "at_most": 1}
    checks = [{ask: f"http://{host}/", **more}]
    path = desk.write(settings(a="1"))
    assert said in await refused(tenant, DEPLOY, manifest_path=path, checks=checks)
    assert desk.app.approvals.newest(tenant.by) == [], "nobody is asked about it"
    assert desk.get("configmap", "settings") is None


async def test_a_run_of_a_namespace_asks_what_is_its_own(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing that a resolver would find inside only by the domains that it searches."""
    name = f"{Tenant('prod', desk.namespace).name} via key:operator"
    tenant = replace(desk, by=Principal(name, frozenset({"worker"})))
    asked: list[str] = []

    def resolve(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        raise OSError(None, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    own = [f"web.{desk.namespace}.svc.cluster.local", f"web.{desk.namespace}.svc"]
    hosts = [*own, f"web.{desk.namespace}", "db-0.db.bank", "example.com."]
    checks = [{"url": f"https://{host}/", "times": 1} for host in hosts]
    done = await tenant.call(DEPLOY, manifest_path=desk.write(settings(a="1")), checks=checks)
    assert "no such name" in str(done.error)
    assert asked == [*hosts[:3], "db-0.db.bank.", "example.com."]
