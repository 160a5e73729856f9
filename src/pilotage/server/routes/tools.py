"""What tools there are, and what the policy says of them to who asks; registering one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Body, FastAPI, Header, Path, Query, Request, Response

from pilotage.app import App
from pilotage.domain.call import Principal
from pilotage.domain.errors import BadInput
from pilotage.server.http import BY
from pilotage.server.routes.permission import keep_to_key, may
from pilotage.upstream.shown import Shown, ToolView
from pilotage.upstream.wanted import If, Wanted

Name = Annotated[str, Path(max_length=200, description="the tool's name")]
Owner = Annotated[
    str,
    Query(max_length=250, description="the owner that it must have; another's is a 409"),
]
Listed = Annotated[
    str | None,
    Query(max_length=250, description="only this owner's, and of owners below it (`cluster/...`)"),
]
Brief = Annotated[
    bool,
    Query(description="how what is registered stands, for who may register: without what it is"),
]
Match = Annotated[str | None, Header(description="the ETag that it must have now, else 412")]
NoneMatch = Annotated[str | None, Header(description="`*`: only if it is not there yet, else 412")]


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
    shown = app.others.shown
    read = [may(app, "tools:read")]

    @api.get("/api/v2/tools", tags=["tools"], dependencies=read)
    def tools(request: Request, owner: Listed = None, brief: Brief = False) -> Tools:
        """All tools, by name. What cannot be called (disabled, quarantined) is listed for those who
        may register tools."""
        return Tools((shown.brief if brief else shown.all)(request.scope[BY], owner))

    @api.get("/api/v2/tools/{name}", tags=["tools"], dependencies=read)
    def one_tool(name: Name, request: Request, response: Response) -> ToolView:
        """One tool, with its ETag if it was registered."""
        return _tagged(shown.one(name, request.scope[BY]), response)

    _add_changes(api, app, shown)
    _add_switches(api, app, shown)


def _add_changes(api: FastAPI, app: App, shown: Shown) -> None:
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
        if wish.kind == "mcp":
            keep_to_key(app, by, None)
        wanted = Wanted(wish.kind, wish.definition, wish.owner)
        when = _when(if_match, if_none_match)
        done = await app.others.registrations.put(name, wanted, by, when)
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
        await app.others.registrations.remove(name, request.scope[BY], owner, _when(if_match, None))


def _add_switches(api: FastAPI, app: App, shown: Shown) -> None:
    write = [may(app, "tools:write")]

    @api.post("/api/v2/tools/{name}/enable", tags=["tools"], dependencies=write, responses=_SAID)
    async def enable(
        name: Name, request: Request, response: Response, owner: Owner = "", if_match: Match = None
    ) -> ToolView:
        """Let it be called."""
        by: Principal = request.scope[BY]
        await app.others.registrations.enable(name, True, by, owner, _when(if_match, None))
        return _tagged(shown.one(name, by), response)

    @api.post("/api/v2/tools/{name}/disable", tags=["tools"], dependencies=write, responses=_SAID)
    async def disable(
        name: Name, request: Request, response: Response, owner: Owner = "", if_match: Match = None
    ) -> ToolView:
        """Let nobody call it, and nobody but those who may register tools see it."""
        by: Principal = request.scope[BY]
        await app.others.registrations.enable(name, False, by, owner, _when(if_match, None))
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
