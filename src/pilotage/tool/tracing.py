"""Spans of OpenTelemetry: one for each call through the gateway, sent by OTLP.

Off unless a standard variable names an exporter; then nothing of this is imported or made. Of what
is said in a call, a span holds the name of a tool that there is, who asks, and how it ended: no
arguments, no answers, no words of an error, so that no secret can be in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pilotage.domain import trace
from pilotage.domain.call import Outcome, Report, ToolCall, ToolResult, silent
from pilotage.domain.errors import BadInput, PilotageError
from pilotage.tool.gateway import Gateway

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

EXPORTER, ENDPOINT = "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT, PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
_FINE = (Outcome.SUCCEEDED, Outcome.SKIPPED)
_DOORS = ("mcp", "rest")


def wanted(environment: Mapping[str, str]) -> bool:
    """Does a variable of OpenTelemetry name an exporter of traces? BadInput for one that is not
    OTLP over HTTP."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get(EXPORTER, "").strip().lower()
    if exporter == "none" or not (
        exporter or environment.get(ENDPOINT) or environment.get(TRACES_ENDPOINT)
    ):
        return False
    if exporter not in ("", "otlp"):
        raise BadInput(f"{EXPORTER} is {exporter!r}", "otlp, none, or not set")
    protocol = environment.get(TRACES_PROTOCOL) or environment.get(PROTOCOL) or "http/protobuf"
    if protocol != "http/protobuf":
        raise BadInput(f"{PROTOCOL} is {protocol!r}", "http/protobuf, or not set")
    return True


class Tracing:
    """Where spans go: to the exporter that the environment names, in batches, from a thread of its
    own. `close` sends what is left."""

    def __init__(self) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise BadInput(
                "a variable of OpenTelemetry names an exporter, and the SDK is not installed",
                "pip install 'pilotage[otel]', or OTEL_SDK_DISABLED=true",
            ) from None
        from pilotage import __version__

        named = Resource.create({"service.version": __version__})
        if str(named.attributes.get("service.name", "")).startswith("unknown_service"):
            named = named.merge(Resource({"service.name": "pilotage"}))
        self._provider: TracerProvider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("pilotage", __version__)

    def start(self, call: ToolCall, tool: str) -> Span:
        """A span of `call`, in the trace that it came with; of a step, in that of its run."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        door = call.via in _DOORS
        carrier = trace.came.get() if door else trace.goes.get()
        parent = TraceContextTextMapPropagator().extract(carrier)
        attributes = {
            "mcp.method.name": "tools/call",
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "pilotage.call": call.id,
            "pilotage.via": call.via,
            "pilotage.principal": call.by.name,
        }
        attributes |= {f"pilotage.{k}": v for k in ("run", "step") if (v := getattr(call, k))}
        kind = SpanKind.SERVER if door else SpanKind.INTERNAL
        return self._tracer.start_span(f"tools/call {tool}", parent, kind, attributes)

    def flush(self) -> bool:
        """Send what is waiting, now. False: the exporter took too long."""
        return self._provider.force_flush()

    def close(self) -> None:
        """Send what is left. An exporter that does not answer is not waited for long."""
        self._provider.shutdown()


def carrier(span: Span) -> trace.Carrier:
    """The span as another server gets it."""
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    made: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(made, set_span_in_context(span))
    return made


class TracedGateway(Gateway):
    """The gateway, with a span around each call."""

    def __init__(self, tracing: Tracing, *parts: Any) -> None:
        super().__init__(*parts)
        self._tracing = tracing

    async def call(self, call: ToolCall, report: Report = silent) -> ToolResult:
        known = call.tool in self._registry.all
        span = self._tracing.start(call, call.tool if known else "(unknown)")
        token = trace.goes.set(carrier(span))
        outcome, error = Outcome.CANCELLED.value, ""
        try:
            result = await super().call(call, report)
            outcome = result.outcome.value
            error = "" if result.outcome in _FINE else outcome
            return result
        except PilotageError as refused:
            outcome, error = "refused", type(refused).__name__
            raise
        finally:
            with contextlib.suppress(ValueError):  # a call that waits ends in another context
                trace.goes.reset(token)
            _end(span, outcome, error)


def _end(span: Span, outcome: str, error: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("pilotage.outcome", outcome)
    if error:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)
    span.end()
