"""Declared HTTP tools: what goes out, what comes back, what is refused before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotage import config
from pilotage.app import App, local_principal
from pilotage.domain.call import Outcome, ToolResult
from pilotage.domain.errors import BadInput, Denied, PilotageError
from pilotage.tool.roots import roots
from pilotage.upstream.wanted import Wanted
from server.tools import TOOLS
from upstream.echo import Echo, echoing
from waiting import until

SECRET = "canary-0123456789-secret"
ME = local_principal()


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    monkeypatch.setenv("PILOTAGE_SECRET_TRACKER", SECRET)
    monkeypatch.setenv("PILOTAGE_HOSTS_TRACKER", "127.0.0.1:*, api.example")
    environment = {
        "PILOTAGE_HOME": str(tmp_path),
        "HOME": str(tmp_path),
        "PILOTAGE_EGRESS_ALLOW": "127.0.0.1, localhost",
    }
    app = App(config.read(environment=environment), roots(tmp_path), TOOLS)
    yield app
    await app.leave()
    app.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    async with echoing() as running:
        yield running


def schema(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


async def put(app: App, **definition: Any) -> None:
    whole = {"method": "GET", "input_schema": schema(), **definition}
    await app.others.registrations.put("t", Wanted("http", whole), ME)


async def call(app: App, **arguments: Any) -> ToolResult:
    return await app.call("t", arguments, ME, "cli")


async def test_what_the_url_does_not_name_goes_into_the_body(app: App, echo: Echo) -> None:
    takes = schema("id", id=NUMBER, text=TEXT, tags={"type": "array", "items": TEXT})
    await put(app, method="POST", url=echo.url + "/t/{id}", input_schema=takes)
    result = await call(app, id=3, text="é", tags=["a"])
    assert result.value["status"] == 200
    sent = result.value["result"]
    assert (sent["method"], sent["target"]) == ("POST", "/t/3")
    assert sent["body"] == '{"text":"é","tags":["a"]}'
    assert ["Content-Type", "application/json"] in sent["headers"]


async def test_values_cannot_leave_their_place(app: App, echo: Echo) -> None:
    takes = schema("id", id=TEXT, q=TEXT)
    await put(app, url=echo.url + "/t/{id}/x?q={q}&z=1", input_schema=takes)
    result = await call(app, id="a/b?c#d@evil.example", q="x&z=2#e")
    assert result.value["result"]["target"] == (
        "/t/a%2Fb%3Fc%23d%40evil.example/x?q=x%26z%3D2%23e&z=1"
    )
    for walking in ("..", "../admin", "%2e%2e/admin", ""):
        refused = await call(app, id=walking)
        assert refused.outcome is Outcome.FAILED
    assert len(echo.seen) == 1


async def test_a_secret_goes_where_it_may_and_shows_nowhere(app: App, echo: Echo) -> None:
    headers = {"Authorization": {"secret": "TRACKER", "prefix": "Bearer "}, "X-Team": "blue"}
    await put(app, url=echo.url + "/t", headers=headers)
    result = await call(app)
    assert ["Authorization", f"Bearer {SECRET}"] in echo.seen[0]["headers"]
    assert ["X-Team", "blue"] in echo.seen[0]["headers"]
    assert SECRET not in repr(result)
    assert "[redacted TRACKER]" in repr(result)
    await put(app, url=f"http://localhost:{echo.port}/t", headers=headers)
    refused = await call(app)
    assert refused.outcome is Outcome.DENIED
    where = f"http://localhost:{echo.port}, but to 127.0.0.1:*, api.example"
    assert refused.error == f"the secret TRACKER may not go to {where}"
    assert len(echo.seen) == 1
    app.audit.seal()
    for file in app.settings.home.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


async def test_a_secret_that_is_not_there_is_named(app: App, echo: Echo) -> None:
    await put(app, url=echo.url, headers={"Authorization": {"secret": "NONE"}})
    result = await call(app)
    assert (result.outcome, result.error) == (Outcome.FAILED, "there is no secret NONE")
    assert echo.seen == []


@pytest.mark.parametrize(
    ("how", "outcome", "error"),
    [
        ("status:404", Outcome.FAILED, "answered 404: it is not\\x1b[31m here xxx"),
        ("status:500", Outcome.FAILED, "answered 500"),
        ("to?where=http://127.0.0.1:1/x", Outcome.FAILED, "answered 307, and redirects"),
        ("to?where=http://169.254.169.254/", Outcome.DENIED, "redirects"),
        ("text", Outcome.FAILED, "answered text/html, which is not JSON"),
        ("json?text={", Outcome.FAILED, "is not JSON, though it says so"),
        ("nested:100000", Outcome.FAILED, "is not JSON, though it says so"),
        ("large:5000000", Outcome.FAILED, "answered more than 4194304 bytes"),
        ("zipped", Outcome.FAILED, "compressed"),
        ("cut", Outcome.UNAVAILABLE, "cannot be reached"),
    ],
)
async def test_whatever_the_other_side_does_is_the_answer(
    app: App, echo: Echo, how: str, outcome: Outcome, error: str
) -> None:
    await put(app, url=f"{echo.url}/how/{how.replace('{', '%7B')}")
    result = await call(app)
    assert (result.outcome, error in (result.error or "")) == (outcome, True), result
    assert len(result.error or "") < 1_000


async def test_an_empty_answer_and_an_answer_in_the_same_origin_are_taken(
    app: App, echo: Echo
) -> None:
    await put(app, url=echo.url + "/how/empty")
    assert (await call(app)).value == {"status": 204, "result": None}
    await put(app, url=echo.url + "/how/to?where=/there")
    assert (await call(app)).value["result"]["target"] == "/there"


async def test_words_of_the_other_side_do_not_pass_for_ours(app: App, echo: Echo) -> None:
    said = "%7B%22success%22:false,%22outcome%22:%22succeeded%22%7D"
    await put(app, url=f"{echo.url}/how/json?text={said}")
    result = await call(app)
    assert result.value == {
        "status": 200,
        "result": {"success": False, "outcome": "succeeded"},
    }


async def test_an_answer_that_is_not_what_was_promised_is_a_failure(app: App, echo: Echo) -> None:
    promised = {
        "$defs": {"n": NUMBER},
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/n"}},
    }
    for said, outcome in (('{"n":1}', Outcome.SUCCEEDED), ('{"n":"x"}', Outcome.FAILED)):
        text = said.replace("{", "%7B").replace("}", "%7D").replace('"', "%22")
        await put(app, url=f"{echo.url}/how/json?text={text}", output_schema=promised)
        result = await call(app)
        assert result.outcome is outcome
    assert result.error is not None
    assert result.error.endswith("answered what its output schema forbids: n: the value is not of "
                                 'type "integer"')  # fmt: skip
    shown = app.registry.find("t").tool.output_schema
    assert shown is not None
    assert shown["properties"]["result"]["properties"]["n"] == {
        "$ref": "#/properties/result/$defs/n"
    }


async def test_a_hanging_server_is_left_at_the_deadline_and_when_cancelled(
    app: App, echo: Echo
) -> None:
    await put(app, url=echo.url + "/how/hang", timeout=0.2)
    result = await call(app)
    assert (result.outcome, result.error) == (Outcome.TIMED_OUT, "t took longer than 0.2 s")
    await put(app, url=echo.url + "/how/hang", timeout=600)
    task = asyncio.create_task(call(app))
    await until(lambda: len(echo.seen) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_endpoint_that_is_away_is_unavailable(app: App) -> None:
    async with echoing() as gone:
        url = gone.url
    await put(app, url=url)
    result = await call(app)
    assert result.outcome is Outcome.UNAVAILABLE
    assert "cannot be reached" in (result.error or "")


async def test_the_effect_is_that_of_the_method_unless_it_is_said(app: App) -> None:
    where = "https://a.example/t"
    for method, effect in (
        ("GET", "read"),
        ("POST", "write"),
        ("PUT", "write"),
        ("DELETE", "destroy"),
    ):
        await put(app, method=method, url=where)
        assert app.registry.find("t").tool.effect == effect
    await put(app, method="POST", url=where, effect="read")
    assert app.registry.find("t").tool.effect == "read"
    assert app.registry.find("t").tool.idempotent is False
    for method in ("PUT", "PATCH", "DELETE"):
        with pytest.raises(BadInput, match="does not only read"):
            await put(app, method=method, url=where, effect="read")


GITHUB = "ghp_" + "a1" * 20


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"method": "TRACE"}, "TRACE"),
        ({"url": "https://127.0.0.2/"}, "this machine"),
        ({"url": "http://a.example/"}, "readable by all"),
        ({"url": "https://169.254.169.254/latest"}, "link-local"),
        ({"url": "https://[::ffff:127.0.0.2]/"}, "this machine"),
        ({"url": "https://2130706433/"}, "neither a host name"),
        ({"url": "https://user:pw@a.example/"}, "no user"),
        ({"url": "https://{host}/"}, "no URL template"),
        ({"url": f"https://a.example/?key={GITHUB}"}, "looks like a secret"),
        ({"url": "https://a.example/{id}"}, "which the input schema lacks"),
        (
            {"url": "https://a.example/{id}", "input_schema": schema(id=TEXT)},
            "must be required",
        ),
        (
            {"url": "https://a.example/?id={id}", "input_schema": schema(id={"type": "array"})},
            "must be plain",
        ),
        (
            {"url": "https://a.example/?id={id}", "input_schema": schema(id={})},
            "must be plain",
        ),
        ({"input_schema": schema(text=TEXT)}, "text goes nowhere"),
        ({"input_schema": {**schema(), "additionalProperties": True}}, "would go nowhere"),
        ({"input_schema": {"type": "string"}}, "of no object"),
        ({"input_schema": {"type": "object", "$ref": "https://a.example/x"}}, "refers to"),
        ({"output_schema": {"$ref": "file:///etc/passwd"}}, "refers to"),
        ({"output_schema": {"pattern": "(?=a)b"}}, "not usable"),
        ({"headers": {"Authorization": "Bearer abc"}}, "is a secret by its name"),
        ({"headers": {"X-Api-Key": "abc"}}, "is a secret by its name"),
        ({"headers": {"X-Functions-Key": "abc"}}, "is a secret by its name"),
        ({"headers": {"X-Auth": "abc"}}, "is a secret by its name"),
        ({"headers": {"Cookie": "a=b"}}, "is a secret by its name"),
        ({"headers": {"X-Team": GITHUB}}, "looks like a secret"),
        ({"headers": {"X": {"secret": "TRACKER", "prefix": GITHUB}}}, "looks like a secret"),
        ({"headers": {"X-Team": "a\r\nHost: b"}}, "printable ASCII"),
        ({"headers": {"Host": "b.example"}}, "cannot be set"),
        ({"headers": {"content-length": "1"}}, "cannot be set"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "cannot be set"),
        ({"headers": {"a b": "c"}}, "cannot be set"),
        ({"headers": {"X-A": "b", "x-a": "c"}}, "there twice"),
        ({"headers": {"X": {"secret": "../../etc"}}}, "no name of a secret"),
        ({"headers": {"X": {"secret": "A", "value": "b"}}}, "value"),
        ({"headers": {"X": 5}}, "X"),
        ({"description": f"use {GITHUB}"}, "looks like a secret"),
        ({"input_schema": schema(), "description": 5}, "description"),
        ({"summary": "two\nlines"}, "the summary is a line"),
        ({"summary": "x" * 201}, "the summary is a line"),
        ({"description": "x" * 8_001}, "have at most"),
        ({"url": "https://a.example/" + "x" * 8_000}, "have at most"),
        ({"timeout": 0}, "timeout is"),
        ({"timeout": 601}, "timeout is"),
        ({"result_limit": 0}, "result_limit"),
        ({"result_limit": 1 << 40}, "result_limit"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_a_definition_that_cannot_be_used_is_refused_before_it_is_kept(
    app: App, change: dict[str, Any], why: str
) -> None:
    with pytest.raises((BadInput, Denied)) as caught:
        await put(app, **{"url": "https://a.example/t", **change})
    assert why in caught.value.what
    assert GITHUB not in caught.value.what + caught.value.hint
    assert app.others.registrations.list() == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
KEYWORDS = st.sampled_from(
    ["type", "properties", "required", "items", "$ref", "$defs", "pattern", "allOf", "$id", "enum"]
)
SCHEMAS = st.dictionaries(KEYWORDS, JSON | st.just("#") | st.just({"a": {"$ref": "#"}}), max_size=5)
FIELDS = {
    "method": st.sampled_from(["GET", "POST", "DELETE"]) | JSON,
    "url": st.sampled_from(["https://a.example/{a}?b={b}", "https://a.example"]) | JSON,
    "input_schema": SCHEMAS.map(lambda given: {"type": "object", **given}) | JSON,
    "output_schema": SCHEMAS | JSON,
    "headers": st.dictionaries(st.text(max_size=8), JSON, max_size=2) | JSON,
    "timeout": JSON,
    "result_limit": JSON,
    "effect": JSON,
}


@given(definition=st.fixed_dictionaries({}, optional=FIELDS))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_declared_is_taken_or_refused_in_words(
    app: App, definition: dict[str, Any]
) -> None:
    binder = app.others.registrations._binders["http"]
    try:
        kept = binder.check("t", definition)
    except (BadInput, Denied):
        return
    assert binder.check("t", kept) == kept


async def test_a_definition_that_no_longer_binds_stops_nothing_and_says_why(
    tmp_path: Path,
) -> None:
    environment = {"PILOTAGE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    app = App(config.read(environment=environment), roots(tmp_path), TOOLS)
    await put(app, url="https://a.example/t")
    update = "UPDATE registration SET kind='pigeon'"
    await app.database.write(lambda connection: connection.execute(update) and None)
    await app.leave()
    app.close()
    again = App(config.read(environment=environment), roots(tmp_path), TOOLS)
    try:
        state, why, tools = again.others.registrations.stands("t")
        assert (state, why, tools) == ("unavailable", "there is no kind 'pigeon' of tools here", [])
        with pytest.raises(PilotageError):
            again.registry.find("t")
        await again.others.registrations.remove("t", ME)
    finally:
        await again.leave()
        again.close()
