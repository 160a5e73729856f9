"""What a run leaves behind: its events as they come, its log, its files."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from pilotage.app import App
from pilotage.domain.errors import BadInput, Denied, NotFound, Unavailable
from pilotage.domain.run import Event
from pilotage.pipeline import told
from pilotage.pipeline.tell import Teller
from pilotage.pipeline.told import Artifact
from pilotage.server.events import EventStream, Streams
from pilotage.server.routes.permission import speaker
from pilotage.server.routes.runs import Limit, refusals

CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class LogLine:
    """`seq` is the number of the event that it tells of, `at` its time (Unix microseconds)."""

    seq: int
    at: int
    step: str | None
    line: str


@dataclass(frozen=True, slots=True)
class Log:
    """In order. `next` pages on as `after`, null where there is no more yet."""

    lines: list[LogLine]
    next: int | None


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """A file of a step. `size` in bytes, null where it cannot be read any more (`why` says so);
    `changed`: it was written again after its step ended."""

    step: str
    name: str
    href: str
    size: int | None
    changed: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Artifacts:
    artifacts: list[ArtifactView]


def add(api: FastAPI, app: App) -> None:
    _add_events(api, app)
    _add_logs(api, app)
    _add_artifacts(api, app)


def _add_events(api: FastAPI, app: App) -> None:
    streams = api.state.streams = Streams()

    @api.get(
        "/api/v2/runs/{run}/events",
        operation_id="follow_run",
        tags=["runs"],
        response_class=EventStream,
        status_code=200,
        response_model=None,
        responses={
            200: {"description": "events as they come", "content": {"text/event-stream": {}}},
            204: {"description": "the run has ended and there is nothing after that event"},
            **refusals(400, 404, 429),
        },
    )
    async def run_events(
        run: str,
        request: Request,
        after: Annotated[int, Query(ge=-1, description="only events after this number")] = -1,
        until: Annotated[
            Literal["ended", "settled"], Query(description="settled: or waits for a person")
        ] = "ended",
        last: Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^\d{1,12}$")] = None,
    ) -> Response:
        """The events of a run as server-sent events, from the first or from after the last that
        was seen: `id` is the event's number. The stream ends when the run has ended."""
        by = speaker(app, request)
        app.run_access.seen(run, by)
        after = int(last) if last is not None else after
        stands = app.runs.show(run)[1]
        if after > stands.seq:
            raise BadInput(f"run {run} has no event {after} yet", f"its last is {stands.seq}")
        if after == stands.seq and stands.outcome is not None:
            return Response(status_code=204)
        events = _shown(app, run, after, settled=until == "settled")
        still = app.run_access.still
        return EventStream(events, lambda: still(run, by), streams, by.name)


async def _shown(
    app: App, run: str, after: int, *, settled: bool
) -> AsyncGenerator[dict[str, Any], None]:
    async for event in app.runs.events(run, after, settled=settled, take=False):
        yield app.redactor.result(told.shown(event))


def _add_logs(api: FastAPI, app: App) -> None:
    @api.get(
        "/api/v2/runs/{run}/logs",
        operation_id="get_run_logs",
        tags=["runs"],
        responses=refusals(400, 404),
    )
    def run_logs(
        run: str,
        request: Request,
        step: str | None = None,
        after: Annotated[int, Query(ge=-1, description="only events after this number")] = -1,
        limit: Limit = 200,
        tail: Annotated[bool, Query(description="the last events instead of the first")] = False,
    ) -> Log:
        """What happened, in words: of at most `limit` events, of one step where it is named."""
        app.run_access.seen(run, speaker(app, request))
        runs = app.runs
        events = runs.tail(run, limit, step) if tail else runs.page(run, after, limit, step)
        full = not tail and len(events) == limit
        return Log(_lines(app, run, events), events[-1].seq if full else None)


def _lines(app: App, run: str, events: list[Event]) -> list[LogLine]:
    if not events:
        return []
    teller = Teller()
    for begun in app.runs.begun(run, events[0].seq - 1):
        teller.lines(begun)
    return [
        LogLine(event.seq, event.at, event.step, app.redactor.text(line))
        for event in events
        for line in teller.lines(event)
    ]


def _add_artifacts(api: FastAPI, app: App) -> None:
    @api.get(
        "/api/v2/runs/{run}/artifacts",
        operation_id="list_run_artifacts",
        tags=["runs"],
        responses=refusals(404),
    )
    def run_artifacts(run: str, request: Request) -> Artifacts:
        """The files that its steps say they have written, and whether they are still there."""
        app.run_access.seen(run, speaker(app, request))
        return Artifacts([_artifact(app, run, one) for one in told.artifacts(*app.runs.show(run))])

    @api.get(
        "/api/v2/runs/{run}/artifacts/{step}/{name:path}",
        operation_id="get_run_artifact",
        tags=["runs"],
        response_class=StreamingResponse,
        responses={
            200: {"description": "the file", "content": {"application/octet-stream": {}}},
            **refusals(404),
        },
    )
    def run_artifact(run: str, step: str, name: str, request: Request) -> Response:
        """One of these files. No page is made of it, whatever is in it."""
        app.run_access.seen(run, speaker(app, request))
        for one in told.artifacts(*app.runs.show(run)):
            if (one.step, one.name) == (step, name):
                return _sent(app.open_artifact(one), one)
        raise NotFound(f"run {run} has no artifact {name!r} of a step {step!r}", "see its list")


def _artifact(app: App, run: str, one: Artifact) -> ArtifactView:
    path = f"{quote(one.step, safe='')}/{quote(one.name)}"
    href = f"/api/v2/runs/{run}/artifacts/{path}"
    try:
        opened = app.open_artifact(one)
    except (Denied, NotFound, Unavailable) as error:
        return ArtifactView(one.step, one.name, href, None, False, error.what)
    with opened:
        found = os.fstat(opened.fileno())
    changed = found.st_mtime_ns // 1000 > one.since
    return ArtifactView(one.step, one.name, href, found.st_size, changed)


def _sent(opened: Any, one: Artifact) -> Response:
    def chunks() -> Iterator[bytes]:
        with opened:
            while chunk := opened.read(CHUNK):
                yield chunk

    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(one.name, safe='')}",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox",
        "cache-control": "no-store",
    }
    return StreamingResponse(chunks(), media_type="application/octet-stream", headers=headers)
