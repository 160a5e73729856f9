"""Is the process there, does it take calls, what does it count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Response

from pilotage import __version__
from pilotage.app import App
from pilotage.domain.errors import PilotageError
from pilotage.server.metrics import Metrics


def add(api: FastAPI, app: App, metrics: Metrics, stopping: Callable[[], bool]) -> None:
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
