"""POST /api/v2/tools/call/{tool}: the body is the arguments, the answer is the tool's.

What is decided before anything runs has a status of its own. What ran answers 200, however it
ended. A call that is not done after 10 s commits to 200 and sends a space now and then until its
JSON is ready, so that a client that waits 30 s between bytes gets it. With
`Accept: text/event-stream` the same call streams its progress and ends with its result.

A call that needs a person answers 403 with `approval`, and nothing has run; the same call, sent
again once it is approved, runs. `Prefer: wait=N` waits N seconds for that.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any

import msgspec

from pilotage.domain.call import Principal, ToolCall, ToolResult
from pilotage.domain.errors import BadInput, PilotageError
from pilotage.domain.ids import new_id
from pilotage.server.http import (
    JSON,
    Head,
    Receive,
    Refused,
    Scope,
    Send,
    checked_body,
    encode,
    kept_headers,
    refusal,
    refuse_announced,
    send_json,
    send_ok,
    usable_key,
    whole_body,
)
from pilotage.server.watch import Left, Watch
from pilotage.tool.answer import answer
from pilotage.tool.approvals import Approvals
from pilotage.tool.eager import resume
from pilotage.tool.gateway import Gateway

PREFIX = "/api/v2/tools/call/"
COMMIT_AFTER = 10.0
WAIT_LIMIT = 60
"""Seconds that a call waits for a person, at most."""
APPROVAL = b"pilotage-approval"
_WAIT = re.compile(rb"(?:^|[,;])\s*wait\s*=\s*(\d{1,6})\s*(?:$|[,;])")
_decode = msgspec.json.Decoder().decode


class NotAnObject(PilotageError):
    """JSON, but not what a call can be made of."""

    status = 422


class Calls:
    """The REST door of the gateway. `commit_after` is in seconds."""

    def __init__(
        self,
        gateway: Gateway,
        approvals: Approvals,
        commit_after: float = COMMIT_AFTER,
    ) -> None:
        self._gateway, self._approvals = gateway, approvals
        self._commit_after = commit_after

    async def serve(
        self, scope: Scope, head: Head, by: Principal, receive: Receive, send: Send
    ) -> None:
        """Answer one request of `by`."""
        if scope["method"] != "POST":
            raise Refused(405, f"{scope['method']} calls no tool", "allowed: POST")
        kind = head.get(b"content-type", b"")
        if kind != JSON and kind.partition(b";")[0].strip().lower() != JSON:
            raise Refused(415, "the body must be JSON", "send Content-Type: application/json")
        refuse_announced(head)
        message = await receive()
        simple = message["type"] == "http.request" and not message.get("more_body")
        body = message.get("body", b"") if simple else await whole_body(message, receive)
        arguments = _arguments(checked_body(body))
        key = _key(head)
        named = head[APPROVAL].decode("latin-1") if APPROVAL in head else None
        tool = scope["path"][len(PREFIX) :]
        call = ToolCall(new_id(), tool, arguments, by, "rest", key, approval=named)
        streams = b"text/event-stream" in head.get(b"accept", b"")
        if key is not None or streams or b"prefer" in head:
            await self._serve_more(call, head, receive, send)
            return
        running = self._gateway.call(call)
        try:
            wants = running.send(None)
        except StopIteration as end:
            result: ToolResult = end.value
            content = encode(answer(result))
            if result.kept is not None:
                await send_json(send, 200, content, *kept_headers(result.kept))
                return
            await send_ok(send, content)
        else:
            await self._wait(Watch(receive, send, stream=False), resume(running, wants))

    async def _serve_more(self, call: ToolCall, head: Head, receive: Receive, send: Send) -> None:
        """A call under a key of its own, or one whose progress is wanted."""
        watch = Watch(receive, send, stream=b"text/event-stream" in head.get(b"accept", b""))
        seconds = _patience(head)
        await self._wait(watch, self._run(call, watch, seconds))

    def _run(self, call: ToolCall, watch: Watch, seconds: float) -> Awaitable[ToolResult]:
        if not seconds:
            return self._gateway.call(call, watch.report)
        return self._approvals.patiently(self._gateway.call, call, watch.report, seconds)

    async def _wait(self, watch: Watch, running: Awaitable[ToolResult]) -> None:
        """Answer a client that is watched, since its call waits for something."""
        try:
            result = await watch.over(running, self._commit_after)
            watch.more = kept_headers(result.kept)
            content = encode(answer(result))
        except PilotageError as error:
            if not watch.committed:
                raise
            content = encode(refusal(error))
        except Left:
            return
        await watch.finish(content)


def _arguments(body: bytes) -> dict[str, Any]:
    try:
        arguments = _decode(body)
    except (msgspec.DecodeError, ValueError) as error:
        raise BadInput(
            f"the body is not JSON: {error}", "send a JSON object, {} at least"
        ) from None
    if not isinstance(arguments, dict):
        raise NotAnObject("the body is JSON but no object", "send the tool's parameters by name")
    return arguments


def _patience(head: Head) -> float:
    """The seconds of `Prefer: wait=N` (RFC 7240): for a person, where the call needs one."""
    found = _WAIT.search(head.get(b"prefer", b""))
    return min(int(found[1]), WAIT_LIMIT) if found else 0


def _key(head: Head) -> str | None:
    given = head.get(b"idempotency-key")
    return None if given is None else usable_key(given.decode("latin-1"))
