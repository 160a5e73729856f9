"""What tools there are, and what the policy says of them to who asks; registering one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Body, FastAPI, Header, Path, Query, Request, Response

from pilotage.app import App
from pilotage.domain.call import Answer, Principal
from pilotage.domain.errors import BadInput, NotFound
from pilotage.domain.registration import Registration
from pilotage.server.http import BY
from pilotage.server.routes.permission import may
from pilotage.tool.registry import Entry, State
from pilotage.upstream.wanted import If, Wanted, owned_by

Name = Annotated[str, Path(max_length=200, description="the tool's name")]
Owner = Annotated[
    str,
    Query(max_length=250, description="the owner that it must have; another's is a 409"),
]
Listed = Annotated[
    str | None,
    Query(max_length=250, description="only this owner's, and of owners below it (`cluster/...`)"),
]
Match = Annotated[str | None, Header(description="the ETag that it must have now, else 412")]
NoneMatch = Annotated[str | None, Header(description="`*`: only if it is not there yet, else 412")]


@dataclass(frozen=True, slots=True)
class ToolView:
    """A tool, or a source of tools (`tools` names them). `may` is what the policy says to who asks:
    allow, ask or deny. `state` is ready, disabled, quarantined or unavailable, `why` in a sentence.

    Of a registered one, `tool_id`, `etag`, `owner`, `kind` and `enabled` say more; `definition` is
    for those who may register tools.
    """

    name: str
    state: State
    why: str
    summary: str = ""
    description: str = ""
    effect: str | None = None
    may: Answer | None = None
    idempotent: bool = False
    timeout: float | None = None
    input_schema: Mapping[str, Any] | None = None
    output_schema: Mapping[str, Any] | None = None
    owner: str = ""
    source: str | None = None
    kind: str = "house"
    enabled: bool = True
    tool_id: str | None = None
    etag: str | None = None
    tools: tuple[str, ...] = ()
    definition: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    tools: list[ToolView]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be registered. `definition` is of its `kind`; `owner` is who asks where it is
    left out."""

    kind: str
    definition: dict[str, Any]
    owner: str = ""


def add(api: FastAPI, app: App) -> None:
    shown = _Shown(app)
    read = [may(app, "tools:read")]

    @api.get("/api/v2/tools", tags=["tools"], dependencies=read)
    def tools(request: Request, owner: Listed = None) -> Tools:
        """All tools, by name. What cannot be called (disabled, quarantined) is listed for those who
        may register tools."""
        return Tools(shown.all(request.scope[BY], owner))

    @api.get("/api/v2/tools/{name}", tags=["tools"], dependencies=read)
    def one_tool(name: Name, request: Request, response: Response) -> ToolView:
        """One tool, with its ETag if it was registered."""
        return _tagged(shown.one(name, request.scope[BY]), response)

    _add_changes(api, app, shown)
    _add_switches(api, app, shown)


def _add_changes(api: FastAPI, app: App, shown: _Shown) -> None:
    write = [may(app, "tools:write")]

    @api.put("/api/v2/tools/{name}", tags=["tools"], dependencies=write, responses=_SAID)
    async def put(
        name: Name,
        request: Request,
        response: Response,
        wish: Annotated[Wish, Body()],
        if_match: Match = None,
        if_none_match: NoneMatch = None,
    ) -> ToolView:
        """Register a tool, or change it: 201 where it is new. The same again changes nothing."""
        by: Principal = request.scope[BY]
        wanted = Wanted(wish.kind, wish.definition, wish.owner)
        when = _when(if_match, if_none_match)
        done = await app.registrations.put(name, wanted, by, when)
        response.status_code = 201 if done.created else 200
        return _tagged(shown.one(name, by), response)

    @api.delete(
        "/api/v2/tools/{name}",
        tags=["tools"],
        dependencies=write,
        status_code=204,
        response_class=Response,
        responses=_SAID,
    )
    async def remove(
        name: Name, request: Request, owner: Owner = "", if_match: Match = None
    ) -> None:
        """It is gone; 404 where it was gone already."""
        await app.registrations.remove(name, request.scope[BY], owner, _when(if_match, None))


def _add_switches(api: FastAPI, app: App, shown: _Shown) -> None:
    write = [may(app, "tools:write")]

    @api.post("/api/v2/tools/{name}/enable", tags=["tools"], dependencies=write, responses=_SAID)
    async def enable(
        name: Name, request: Request, response: Response, owner: Owner = "", if_match: Match = None
    ) -> ToolView:
        """Let it be called."""
        by: Principal = request.scope[BY]
        await app.registrations.enable(name, True, by, owner, _when(if_match, None))
        return _tagged(shown.one(name, by), response)

    @api.post("/api/v2/tools/{name}/disable", tags=["tools"], dependencies=write, responses=_SAID)
    async def disable(
        name: Name, request: Request, response: Response, owner: Owner = "", if_match: Match = None
    ) -> ToolView:
        """Let nobody call it, and nobody but those who may register tools see it."""
        by: Principal = request.scope[BY]
        await app.registrations.enable(name, False, by, owner, _when(if_match, None))
        return _tagged(shown.one(name, by), response)


_OBJECT = {"application/json": {"schema": {"type": "object"}}}
_SAID: dict[int | str, dict[str, Any]] = {
    code: {"description": why, "content": _OBJECT}
    for code, why in (
        (400, "what is wrong with the body, the name or a header"),
        (403, "no role allows it, it is another principal's, or the egress guard refuses the host"),
        (404, "nothing is registered under that name"),
        (409, "it is another owner's, the house's own, or of a later generation"),
        (412, "it is not what If-Match or If-None-Match says"),
    )
}


class _Shown:
    """Tools and registrations as one: what there is to see of them for who asks."""

    def __init__(self, app: App) -> None:
        self._app = app

    def all(self, by: Principal, owner: str | None) -> list[ToolView]:
        everything = self._app.policy.may(by, "tools:write")
        views = []
        known = {one.name for one in self._app.registrations.list()}
        for name in sorted(known | self._app.registry.all.keys()):
            entry = self._app.registry.all.get(name)
            if entry is None and not everything:
                continue
            if entry is not None and not everything and not _callable(entry):
                continue
            view = self._view(name, by, everything)
            if owner is None or owned_by(view.owner, owner):
                views.append(view)
        return views

    def one(self, name: str, by: Principal) -> ToolView:
        everything = self._app.policy.may(by, "tools:write")
        entry = self._app.registry.all.get(name)
        if entry is None and not (everything and self._registered(name)):
            raise NotFound(f"there is no tool {name[:100]!r}", "GET /api/v2/tools lists them")
        if entry is not None and not everything and not _callable(entry):
            raise entry.refusal()
        return self._view(name, by, everything)

    def _registered(self, name: str) -> Registration | None:
        try:
            return self._app.registrations.get(name)
        except NotFound:
            return None

    def _view(self, name: str, by: Principal, everything: bool) -> ToolView:
        more: dict[str, Any] = {}
        entry, one = self._app.registry.all.get(name), self._registered(name)
        if entry is not None:
            more = self._tool(entry, by)
        if one is not None:
            state, why, tools = self._app.registrations.stands(name)
            more |= {
                "state": state,
                "why": why,
                "owner": one.owner,
                "kind": one.kind,
                "enabled": one.enabled,
                "tool_id": one.tool_id,
                "etag": one.etag,
                "tools": tuple(tools),
                "definition": one.definition if everything else None,
            }
        return ToolView(name, **more)

    def _tool(self, entry: Entry, by: Principal) -> dict[str, Any]:
        tool = entry.tool
        source = self._app.registrations.source(tool.name) if tool.owner else None
        return {
            "state": entry.state,
            "why": entry.why,
            "summary": tool.summary,
            "description": tool.description,
            "effect": tool.effect.value,
            "may": self._app.policy.decide(by, tool.name, tool.effect).answer,
            "idempotent": tool.idempotent,
            "timeout": tool.timeout,
            "input_schema": tool.input_schema,
            "output_schema": tool.output_schema,
            "owner": tool.owner,
            "kind": source.kind if source else "other" if tool.owner else "house",
            "source": source.name if source else None,
        }


def _callable(entry: Entry) -> bool:
    return entry.state in (State.READY, State.UNAVAILABLE)


def _tagged(view: ToolView, response: Response) -> ToolView:
    if view.etag is not None:
        response.headers["etag"] = f'"{view.etag}"'
    return view


def _when(match: str | None, none_match: str | None) -> If:
    """The two headers of HTTP. `If-None-Match` knows `*` only: it is for what is not there."""
    if none_match is not None and none_match.strip() != "*":
        raise BadInput("If-None-Match holds * here", "If-Match is for a certain ETag")
    if match is None:
        return If(None, none_match is not None)
    tag = match.strip()
    if tag != "*":
        if len(tag) < 2 or tag[0] != '"' or tag[-1] != '"' or '"' in tag[1:-1]:
            raise BadInput("If-Match holds one ETag in quotes, or *", 'If-Match: "..."')
        tag = tag[1:-1]
    return If(tag, none_match is not None)
