"""The management API: its errors and its description; the routes are in routes/."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from pilotage import __version__
from pilotage.app import App
from pilotage.domain.errors import BadInput, PilotageError
from pilotage.server.http import JSON, a_bug, encode, refusal, retry_after
from pilotage.server.metrics import Metrics
from pilotage.server.routes import (
    approvals,
    health,
    pins,
    records,
    run_records,
    runs,
    secrets,
    tools,
    upstreams,
)


def make(app: App, metrics: Metrics, stopping: Callable[[], bool]) -> FastAPI:
    """The application; who asks comes in `scope[BY]`, authenticated."""
    api = FastAPI(
        title="Pilotage",
        version=__version__,
        openapi_url="/api/v2/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    _add_errors(api, metrics)
    health.add(api, app, metrics, stopping)
    tools.add(api, app)
    pins.add(api, app)
    secrets.add(api, app)
    upstreams.add(api, app)
    records.add(api, app)
    approvals.add(api, app)
    runs.add(api, app)
    run_records.add(api, app)
    api.openapi = lambda: _openapi(api)  # type: ignore[method-assign]
    return api


def _add_errors(api: FastAPI, metrics: Metrics) -> None:
    def known(_: Request, error: Exception) -> Response:
        assert isinstance(error, PilotageError)
        metrics.refused("api", error)
        return _json(error.status, refusal(error), retry_after(error))

    def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        hint = "GET /api/v2/openapi.json says what this route takes"
        return _json(400, refusal(BadInput(f"{where}: {first['msg']}", hint)))

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


def _json(status: int, body: Any, seconds: int = 1) -> Response:
    headers = {"cache-control": "no-store"}
    if status in (429, 503):
        headers["retry-after"] = str(seconds)
    return Response(encode(body), status, headers, media_type=JSON.decode())


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
                _say_400(operation["responses"])
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
    assert api.openapi_schema is not None
    return api.openapi_schema


def _say_400(responses: dict[str, Any]) -> None:
    """FastAPI believes that it answers 422 where arguments do not fit; here that is a 400."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
        responses.setdefault("400", {"description": _WHY["400"], "content": _OBJECT})


_OBJECT = {"application/json": {"schema": {"type": "object"}}}
_WHY = {
    "400": "the arguments do not fit",
    "401": "no key, or one that is unknown, revoked or expired",
    "403": "the policy says no; with `approval`: a person must approve this very call first",
    "404": "there is no such tool",
    "409": "the Idempotency-Key stands for other arguments, runs, or was cut off",
    "413": "the body is over 4 MiB",
    "422": "the body is no JSON object",
    "429": "a limit is reached or a queue is full: Retry-After says when to come back",
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
        {"name": "Pilotage-Approval", "in": "header", "schema": {"type": "string"}},
        {"name": "Prefer", "in": "header", "schema": {"type": "string", "examples": ["wait=60"]}},
    ],
    "requestBody": {"required": True, "content": _OBJECT},
    "responses": {
        "200": {"description": "how it ended", "content": _OBJECT},
        **{code: {"description": why, "content": _OBJECT} for code, why in _WHY.items()},
    },
}
