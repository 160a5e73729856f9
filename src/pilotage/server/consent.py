"""A call over MCP that needs a person: its approval's id, and the person at the client.

Only where `approvals.own` and a role say so is the word of whoever sits at the client taken for a
person's; then a client that can show a form is asked right there. In 2026-07-28 the question is an
answer ("input required") and the client calls again with what was said; before, it is a request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp import MCPError

from pilotage.app import App
from pilotage.domain.approval import Approval, ApprovalState, Verdict
from pilotage.domain.call import ToolCall
from pilotage.domain.errors import NeedsApproval, NotFound, PilotageError
from pilotage.domain.text import visible
from pilotage.server.described import META
from pilotage.server.relay import Context, is_modern

STATE = "pilotage.approval:"
ARGUMENTS_SHOWN = 2_000
_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "approve": {
            "type": "boolean",
            "title": "Let it run",
            "description": "Yes runs it once; no refuses it.",
            "default": False,
        }
    },
    "required": ["approve"],
}


def named(context: Context) -> str | None:
    """The approval that the caller names in `_meta`."""
    meta = (context.params or {}).get("_meta")
    found = meta.get(META) if isinstance(meta, Mapping) else None
    return found if isinstance(found, str) else None


async def answered(app: App, context: Context, call: ToolCall) -> str | None:
    """The approval about which the client was asked before, judged by what its person said. That
    part of the request goes no further: a server behind us did not ask it."""
    params = dict(context.params or {})
    state = params.get("requestState")
    if not isinstance(state, str) or not state.startswith(STATE):
        return None
    answers = params.pop("inputResponses", None)
    del params["requestState"]
    context.params = params
    id = state.removeprefix(STATE)
    said = answers.get(META) if isinstance(answers, Mapping) else None
    if isinstance(said, Mapping):
        await _judge(app, id, call, said.get("action"), said.get("content"))
    return id


async def ask(app: App, context: Context, call: ToolCall, waits: NeedsApproval) -> Any:
    """The question, as the answer of this request; or None once the client was asked and has
    answered. Raises `waits` where nobody at the client can or may be asked."""
    if not (app.approvals.may_at_client(call.by) and _has_forms(context)):
        raise waits
    one = app.approvals.show(waits.approval["id"], call.by)
    if any(vote.by == call.by.name for vote in one.votes):
        raise waits  # it has spoken; others must, too
    if is_modern(context):
        request = types.ElicitRequest.model_validate(
            {
                "method": "elicitation/create",
                "params": {"mode": "form", "message": _question(one), "requestedSchema": _FORM},
            }
        )
        return types.InputRequiredResult(
            input_requests={META: request}, request_state=STATE + one.id
        )
    if not context.session.can_send_request:
        raise waits
    try:
        said = await context.session.elicit_form(_question(one), _FORM, context.request_id)
    except MCPError:
        raise waits from None
    if not await _judge(app, one.id, call, said.action, said.content):
        raise waits
    return None


async def _judge(app: App, id: str, call: ToolCall, action: Any, content: Any) -> bool:
    """What the person at the client said, of its own call alone. False: nothing."""
    by = (await app.approvals.again(call, id)).by  # its key may be gone by now
    try:
        one = app.approvals.show(id, by)
    except NotFound:
        return False
    mine = one.principal == by.name and not one.run
    open_ = one.state is ApprovalState.PENDING and action in ("accept", "decline")
    if not (mine and open_ and app.approvals.may_at_client(by)):
        return False
    agrees = action == "accept" and isinstance(content, Mapping) and content.get("approve") is True
    verdict = Verdict.APPROVED if agrees else Verdict.REJECTED
    try:
        await app.approvals.judge(id, by, verdict, "said at the client", at_client=True)
    except PilotageError:
        return False  # it has moved on: the call that follows says how
    return True


def _has_forms(context: Context) -> bool:
    can = context.session.client_capabilities
    if can is None or can.elicitation is None:
        return False
    modes = can.elicitation.model_dump(exclude_none=True)
    return not modes or "form" in modes


def _question(one: Approval) -> str:
    """What a person must know to decide. That something is left out stands before the arguments,
    since whoever wrote them decides how they end."""
    arguments = visible(json.dumps(one.arguments, ensure_ascii=False))
    if len(arguments) > ARGUMENTS_SHOWN:
        left = f"NOT ALL OF IT FITS HERE, only the first {ARGUMENTS_SHOWN} of {len(arguments)}"
        arguments = f"({left} characters) {arguments[:ARGUMENTS_SHOWN]}"
    return (
        f"{one.tool} ({one.effect}) is to run with {arguments}. The policy asks a person first: "
        f"{visible(one.why)} (rule {one.rule}). SHA-256 of the arguments: {one.digest}"
    )
