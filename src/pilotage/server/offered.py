"""Prompts, resources, completions and log levels of servers that are federated whole, behind those
of the house. What only they have is served once there is such a server."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import mcp_types as types
from mcp import MCPError
from mcp.server.connection import Connection as Client
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import (
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    SubscriptionBus,
    ToolsListChanged,
)

from pilotage.app import App
from pilotage.domain.call import Answer, Effect, Principal, ToolCall, silent
from pilotage.domain.errors import NotFound, PilotageError
from pilotage.domain.ids import new_id
from pilotage.server import relay
from pilotage.server.relay import Context
from pilotage.tool.results import bared
from pilotage.upstream.changes import News
from pilotage.upstream.server import Upstream

Handler = Callable[[Context, Any], Awaitable[Any]]
OURS = "pilotage://"
LISTENS, WATCHED = 50, 1_000
"""Streams of news of one principal, and resources that one of them watches."""
_WATCHED = "watched"
_KINDS: dict[str, type[types.Prompt | types.Resource | types.ResourceTemplate]] = {
    "prompts": types.Prompt,
    "resources": types.Resource,
    "templates": types.ResourceTemplate,
}
_EVENTS: dict[str, Callable[[], ServerEvent]] = {
    "tools": ToolsListChanged,
    "prompts": PromptsListChanged,
    "resources": ResourcesListChanged,
}


class Offered:
    """The handlers. What the house itself offers is served by the handlers that `server` has
    already; its names and its URIs are never another's. `who` tells whose request it is."""

    def __init__(self, app: App, server: Server[Any], who: Callable[[Context], Principal]) -> None:
        self._app, self._server, self._who = app, server, who
        self._offers, self._gateway = (
            app.others.offers,
            app.gateway.over(app.others.offers.registry),
        )
        self._house: dict[str, Handler] = {}
        app.others.federation.welcome(self._joined)

    def _joined(self, upstream: Upstream) -> None:
        """From now on we say that we have what this server offers."""
        add = self._add
        add("logging/setLevel", types.SetLevelRequestParams, self._set_level)
        if "prompts" in upstream.offers:
            add("prompts/list", types.PaginatedRequestParams, self._list_prompts)
            add("prompts/get", types.GetPromptRequestParams, self._prompt)
        if "resources" in upstream.offers:
            add("resources/list", types.PaginatedRequestParams, self._list_resources)
            add("resources/templates/list", types.PaginatedRequestParams, self._list_templates)
            add("resources/read", types.ReadResourceRequestParams, self._resource)
            add("resources/subscribe", types.SubscribeRequestParams, self._subscribe)
            add("resources/unsubscribe", types.UnsubscribeRequestParams, self._unsubscribe)
        if {"prompts", "resources"} & set(upstream.offers):
            add("completion/complete", types.CompleteRequestParams, self._complete)

    def _add(self, method: str, kind: type[types.RequestParams], handler: Handler) -> None:
        """In front of the house's own handler, which is asked first."""
        before = self._server.get_request_handler(method)
        if before is not None and before.handler != handler:
            self._house[method] = before.handler
        self._server.add_request_handler(method, kind, handler)

    # Lists.

    async def _list_prompts(self, context: Context, params: types.PaginatedRequestParams) -> Any:
        return await self._list(context, params, "prompts/list", "prompts", "prompts")

    async def _list_resources(self, context: Context, params: types.PaginatedRequestParams) -> Any:
        return await self._list(context, params, "resources/list", "resources", "resources")

    async def _list_templates(self, context: Context, params: types.PaginatedRequestParams) -> Any:
        method, member = "resources/templates/list", "resourceTemplates"
        return await self._list(context, params, method, "templates", member)

    async def _list(
        self,
        context: Context,
        params: types.PaginatedRequestParams,
        method: str,
        what: str,
        member: str,
    ) -> dict[str, Any]:
        """A page of the house; on the first one, those of other servers stand behind its own. What
        who asks may not have is not on it, nor what has a name of the house."""
        by, house = self._who(context), self._house.get(method)
        page = {member: []} if house is None else _dumped(await house(context, params))
        if params.cursor is None:
            taken = {_key(item) for item in page[member]}
            offered = [item for tool, item in self._offers.listed(what) if self._may(by, tool)]
            shown = [item for item in offered if _key(item) not in taken and _is(what, item)]
            page[member] += bared(self._app.redactor.result(shown))
        return {**page, "ttlMs": 0, "cacheScope": "private"}

    def _may(self, by: Principal, tool: str) -> bool:
        return self._app.policy.decide(by, tool, Effect.READ).answer is Answer.ALLOW

    # Single ones.

    async def _prompt(self, context: Context, params: types.GetPromptRequestParams) -> Any:
        house = self._house.get("prompts/get")
        unknown: MCPError | None = None
        if house is not None:
            try:
                return await house(context, params)
            except MCPError as error:
                unknown = error
        tool, own = _found(lambda: self._offers.prompt(params.name), unknown)
        arguments = {} if params.arguments is None else {"arguments": params.arguments}
        return await self._ask(context, tool, "prompts/get", {**own, **arguments})

    async def _resource(self, context: Context, params: types.ReadResourceRequestParams) -> Any:
        uri, house = str(params.uri), self._house.get("resources/read")
        if house is not None and uri.startswith(OURS):
            return await house(context, params)
        tool, _ = _found(lambda: self._offers.resource(uri), uri=uri)
        return await self._ask(context, tool, "resources/read", {"uri": uri})

    async def _complete(self, context: Context, params: types.CompleteRequestParams) -> Any:
        given = params.model_dump(by_alias=True, mode="json", exclude_none=True)
        given.pop("_meta", None)
        house = self._house.get("completion/complete")
        try:
            if isinstance(params.ref, types.PromptReference):
                tool, own = self._offers.prompt(params.ref.name)
                given["ref"] |= own
            else:
                uri = str(params.ref.uri)
                if house is not None and uri.startswith(OURS):
                    return await house(context, params)
                tool, _ = self._offers.resource(uri)
        except NotFound as error:
            if house is not None:
                return await house(context, params)
            raise MCPError(types.INVALID_PARAMS, error.what) from None
        return await self._ask(context, tool, "completion/complete", given)

    async def _ask(self, context: Context, tool: str, method: str, params: dict[str, Any]) -> Any:
        """Through the gateway, as a call; its errors are errors of the protocol."""
        back = relay.Back(context, self._app.redactor.result)
        given = {"method": method, "params": params}
        call = ToolCall(
            new_id(), tool, given, self._who(context), "mcp", peer=relay.peer(context, back)
        )
        wants = context.meta is not None and "progress_token" in context.meta
        try:
            result = await self._gateway.call(call, back.report if wants else silent)
        except PilotageError as error:
            raise MCPError(types.INVALID_REQUEST, str(error)) from None
        finally:
            await back.close()
        if result.wire is None:
            raise MCPError(types.INTERNAL_ERROR, result.error or "it failed")
        return relay.passed(context, result.wire)

    # What changes.

    async def _set_level(
        self, context: Context, params: types.SetLevelRequestParams
    ) -> types.EmptyResult:
        context.session._connection.state[relay.LOG_KEY] = str(params.level)
        return types.EmptyResult()

    async def _subscribe(
        self, context: Context, params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        client, uri = context.session._connection, str(params.uri)
        watched: dict[str, contextlib.ExitStack] = client.state.setdefault(_WATCHED, {})
        if uri not in watched and len(watched) >= WATCHED:
            raise MCPError(types.INVALID_PARAMS, f"at most {WATCHED} resources at a time")
        if uri not in watched:
            watching = watched[uri] = contextlib.ExitStack()
            watching.enter_context(self.watching(self._who(context), [uri]))
            client.exit_stack.callback(watching.close)
        return types.EmptyResult()

    async def _unsubscribe(
        self, context: Context, params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        watched = context.session._connection.state.get(_WATCHED, {})
        watching = watched.pop(str(params.uri), None)
        if watching is not None:
            watching.close()
        return types.EmptyResult()

    @contextlib.contextmanager
    def watching(self, by: Principal, uris: list[str]) -> Iterator[list[str]]:
        """While this is open, their servers tell changes of these resources: those of them that
        are there, and that `by` may read."""
        held = []
        for uri in uris:
            with contextlib.suppress(NotFound):
                tool, connection = self._offers.resource(uri)
                if self._may(by, tool):
                    connection.changes.watch(uri)
                    held.append((uri, connection))
        try:
            yield [uri for uri, _ in held]
        finally:
            for uri, connection in held:
                connection.changes.unwatch(uri)


class Listen(ListenHandler):
    """subscriptions/listen, which has our servers watch the resources that a client names."""

    def __init__(self, bus: SubscriptionBus) -> None:
        super().__init__(bus)
        self.offered: Offered | None = None
        self._each: Counter[str] = Counter()

    async def __call__(
        self, ctx: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        assert self.offered is not None
        uris = list(params.notifications.resource_subscriptions or ())
        if len(uris) > WATCHED:
            raise MCPError(types.INVALID_PARAMS, f"at most {WATCHED} resources at a time")
        by = self.offered._who(ctx)
        if self._each[by.name] >= LISTENS:
            why = f"{by.name} has {LISTENS} subscriptions open already"
            raise MCPError(types.INVALID_REQUEST, why)
        self._each[by.name] += 1
        try:
            return await self._heard(ctx, params, by, uris)
        finally:
            self._each[by.name] -= 1
            if not self._each[by.name]:
                del self._each[by.name]

    async def _heard(
        self,
        ctx: Context,
        params: types.SubscriptionsListenRequestParams,
        by: Principal,
        uris: list[str],
    ) -> types.SubscriptionsListenResult:
        assert self.offered is not None
        if not uris:
            return await super().__call__(ctx, params)
        with self.offered.watching(by, uris) as held:
            changed = params.notifications.model_copy(update={"resource_subscriptions": held})
            return await super().__call__(ctx, params.model_copy(update={"notifications": changed}))


def _dumped(result: Any) -> dict[str, Any]:
    if isinstance(result, types.Result):
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return dict(result)


def _key(item: dict[str, Any]) -> Any:
    return item.get("uri") or item.get("uriTemplate") or item.get("name")


def _is(what: str, item: dict[str, Any]) -> bool:
    """Is this what it is listed as? One that is not would take the whole list with it, and what
    others offer."""
    try:
        _KINDS[what].model_validate(item)
    except ValueError:
        return False
    return True


def _found(find: Callable[[], Any], error: MCPError | None = None, **data: Any) -> Any:
    try:
        return find()
    except NotFound as unknown:
        raise error or MCPError(types.INVALID_PARAMS, unknown.what, data or None) from None


def event(news: News) -> ServerEvent:
    """News as a client of 2026-07-28 hears it."""
    return ResourceUpdated(uri=news.uri) if news.what == "resource" else _EVENTS[news.what]()


async def tell(client: Client, news: News) -> None:
    """The same for a client of the handshake eras."""
    if news.what == "tools":
        await client.send_tool_list_changed()
    elif news.what == "prompts":
        await client.send_prompt_list_changed()
    elif news.what == "resources":
        await client.send_resource_list_changed()
    elif news.uri in client.state.get(_WATCHED, {}):
        await client.send_resource_updated(news.uri)
