"""A call of a federated tool: to its server, and back as it came."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

import msgspec

from pilotage.domain.call import Outcome, Peer, Report, ToolCall, ToolResult
from pilotage.domain.errors import PilotageError
from pilotage.tool.tool import Runner
from pilotage.upstream import wire
from pilotage.upstream.catalogue import Found
from pilotage.upstream.link import Relay
from pilotage.upstream.questions import ASKS, ability, questions, remade

OURS = frozenset(("success", "outcome", "error", "hint"))
"""What an answer of ours says of itself; a structure with one of these stands under `result`."""
ROUNDS = 10
"""How often a server may ask back within one call, where we put its questions to a client."""
_BLOCKS = {
    "text": ("text",),
    "image": ("data", "mimeType"),
    "audio": ("data", "mimeType"),
    "resource_link": ("uri", "name"),
    "resource": (),
}
"""The blocks of content, and the texts that each must have."""


class Asks(Protocol):
    """A connection: see connection.py."""

    @property
    def who(self) -> str: ...

    def ask(
        self, method: str, params: Mapping[str, Any], relay: Relay, made_of: bytes = b""
    ) -> Awaitable[bytes]: ...

    def answers_as(self, info: Mapping[str, Any]) -> None: ...


class _Result(msgspec.Struct):
    """What of a result decides something; the rest is not looked at."""

    isError: bool = False
    resultType: str | msgspec.UnsetType = msgspec.UNSET
    content: Any = None
    structuredContent: Any = msgspec.UNSET
    inputRequests: Any = None
    requestState: str | None = None
    meta: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="_meta")


class _Introduced(msgspec.Struct):
    """What of a result's `_meta` says who answers."""

    info: dict[str, Any] | None = msgspec.field(default=None, name=wire.SERVER_KEY)


_introduction = msgspec.json.Decoder(_Introduced).decode
_decode = msgspec.json.Decoder(_Result).decode


def runner(connection: Asks, found: Found) -> Runner:
    """What runs a tool of this connection's server."""
    name = found.name

    async def run(call: ToolCall, report: Report) -> ToolResult:
        peer = call.peer
        params: dict[str, Any] = {"name": name, "arguments": call.arguments}
        if peer is not None:
            params |= answered(peer)
        relay = Relay(peer, report, _mirrored(found, call.arguments), who=connection.who)
        for _ in range(ROUNDS):
            try:
                raw = await connection.ask("tools/call", params, relay, found.made_of)
            except wire.RpcError as error:
                return passes(error)
            result = _read(call.tool, raw)
            if result.meta is not msgspec.UNSET:
                _introduced(connection, result.meta)
            if result.resultType != ASKS:
                return _judged(call.tool, found, raw, result)
            if not puts(peer):
                return _asks_back(call.tool, connection.who, raw, result, peer)
            assert peer is not None
            asked = questions(connection.who, result.inputRequests)
            params |= await put(peer, asked, result.requestState)
        return ToolResult(Outcome.FAILED, error=f"{call.tool} asked back {ROUNDS} times")

    return run


def _mirrored(found: Found, arguments: Mapping[str, Any]) -> Mapping[str, str]:
    if not found.headers:
        return {}
    from mcp.shared.inbound import mcp_param_headers  # heavy

    return mcp_param_headers(found.headers, arguments)


def answered(peer: Peer) -> dict[str, Any]:
    """The params by which a client of 2026-07-28 asks again, untouched."""
    params: dict[str, Any] = {}
    if peer.answers is not None:
        params["inputResponses"] = peer.answers
    if peer.state is not None:
        params["requestState"] = peer.state
    return params


def forged(state: str | None) -> bool:
    """Does a server send a state that looks like one of ours? What a person says to its question
    would then be taken for what was said to one of the house's (server/consent.py)."""
    return state is not None and state.lower().startswith("pilotage.")


def puts(peer: Peer | None) -> bool:
    """Is this a client that is asked in mid-call, since an answer that asks means nothing to it?"""
    return peer is not None and not peer.modern and peer.ask is not None


async def put(
    peer: Peer, asked: Mapping[str, Mapping[str, Any]], state: str | None
) -> dict[str, Any]:
    """Put the questions of an input-required result to a client of the handshake eras. What it
    refuses is raised."""
    assert peer.ask is not None
    answers = {}
    for key, one in asked.items():
        method = one["method"]
        if ability(method) not in wire.askable(peer.capabilities):
            raise PilotageError(f"it asks for {method[:60]}, which this client does not do")
        answers[key] = await peer.ask(method, one["params"])
    return {"inputResponses": answers, **({"requestState": state} if state is not None else {})}


def _read(tool: str, raw: bytes) -> _Result:
    try:
        return _decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PilotageError(
            f"the server of {tool} answered with no result of a tool: {error}"
        ) from None


def _introduced(connection: Asks, meta: msgspec.Raw) -> None:
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        info = _introduction(meta).info
        if info:
            connection.answers_as(info)


def passes(error: wire.RpcError) -> ToolResult:
    """An error of the protocol, which a client of MCP gets as it is."""
    return ToolResult(Outcome.FAILED, error=error.message[:2000], wire=b'"error":' + error.raw)


def _judged(tool: str, found: Found, raw: bytes, result: _Result) -> ToolResult:
    passed = b'"result":' + (completed(raw) if result.resultType is msgspec.UNSET else raw)
    if result.resultType not in (msgspec.UNSET, "complete"):
        why = f"{tool} answered with {str(result.resultType)[:40]!r}, which is not relayed"
        return ToolResult(Outcome.FAILED, error=why)
    malformed = _malformed(result.content)
    if malformed:
        why = f"{tool} answered with an invalid result: {malformed}"
        return ToolResult(Outcome.FAILED, error=why, hint="tell who runs that server")
    value = _value(result)
    if result.isError:
        return ToolResult(Outcome.FAILED, value, error=_said(result), wire=passed)
    broken = _broken_promise(tool, found, result)
    if broken:
        return ToolResult(Outcome.FAILED, error=broken, hint="tell who runs that server")
    return ToolResult(Outcome.SUCCEEDED, value, wire=passed)


def completed(raw: bytes) -> bytes:
    """A result of the handshake eras as 2026-07-28 has it: with the member that it must have."""
    rest = raw.lstrip()[1:].lstrip()
    return b'{"resultType":"complete"' + (b"" if rest.startswith(b"}") else b",") + rest


def _asks_back(tool: str, who: str, raw: bytes, result: _Result, peer: Peer | None) -> ToolResult:
    """It has not run: it wants to know something first, from a client that can be asked."""
    if peer is None or not peer.modern:
        why = f"{tool} asks back, and whoever called cannot be asked"
        return ToolResult(
            Outcome.FAILED, error=why, hint="call it from an MCP client that can elicit"
        )
    if forged(result.requestState):
        return ToolResult(Outcome.FAILED, error=f"{tool} asks back in the name of the house")
    passed = b'"result":' + remade(who, raw)
    for one in (result.inputRequests or {}).values():
        if ability(one["method"]) not in wire.askable(peer.capabilities):
            why = f"{tool} asks for {one['method'][:60]}, which this client did not offer"
            return ToolResult(Outcome.FAILED, error=why)
    return ToolResult(Outcome.SKIPPED, error=f"{tool} asks back before it runs", wire=passed)


def _malformed(content: Any) -> str:
    """Why this is no content as clients of every era know it, "" if it is."""
    if not isinstance(content, list):
        return "its content is no list"
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        texts = _BLOCKS.get(kind) if isinstance(kind, str) else None
        if texts is None or not all(isinstance(block.get(name), str) for name in texts):
            return "its content holds something that is no block"
        if kind == "resource" and not _is_resource(block.get("resource")):
            return "its content holds a resource that is none"
    return ""


def _is_resource(one: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("uri"), str):
        return False
    return isinstance(one.get("text", one.get("blob")), str)


def _value(result: _Result) -> dict[str, Any]:
    """The result as one JSON object, for whoever does not speak MCP."""
    structured, content = result.structuredContent, result.content
    value: dict[str, Any] = {}
    if isinstance(structured, dict) and not OURS & structured.keys():
        value = dict(structured)
    elif structured is not msgspec.UNSET:
        value = {"result": structured}
    plain = all(block["type"] == "text" for block in content)
    if not value or not plain:
        value.setdefault("content", content)
    return value


def _said(result: _Result) -> str:
    texts = [block["text"] for block in result.content if block["type"] == "text"]
    return "\n".join(texts)[:4000] or "it failed and did not say why"


def _broken_promise(tool: str, found: Found, result: _Result) -> str:
    """What of its output schema a result does not keep, "" if all is well."""
    if found.promised is None:
        return ""
    if result.structuredContent is msgspec.UNSET:
        return f"{tool} promised a structured result and sent none"
    wrong = found.promised.wrong(result.structuredContent)
    return f"{tool} did not keep its output schema: {wrong[:500]}" if wrong else ""
