"""What a tool raises is its answer."""

from __future__ import annotations

import logging

from pilotage.domain.call import Outcome, ToolCall, ToolResult
from pilotage.domain.errors import Denied, PilotageError

logger = logging.getLogger(__name__)


def failed(call: ToolCall, error: Exception) -> ToolResult:
    """The answer of a tool that raised; a bug of ours says so."""
    if isinstance(error, Denied):
        return ToolResult(Outcome.DENIED, error=error.what, hint=error.hint)
    if isinstance(error, PilotageError):
        outcome = Outcome.UNAVAILABLE if error.status == 503 else Outcome.FAILED
        return ToolResult(outcome, error=error.what, hint=error.hint)
    logger.error("%s broke in call %s", call.tool, call.id, exc_info=error)
    return ToolResult(Outcome.FAILED, error=f"{call.tool} broke: {type(error).__name__}: {error}")
