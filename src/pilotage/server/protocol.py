"""MCP by the official SDK: streamable HTTP and stdio, both eras, each call through the gateway."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
from mcp import MCPError
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import InMemorySubscriptionBus
from msgspec.structs import replace

from pilotage import __version__
from pilotage.app import App
from pilotage.domain import trace
from pilotage.domain.call import Answer, Principal, Report, ToolCall, ToolResult, silent
from pilotage.domain.errors import NeedsApproval, NotFound, PilotageError
from pilotage.domain.ids import new_id
from pilotage.server import consent, described, offered, parked, relay, search
from pilotage.server.asked import REQUEST
from pilotage.server.http import BY, DONE, MCP, Head, Receive, Scope, Send, read_body, replay
from pilotage.server.own import Own
from pilotage.server.sessions import ID, Sessions
from pilotage.server.tasks import Tasks
from pilotage.tool.tool import Tool
from pilotage.upstream.changes import News

logger = logging.getLogger(__name__)
TELL_SECONDS = 5.0
IDLE_LOOK = 60.0
Context = ServerRequestContext[Any, Any]


class _Server(Server[Any]):
    """The SDK's server, which in the handshake era would not say that its tools may change."""

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        options = notification_options or NotificationOptions(
            prompts_changed="prompts/list" in self._request_handlers,
            resources_changed="resources/list" in self._request_handlers,
            tools_changed=True,
        )
        return super().create_initialization_options(options, experimental_capabilities, extensions)


class Protocol:
    """`local` is who calls over stdio, or without a key where that is allowed."""

    def __init__(self, app: App, local: Principal | None = None) -> None:
        self._app, self._local = app, local
        self._most = app.settings.number("mcp.tools.listed")
        self._bus = InMemorySubscriptionBus()
        self._listen = offered.Listen(self._bus)
        self.parking = parked.Parking(app)
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._telling = False
        self._users: dict[str, AuthenticatedUser] = {}
        house = Own(app, self._who)
        self._server = _Server(
            "pilotage",
            version=__version__,
            title="Pilotage",
            on_list_tools=self._list,
            on_call_tool=self._call,
            on_subscriptions_listen=self._listen,
            get_tool_input_schema=self._schema,
            on_list_resources=house.resources,
            on_list_resource_templates=house.templates,
            on_read_resource=house.read,
            on_list_prompts=house.prompts,
            on_get_prompt=house.prompt,
            on_completion=house.complete,
        )
        # no spans: they cost 40 % of a call
        self._server.middleware[:] = [relay.hand_on, self._meet]
        self._long = Tasks(app, self._server, self._who, self._output)
        self._listen.offered = offered.Offered(app, self._server, self._who)
        self._server.add_notification_handler(
            "notifications/initialized", types.NotificationParams, self._greet
        )
        # Answers are event streams where they must be: progress and cancelling need them.
        self._http = StreamableHTTPSessionManager(self._server, session_idle_timeout=None)
        self.sessions = Sessions()

    @property
    def stamp(self) -> dict[str, Any]:
        """What is beside each answer in 2026-07-28: who we are."""
        return {types.SERVER_INFO_META_KEY: self._server.server_info_stamp}

    @property
    def open(self) -> dict[str, int]:
        """Clients that hold a stream open: sessions of the handshake eras, and those who listen."""
        listening = len(self._listen._streams)  # the SDK has no public way to count them
        return {"sessions": len(self._connections), "subscriptions": listening}

    async def serve(
        self, scope: Scope, head: Head, by: Principal, receive: Receive, send: Send
    ) -> None:
        """One HTTP request of `by`, whose address was checked. A session belongs to who opened
        it: with another key it is not found."""
        scope[BY] = by
        # White space around a value is no part of it (RFC 9110, 5.5); the SDK compares values.
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        scope["user"] = self._user(by)
        body = b""
        if scope["method"] == "POST":
            body = await read_body(head, receive)
            receive = replay(body, receive)
        with self.sessions.passing(scope, head, by, body, send) as send:
            await self._http.asgi_app(scope, receive, send)

    async def end_idle(self, now: float) -> None:
        """End the sessions that nobody has used for long, as their clients would."""
        for session in self.sessions.idle(now):
            scope = {
                "type": "http",
                "method": "DELETE",
                "path": MCP,
                "query_string": b"",
                "headers": [(ID, session.id)],
                "user": self._users[session.owner],
            }
            await self._http.asgi_app(scope, replay(b"", _nothing), _nothing)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(IDLE_LOOK)
            try:
                await self.end_idle(time.monotonic())
            except Exception:
                logger.exception("ending an idle session")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve sessions and tell changes of the registry while this is open."""
        self._hear_changes()
        async with self._app.following(), self._http.run():
            looking = asyncio.create_task(self._look())
            try:
                yield
            finally:
                looking.cancel()
                self._listen.close()
                await self.stop()
                self._long.close()

    async def serve_stdio(self) -> None:
        """One client on standard input and output, until it closes them."""
        self._hear_changes()
        async with self._app.following(), stdio_server() as (read, write):
            await self._server.run(read, write, self._server.create_initialization_options())

    async def stop(self) -> None:
        """Cancel the calls that run, and wait until they have cleaned up."""
        for task in self._tasks:
            task.cancel()
        await self.sessions.stop()
        await self.parking.stop()
        await self._long.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _hear_changes(self) -> None:
        loop = asyncio.get_running_loop()

        def heard() -> None:
            loop.call_soon_threadsafe(self._changed)

        self._app.registry.listen(heard)
        self._app.others.federation.hear(self._news)

    def _user(self, by: Principal) -> AuthenticatedUser:
        user = self._users.get(by.name)
        if user is None:
            user = AuthenticatedUser(AccessToken(token="", client_id=by.name, scopes=[]))
            self._users[by.name] = user
        return user

    def _who(self, context: Context) -> Principal:
        if context.request is not None:
            by: Principal = context.request.scope[BY]
            return by
        if self._local is None:
            raise MCPError(code=types.INVALID_REQUEST, message="nobody is logged in")
        return self._local

    def _schema(self, name: str) -> dict[str, Any] | None:
        """For the SDK's check of headers. A tool that cannot be called says why when it is."""
        try:
            return dict(self._app.registry.find(name).tool.input_schema)
        except PilotageError:
            return search.schema(name)

    async def _list(
        self, context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """The tools that who asks may call, or may ask a person for, by name, on one page; of
        many, some, and how to find the others."""
        if params is not None and params.cursor is not None:
            raise MCPError(code=types.INVALID_PARAMS, message="there is one page only")
        tools = search.listed(self._visible(self._who(context)), self._most)
        if not relay.is_modern(context):
            tools = list(map(described.of_handshakes, tools))
        return types.ListToolsResult(tools=tools, ttl_ms=0, cache_scope="private")

    def _searches(self, name: str, by: Principal) -> bool:
        """Are the two that reach the others there for `by`?"""
        return name not in self._app.registry.all and len(self._visible(by)) > self._most

    def _visible(self, by: Principal) -> list[Tool]:
        return [
            tool
            for tool in self._app.registry.tools()
            if self._app.policy.decide(by, tool.name, tool.mildest, behind=tool.behind).answer
            is not Answer.DENY
        ]

    async def _call(self, context: Context, params: types.CallToolRequestParams) -> Any:
        """One call. Unknown tools are errors of the protocol, all else is the tool's answer, which
        a model can read and mend (arguments that do not fit, a denial). What a server behind us
        answered is handed on."""
        by, name, arguments = self._who(context), params.name, params.arguments or {}
        if context.request is not None and REQUEST in context.request.scope:
            trace.request.set(context.request.scope[REQUEST])
        if self._app.tracing is not None:
            trace.came.set(relay.trace_of(context))
        meta = name in search.NAMES and self._searches(name, by)
        try:
            if meta and name == search.SEARCH:
                return search.found(self._visible(by), arguments)
            if meta:
                name, arguments = search.named(arguments)
            call = ToolCall(
                new_id(),
                name,
                arguments,
                by,
                "mcp",
                described.key(context.params),
                approval=consent.named(context),
            )
            result = await self._asked(context, call)
            if not isinstance(result, ToolResult):
                return result
            if result.wire is not None:
                kept, wire = result.kept, result.wire
                return relay.passed(context, wire if kept is None else described.marked(wire, kept))
            return described.result(result, not meta and self._output(name))
        except NotFound:
            unknown = f"Unknown tool: {name[:200]}"
            raise MCPError(code=types.INVALID_PARAMS, message=unknown) from None
        except PilotageError as error:
            return described.refusal(error)

    async def _asked(self, context: Context, call: ToolCall) -> Any:
        """The result of a call; or, where it needs a person and the one at the client may be asked,
        the question."""
        id = await consent.answered(self._app, context, call)
        try:
            return await self._told(context, replace(call, approval=id) if id else call)
        except NeedsApproval as waits:
            if id is not None:
                raise  # it was asked, and said nothing
            question = await consent.ask(self._app, context, call, waits)
            if question is not None:
                return question
            again = await self._app.approvals.again(call, waits.approval["id"])
            return await self._told(context, again)

    def _output(self, name: str) -> bool:
        """Has the tool promised a shape of its answers?"""
        entry = self._app.registry.all.get(name)
        return entry is None or entry.tool.output_schema is not None

    async def _told(self, context: Context, call: ToolCall) -> Any:
        """With progress, where the client gave a token for it. A call of server/fast.py has run; a
        long one may become a task."""
        if context.request is not None and DONE in context.request.scope:
            return _ended(context.request.scope.pop(DONE))
        entry = self._app.registry.entries.get(call.tool)
        again = parked.named((context.params or {}).get("requestState"))
        long = entry is not None and entry.tool.tasks and not again
        if entry is not None and long and self._long.wanted(context, entry.tool):
            return await self._long.begin(context, call, entry.tool)
        back = relay.Back(context, self._app.redactor.result)
        wants = context.meta is not None and "progress_token" in context.meta
        if again or (entry is not None and entry.tool.wire is not None):
            call = replace(call, peer=relay.peer(context, back))
        try:
            return await self._shielded(call, back.report if wants else silent)
        finally:
            await back.close()

    async def _shielded(self, call: ToolCall, report: Report) -> ToolResult:
        """In a task of its own: the SDK cancels again at each await, in which no tool could clean
        up. Cancelled once, the tool ends before this does."""
        task = asyncio.create_task(self.parking.call(call, report))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({task})
            raise
        return task.result()

    async def _meet(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Middleware of the SDK's server: a session whose client was let in may call tools."""
        made = await call_next(ctx)
        if ctx.method == "initialize" and ctx.request is not None:
            connection = ctx.session._connection
            id = (connection.session_id or "").encode()
            self.sessions.add(id, ctx.request.scope[BY]).ready = True
            connection.exit_stack.callback(self.sessions.lost, id)
        return made

    async def _greet(self, context: Context, _: types.NotificationParams) -> None:
        """Remember a client of the handshake era, to tell it of changes. The SDK has no public
        way to its connection."""
        connection = context.session._connection
        self._connections.add(connection)
        connection.exit_stack.callback(self._connections.discard, connection)

    def _changed(self) -> None:
        """Many changes at once are told as one."""
        if self._telling:
            return
        self._telling = True
        task = asyncio.ensure_future(self._tell_changed())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _news(self, _: object, news: News) -> None:
        """What a server behind us tells; of its tools, the registry may have told the same."""
        if news.what == "tools":
            self._changed()
            return
        task = asyncio.ensure_future(self._tell(news))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_changed(self) -> None:
        await asyncio.sleep(0)
        self._telling = False
        await self._tell(News("tools"))

    async def _tell(self, news: News) -> None:
        """In both eras; a client that does not read delays no other."""
        await self._bus.publish(offered.event(news))

        async def tell(connection: Connection) -> None:
            try:
                async with asyncio.timeout(TELL_SECONDS):
                    await offered.tell(connection, news)
            except TimeoutError:
                logger.warning("a client did not take news of %s", news.what)

        await asyncio.gather(*map(tell, tuple(self._connections)))


async def _nothing(*_: Any) -> Any:
    """Nobody is at the other end."""


def _ended(done: ToolResult | Exception) -> ToolResult:
    if isinstance(done, Exception):
        raise done
    return done
