"""The tasks extension of MCP: a long call is answered at once with a task, whose end its client
asks for later. Source: SEP-2663, io.modelcontextprotocol/tasks.

The server decides: a tool says whether its calls may be tasks, a client that it knows them, and a
call that ends at once is no task. A task belongs to the principal that called; to others it is not
there. Its end is kept on disk. A call that was cut off with its server has failed, but where its
work is a run of a pipeline: that goes on, and so does its task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anyio
import mcp_types as types
import msgspec
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp_types.jsonrpc import HEADER_MISMATCH, MISSING_REQUIRED_CLIENT_CAPABILITY
from msgspec.structs import replace
from pydantic import Field

from pilotage.app import App
from pilotage.domain.call import Outcome, Peer, Principal, Progress, ToolCall, ToolResult
from pilotage.domain.errors import Busy, Conflict, PilotageError
from pilotage.domain.ids import new_id
from pilotage.domain.run import RunState
from pilotage.pipeline import told
from pilotage.pipeline.lock import Locks
from pilotage.server import described, relay
from pilotage.server.http import encode
from pilotage.server.relay import Context, is_modern
from pilotage.store import runs
from pilotage.store import tasks as rows
from pilotage.store.tasks import TaskRow
from pilotage.tool.tool import Tool

logger = logging.getLogger(__name__)
TASKS = "io.modelcontextprotocol/tasks"
QUICK_SECONDS = 0.1
"""A call that ends within this is answered itself."""
POLL_MS = 1_000
TTL_SECONDS = 86_400
EACH = 50
"""Tasks of one principal that run at a time."""
CANCEL_SECONDS = 5.0
WORKING, COMPLETED, FAILED, CANCELLED = "working", "completed", "failed", "cancelled"
INPUT = "input_required"
LOST = "the server that ran it was stopped or died, so nobody knows how far it came"


class TaskParams(types.RequestParams):
    """What tasks/get and tasks/cancel name."""

    task_id: str


class UpdateParams(TaskParams):
    """Answers to what a task has asked, by the names of the questions."""

    input_responses: dict[str, Any] = Field(default_factory=dict)


@dataclass(slots=True)
class _Live:
    """A task that this process runs, with what it has asked its client."""

    row: TaskRow
    work: asyncio.Task[ToolResult] = field(init=False)
    message: str = ""
    cancelled: bool = False
    questions: dict[str, tuple[Mapping[str, Any], asyncio.Future[Mapping[str, Any]]]] = field(
        default_factory=dict
    )

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put a question to the client, which finds it in tasks/get and answers by tasks/update."""
        id = secrets.token_urlsafe(8)
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self.questions[id] = ({"method": method, "params": dict(params)}, answer)
        try:
            return await answer
        finally:
            self.questions.pop(id, None)

    def report(self, progress: Progress) -> None:
        self.message = progress.message[:500]


class Tasks:
    """`who` tells whose request it is; `promised`, whether a tool has promised a shape."""

    def __init__(
        self,
        app: App,
        server: Server[Any],
        who: Callable[[Context], Principal],
        promised: Callable[[str], bool],
    ) -> None:
        self._app, self._who, self._promised = app, who, promised
        self._live: dict[str, _Live] = {}
        self._beginning: Counter[str] = Counter()  # calls that may become tasks
        self._ending: set[asyncio.Task[None]] = set()
        self._locks = Locks(app.settings.home / "tasks.lock")
        self._number = secrets.randbelow(1 << 31)
        self._locks.take(self._number)
        server.extensions[TASKS] = {}
        server.add_request_handler("tasks/get", TaskParams, self._get)
        server.add_request_handler("tasks/update", UpdateParams, self._update)
        server.add_request_handler("tasks/cancel", TaskParams, self._cancel)

    def wanted(self, context: Context, tool: Tool) -> bool:
        """May this call become a task? Raises where it must and the client knows no tasks."""
        if tool.tasks and _declares(context):
            return True
        if tool.tasks == "required":
            raise _missing()
        return False

    async def begin(
        self, context: Context, call: ToolCall, tool: Tool
    ) -> ToolResult | dict[str, Any]:
        """The result of a call that ends at once, else the task that it has become."""
        mine = sum(live.row.principal == call.by.name for live in self._live.values())
        mine += self._beginning[call.by.name]
        if mine >= EACH:
            raise Busy(f"{mine} tasks of {call.by.name} run", "wait for one, or cancel it")
        self._beginning[call.by.name] += 1
        try:
            return await self._begin(context, call, tool)
        finally:
            self._beginning[call.by.name] -= 1
            if not self._beginning[call.by.name]:
                del self._beginning[call.by.name]

    async def _begin(
        self, context: Context, call: ToolCall, tool: Tool
    ) -> ToolResult | dict[str, Any]:
        id, now = secrets.token_urlsafe(24), time.time_ns() // 1000
        if call.idempotency_key is None and tool.idempotent:
            call = replace(call, idempotency_key=f"task-{id}")
        row = TaskRow(
            id, call.by.name, call.tool, call.id, call.idempotency_key, self._number, WORKING, "",
            now, now, TTL_SECONDS * 1_000_000, None,
        )  # fmt: skip
        live = _Live(row)
        can = relay.capabilities(context)
        asks = live.ask if "elicitation" in can else None
        call = replace(call, peer=Peer(True, can, ask=asks))
        live.work = work = asyncio.create_task(self._app.gateway.call(call, live.report))
        try:
            await asyncio.wait({work}, timeout=QUICK_SECONDS)
            if work.done():
                return work.result()
            await self._app.database.write(lambda connection: rows.put(connection, row))
        except asyncio.CancelledError:
            work.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({work})
            raise
        self._live[id] = live
        ending = asyncio.create_task(self._end(live))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return {"resultType": "task", **_shown(row)}

    async def stop(self) -> None:
        """Cut off what runs, and say so; a run of a pipeline goes on where it is taken up."""
        for live in self._live.values():
            live.work.cancel()
        if self._ending:
            await asyncio.wait(self._ending)

    def close(self) -> None:
        self._locks.close()

    async def _end(self, live: _Live) -> None:
        await asyncio.wait({live.work})
        row = live.row
        try:
            if live.work.cancelled() and not live.cancelled and self._run_of(row) is not None:
                return  # the row says "working": whoever is asked next looks at the run
            status, message, body = self._ended(live)
            await self._app.database.write(
                lambda connection: rows.end(connection, row.id, status, message, body)
            )
        except PilotageError as error:
            logger.error("the end of task of %s is not kept: %s", row.tool, error)
        finally:
            del self._live[row.id]

    def _ended(self, live: _Live) -> tuple[str, str, bytes]:
        """Status, message, and the result or the error."""
        work = live.work
        if work.cancelled():
            if live.cancelled:
                return CANCELLED, "cancelled by its client", b"null"
            return FAILED, LOST, encode(_error(LOST))
        error = work.exception()
        if isinstance(error, PilotageError):
            return COMPLETED, error.what, _wire(described.refusal(error))
        if error is not None:
            logger.error("task of %s broke", live.row.tool, exc_info=error)
            why = f"a bug of pilotage: {type(error).__name__}"
            return FAILED, why, encode(_error(why))
        result = work.result()
        if live.cancelled and result.outcome is Outcome.CANCELLED:
            return CANCELLED, "cancelled by its client", b"null"
        return COMPLETED, "", _wire(described.result(result, self._promised(live.row.tool)))

    async def _get(self, context: Context, params: TaskParams) -> dict[str, Any]:
        row = await self._settled(self._mine(context, params))
        live = self._live.get(row.id)
        shown = _shown(row)
        if live is not None and live.message:
            shown["statusMessage"] = live.message
        if live is not None and live.questions:
            shown["status"] = INPUT
            shown["inputRequests"] = {id: asked for id, (asked, _) in live.questions.items()}
        if row.body is not None and row.status in (COMPLETED, FAILED):
            field = "result" if row.status == COMPLETED else "error"
            shown[field] = msgspec.json.decode(row.body)
        return shown

    async def _update(self, context: Context, params: UpdateParams) -> dict[str, Any]:
        """Answers to questions; what answers none is ignored. The task goes on once it has all."""
        live = self._live.get(self._mine(context, params).id)
        for id, said in params.input_responses.items():
            if live is not None and id in live.questions and isinstance(said, Mapping):
                live.questions.pop(id)[1].set_result(said)
        return {}

    async def _cancel(self, context: Context, params: TaskParams) -> dict[str, Any]:
        """Ask it to end; how it ended is what tasks/get says. Of one that has ended: nothing."""
        row = await self._settled(self._mine(context, params))
        if row.status != WORKING:
            return {}
        by, live, run = self._who(context), self._live.get(row.id), self._run_of(row)
        if live is not None:
            live.cancelled = True
        if run is not None:
            with contextlib.suppress(Conflict):  # it has ended meanwhile
                await self._app.runs.cancel(run, by, "its task was cancelled")
        elif live is not None:
            live.work.cancel()
        if live is not None:
            await asyncio.wait({live.work}, timeout=CANCEL_SECONDS)
        return {}

    def _mine(self, context: Context, params: TaskParams) -> TaskRow:
        """The task, if it is of who asks. To others it is not there, and that is on record."""
        if not _declares(context):
            raise _missing()
        _check_header(context, params.task_id)
        by = self._who(context)
        row = rows.find(self._app.database, params.task_id)
        if row is None or row.principal != by.name:
            if row is not None:
                why = f"a task of {row.principal} was asked for"
                self._app.audit.refuse(new_id(), row.tool, by.name, "mcp", why)
            raise MCPError(code=types.INVALID_PARAMS, message="there is no such task")
        return row

    async def _settled(self, row: TaskRow) -> TaskRow:
        """The row; first brought up to date where nobody is left who would do it."""
        if row.status != WORKING or row.id in self._live:
            return row
        if row.server != self._number and self._locks.held(row.server):
            return row
        run = self._run_of(row)
        if run is None:
            status, message, body = FAILED, LOST, encode(_error(LOST))
        else:
            plan, stands = self._app.runs.show(run)
            if stands.state not in (RunState.WAITING, RunState.ENDED):
                return row
            made = described.result(told.result(plan, stands), self._promised(row.tool))
            cancelled = stands.outcome is Outcome.CANCELLED
            status, message = (CANCELLED, stands.why) if cancelled else (COMPLETED, "")
            body = b"null" if cancelled else _wire(made)
        await self._app.database.write(
            lambda connection: rows.end(connection, row.id, status, message, body)
        )
        return rows.find(self._app.database, row.id) or row

    def _run_of(self, row: TaskRow) -> str | None:
        """The run that is its work, if it is one."""
        if row.key is None:
            return None
        found = runs.under(self._app.database, row.principal, row.key)
        return found.id if found is not None else None


def _shown(row: TaskRow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "taskId": row.id,
        "status": row.status,
        "createdAt": _time(row.created),
        "lastUpdatedAt": _time(row.changed),
        "ttlMs": row.ttl // 1000,
        "pollIntervalMs": POLL_MS,
    }
    if row.message:
        shown["statusMessage"] = row.message
    return shown


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="milliseconds")


def _wire(result: types.CallToolResult) -> bytes:
    return result.model_dump_json(by_alias=True, exclude_none=True).encode()


def _error(why: str) -> dict[str, Any]:
    return {"code": types.INTERNAL_ERROR, "message": why}


def _declares(context: Context) -> bool:
    """Does this client say that it knows tasks? The handshake eras have no way to answer one."""
    can = context.session.client_capabilities
    return is_modern(context) and can is not None and TASKS in (can.extensions or {})


def _missing() -> MCPError:
    needed: Mapping[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    return MCPError(
        code=MISSING_REQUIRED_CLIENT_CAPABILITY,
        message=f"the client does not declare {TASKS}",
        data=needed,
    )


def _check_header(context: Context, id: str) -> None:
    """Mcp-Name names the task, so that what stands between can route by it (SEP-2243)."""
    if context.request is not None and context.request.headers.get("mcp-name") != id:
        message = "the header Mcp-Name is not the taskId of the body"
        raise MCPError(code=HEADER_MISMATCH, message=message)
