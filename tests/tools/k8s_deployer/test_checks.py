"""What a deployment is asked when it is up, and that a no takes it back: a real API server, and
servers of the test's that answer over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from cluster_desk import Desk
from deployed_web import settings
from pilotage.domain.call import Outcome

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
        ("<p>a proxy</p>", "a proxy"),
    ],
)
async def test_a_value_that_is_out_or_absent_takes_it_back(
    desk: Desk, body: str, said: str
) -> None:
    async with answering(body) as url:
        asked = {"prometheus": url, "query": "errors", "at_most": 0.05}
        outcome, why = await deployed(desk, **asked)
    assert (outcome, said in why) == (Outcome.FAILED, True), why
