"""The management API: what tools there are, what was called, what the audit says, health."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from pilotage import __version__
from pilotage.app import App
from pilotage.audit.verify import verify
from pilotage.domain.audit import AuditEntry, CallRecord, Verification
from pilotage.domain.call import Answer, Principal
from pilotage.domain.errors import BadInput, Denied, PilotageError
from pilotage.domain.ids import new_id
from pilotage.server.http import BY, JSON, a_bug, encode, refusal
from pilotage.server.metrics import Metrics
from pilotage.tool.tool import Tool

Limit = Annotated[int, Query(ge=1, le=1000)]
Before = Annotated[int | None, Query(description="page back: only rows before this number")]


@dataclass(frozen=True, slots=True)
class ToolView:
    """One tool. `may` is what the policy says to who asks: allow, ask or deny."""

    name: str
    summary: str
    description: str
    effect: str
    may: Answer
    idempotent: bool
    timeout: float
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Tools:
    tools: list[ToolView]


@dataclass(frozen=True, slots=True)
class CallList:
    """The newest first; `next` pages back as `before`, null at the end."""

    calls: list[CallRecord]
    next: int | None


@dataclass(frozen=True, slots=True)
class AuditList:
    """The newest first; `next` pages back as `before`, null at the end."""

    entries: list[AuditEntry]
    next: int | None


def make(app: App, metrics: Metrics, stopping: Callable[[], bool]) -> FastAPI:
    """The application; who asks comes in `scope[BY]`, authenticated."""
    api = FastAPI(
        title="Pilotage",
        version=__version__,
        openapi_url="/api/v2/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    _add_errors(api)
    _add_health(api, app, metrics, stopping)
    _add_tools(api, app)
    _add_records(api, app)
    api.openapi = lambda: _openapi(api)  # type: ignore[method-assign]
    return api


def _may(app: App, action: str) -> Any:
    """A dependency that lets in who may do `action`, and records who may not."""

    def check(request: Request) -> None:
        by: Principal = request.scope[BY]
        if not app.policy.may(by, action):
            why = f"no role of {by.name} allows {action}"
            app.audit.refuse(new_id(), "", by.name, "rest", why)
            raise Denied(why, "roles.yaml: manage")

    return Depends(check)


def _add_errors(api: FastAPI) -> None:
    def known(_: Request, error: Exception) -> Response:
        assert isinstance(error, PilotageError)
        return _json(error.status, refusal(error))

    def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return _json(400, refusal(BadInput(f"{where}: {first['msg']}")))

    def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        what = f"{request.method} {request.url.path}: {error.detail}"
        hint = "GET /api/v2/openapi.json lists what there is"
        if error.status_code == 405:
            hint = f"allowed: {(error.headers or {}).get('Allow', '')}"
        response = _json(error.status_code, {"success": False, "error": what, "hint": hint})
        response.headers.update(error.headers or {})
        return response

    def bug(_: Request, error: Exception) -> Response:
        return _json(500, refusal(a_bug(error)))

    api.add_exception_handler(Exception, bug)
    api.add_exception_handler(PilotageError, known)
    api.add_exception_handler(RequestValidationError, invalid)
    api.add_exception_handler(HTTPException, plain)


def _json(status: int, body: Any) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(encode(body), status, headers, media_type=JSON.decode())


def _add_health(api: FastAPI, app: App, metrics: Metrics, stopping: Callable[[], bool]) -> None:
    @api.get("/healthz", tags=["health"])
    def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok", "version": __version__}

    @api.get("/readyz", tags=["health"])
    def ready(response: Response) -> dict[str, Any]:
        """It takes calls: not stopping, and the database can be written."""
        if stopping():
            response.status_code = 503
            return {"status": "stopping"}
        try:
            app.database.settle()
        except PilotageError as error:
            response.status_code = 503
            return {"status": "unavailable", "error": error.what}
        return {"status": "ok", "tools": len(app.registry.tools())}

    @api.get("/metrics", tags=["health"], response_class=Response)
    def prometheus() -> Response:
        """Counts and durations of calls, for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_tools(api: FastAPI, app: App) -> None:
    def view(tool: Tool, by: Principal) -> ToolView:
        decision = app.policy.decide(by, tool.name, tool.effect)
        return ToolView(
            tool.name,
            tool.summary,
            tool.description,
            tool.effect.value,
            decision.answer,
            tool.idempotent,
            tool.timeout,
            tool.input_schema,
            tool.output_schema,
        )

    @api.get("/api/v2/tools", tags=["tools"], dependencies=[_may(app, "tools:read")])
    def tools(request: Request) -> Tools:
        """All tools, by name."""
        return Tools([view(tool, request.scope[BY]) for tool in app.registry.tools()])

    @api.get("/api/v2/tools/{name}", tags=["tools"], dependencies=[_may(app, "tools:read")])
    def one_tool(name: str, request: Request) -> ToolView:
        """One tool."""
        return view(app.registry.find(name).tool, request.scope[BY])


def _add_records(api: FastAPI, app: App) -> None:
    @api.get("/api/v2/calls", tags=["audit"], dependencies=[_may(app, "calls:read")])
    def calls(limit: Limit = 100, before: Before = None, tool: str | None = None) -> CallList:
        """Calls and how they ended, from the audit."""
        found = app.audit.calls(limit=limit, before=before, tool=tool)
        return CallList(found, found[-1].seq if len(found) == limit else None)

    @api.get("/api/v2/audit", tags=["audit"], dependencies=[_may(app, "audit:read")])
    def audit(
        limit: Limit = 100,
        before: Before = None,
        tool: str | None = None,
        event: str | None = None,
    ) -> AuditList:
        """Entries of the audit."""
        found = app.audit.list(limit=limit, before=before, tool=tool, event=event)
        return AuditList(found, found[-1].seq if len(found) == limit else None)

    @api.get("/api/v2/audit/verify", tags=["audit"], dependencies=[_may(app, "audit:read")])
    def verified() -> Verification:
        """Walk the whole chain; `bad_seq` names the first wrong row, null where it holds."""
        return verify(app.database, app.checkpoints)


def _openapi(api: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with the one route that it does not serve, and with the keys."""
    if api.openapi_schema is None:
        schema = FastAPI.openapi(api)
        schema["paths"]["/api/v2/tools/call/{tool}"] = {"post": _CALL}
        schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, item in schema["paths"].items():
            for operation in item.values():
                if path.startswith("/api/v2"):
                    operation["security"] = [{"key": []}]
    assert api.openapi_schema is not None
    return api.openapi_schema


_OBJECT = {"application/json": {"schema": {"type": "object"}}}
_WHY = {
    "400": "the arguments do not fit the tool's schema",
    "401": "no key, or one that is unknown, revoked or expired",
    "403": "the policy says no",
    "404": "there is no such tool",
    "409": "a call under this Idempotency-Key is running",
    "413": "the body is over 4 MiB",
    "422": "the body is no JSON object",
    "429": "a queue is full",
    "503": "the server is stopping",
}
_CALL: dict[str, Any] = {
    "tags": ["tools"],
    "summary": "Call a tool",
    "description": "The body holds the tool's parameters. What ran answers 200, with `success` and "
    "`outcome`; `Accept: text/event-stream` gives its progress as well.",
    "operationId": "call_tool",
    "parameters": [
        {"name": "tool", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}},
    ],
    "requestBody": {"required": True, "content": _OBJECT},
    "responses": {
        "200": {"description": "how it ended", "content": _OBJECT},
        **{code: {"description": why, "content": _OBJECT} for code, why in _WHY.items()},
    },
}
