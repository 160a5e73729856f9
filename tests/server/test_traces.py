"""Traces: a real collector on loopback takes OTLP over HTTP; a call's trace goes through us to the
server behind us. Without an exporter nothing of the SDK is there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from pilotage.domain.call import Principal
from pilotage.domain.errors import BadInput
from pilotage.pipeline import lint, load
from pilotage.pipeline.prepare import Given
from pilotage.tool import tracing
from server.conftest import House, make_app, running
from server.test_federated import era, fronted, spoken
from server.test_mcp import connected
from upstream.mcp_server import serving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SECRET = "sesame-sesame-sesame"


@dataclass
class Collector:
    """What came, decoded; `url` for OTEL_EXPORTER_OTLP_ENDPOINT."""

    url: str = ""
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        body = await request.read()
        self.bodies.append(body)
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        return web.Response(body=b"", content_type="application/x-protobuf")

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


@pytest.fixture
async def traced(collector: Collector, tmp_path: Path) -> AsyncIterator[House]:
    (tmp_path / "root").mkdir()
    app = make_app(tmp_path / "home", tmp_path / "root")
    try:
        async with running(app) as house:
            yield house
    finally:
        await asyncio.to_thread(app.close)


async def flushed(house: House) -> None:
    assert house.app.tracing is not None
    assert await asyncio.to_thread(house.app.tracing.flush)


def words(span: Span) -> dict[str, str]:
    return {each.key: each.value.string_value for each in span.attributes}


async def post(house: House, tool: str, body: Any, **headers: str) -> int:
    url = f"{house.url}/api/v2/tools/call/{tool}"
    given = {**house.headers("developer"), **headers}
    async with house.session.post(url, json=body, headers=given) as answer:
        await answer.read()
        return answer.status


async def test_a_call_over_rest_is_a_span_in_the_trace_it_came_with(
    traced: House, collector: Collector
) -> None:
    assert await post(traced, "echo", {"text": "hi"}, traceparent=TRACEPARENT) == 200
    await flushed(traced)
    (span,) = collector.spans
    assert (span.name, span.kind) == ("tools/call echo", Span.SPAN_KIND_SERVER)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.status.code != Status.STATUS_CODE_ERROR
    assert span.end_time_unix_nano > span.start_time_unix_nano
    said = words(span)
    await traced.app.audit.settled()
    (row,) = traced.app.audit.calls(limit=1)
    assert said == {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "echo",
        "pilotage.call": row.call,
        "pilotage.via": "rest",
        "pilotage.principal": row.principal,
        "pilotage.outcome": "succeeded",
    }
    resource = {
        each.key: each.value.string_value
        for each in collector.requests[0].resource_spans[0].resource.attributes
    }
    assert resource["service.name"] == "pilotage"


async def test_a_call_without_a_trace_begins_one_and_a_bad_header_does_no_harm(
    traced: House, collector: Collector
) -> None:
    assert await post(traced, "echo", {"text": "hi"}) == 200
    assert await post(traced, "echo", {"text": "hi"}, traceparent="00-zz-\xe9-01") == 200
    await flushed(traced)
    assert len({span.trace_id for span in collector.spans}) == 2
    assert [span.parent_span_id for span in collector.spans] == [b"", b""]


async def test_how_a_call_ended_is_said_without_its_words(
    traced: House, collector: Collector
) -> None:
    assert await post(traced, "fails", {"how": "answer"}) == 200
    assert await post(traced, "fails", {"how": SECRET}) == 200
    assert await post(traced, "wreck", {"text": SECRET}) == 403
    assert await post(traced, f"no-{SECRET}", {SECRET: SECRET}) == 404
    await flushed(traced)
    ends = [(s.name, words(s)["pilotage.outcome"], words(s)["error.type"]) for s in collector.spans]
    assert ends == [
        ("tools/call fails", "failed", "failed"),
        ("tools/call fails", "failed", "failed"),
        ("tools/call wreck", "refused", "Denied"),
        ("tools/call (unknown)", "refused", "NotFound"),
    ]
    assert all(span.status.code == Status.STATUS_CODE_ERROR for span in collector.spans)
    assert not any(span.events for span in collector.spans)
    assert SECRET.encode() not in b"".join(collector.bodies)


@era
@spoken
async def test_the_trace_goes_on_to_the_server_behind_us_with_our_span_as_its_parent(
    collector: Collector, tmp_path: Path, mode: str, eras: tuple[str, ...]
) -> None:
    async with serving(eras=eras) as server, fronted(tmp_path / "h", server) as house:
        async with connected(house, house.key("developer"), mode) as client:
            meta: Any = {"traceparent": TRACEPARENT, "tracestate": "them=1"}
            answer = await client.call_tool("echo", {"text": "hi"}, meta=meta)
            assert answer.is_error is False
            await client.call_tool("echo", {"text": "again"})
        await flushed(house)
        first, second = collector.spans
        calls = [(h, m) for h, m in server.seen if m.get("method") == "tools/call"]
    for span, (headers, message) in zip((first, second), calls, strict=True):
        ours = f"00-{span.trace_id.hex()}-{span.span_id.hex()}-"
        assert headers["traceparent"].startswith(ours)
        assert message["params"]["_meta"]["traceparent"] == headers["traceparent"]
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert calls[0][1]["params"]["_meta"]["tracestate"] == "them=1"
    assert second.trace_id != first.trace_id, "no trace leaks into the next call"
    assert "tracestate" not in calls[1][1]["params"]["_meta"]


async def test_steps_of_a_run_are_in_the_trace_of_who_started_it(
    traced: House, collector: Collector
) -> None:
    text = (
        "name: p\nsteps:\n- {name: a, tool: echo, params: {text: x}}\n"
        "- {name: b, tool: echo, params: {text: y}}\n"
    )
    traced.key("developer", name="dev")
    by = Principal("key:dev", frozenset({"developer"}))
    checked = lint.checked(lint.lint(load.document(text), traced.app.runs.tools))
    run = await traced.app.runs.start(checked, Given({}, {}, {}), by)
    await traced.app.runs.wait(run)
    await flushed(traced)
    assert [words(span)["pilotage.step"] for span in collector.spans] == ["a", "b"]
    assert {words(span)["pilotage.run"] for span in collector.spans} == {run}
    assert {span.kind for span in collector.spans} == {Span.SPAN_KIND_INTERNAL}
    a, b = collector.spans
    assert b.parent_span_id != a.span_id, "one step is not inside of another"


async def test_a_collector_that_is_away_fails_no_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    (tmp_path / "root").mkdir()
    app = make_app(tmp_path / "home", tmp_path / "root")
    try:
        async with running(app) as house:
            assert await post(house, "echo", {"text": "hi"}) == 200
    finally:
        await asyncio.to_thread(app.close)


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, False),
    ],
)
def test_the_standard_variables_say_whether_there_are_traces(
    variables: dict[str, str], on: bool
) -> None:
    assert tracing.wanted(variables) is on


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_EXPORTER": "jaeger"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_an_exporter_that_we_do_not_have_is_refused_not_ignored(variables: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        tracing.wanted(variables)


OFF = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from server.conftest import make_app, running
from pilotage.tool.gateway import Gateway

async def main():
    home = Path(sys.argv[2])
    (home / "root").mkdir()
    app = make_app(home / "home", home / "root")
    assert type(app.gateway) is Gateway and app.tracing is None
    async with running(app) as house:
        for url in ("/api/v2/tools/call/echo",):
            async with house.session.post(house.url + url, json={"text": "hi"},
                                          headers=house.headers("developer")) as answer:
                assert answer.status == 200
    app.close()

asyncio.run(main())
print([name for name in sys.modules if name.startswith("opentelemetry.")
       and name.split(".")[1] in ("sdk", "exporter", "proto")])
"""


def test_without_an_exporter_nothing_of_the_sdk_is_imported(tmp_path: Path) -> None:
    """The SDK of MCP imports the API of OpenTelemetry, which does nothing by itself."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", OFF, tests, str(tmp_path)],
        capture_output=True, text=True, env=environment, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_without_the_extra_the_start_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from pilotage.cli.main import main; sys.exit(main(['serve', '--port', '0']))"
    )
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "otlp", "PILOTAGE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 2
    assert "pip install 'pilotage[otel]'" in done.stderr
