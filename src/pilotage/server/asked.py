"""Which request it is: its id, given back, in the log and in the audit; at debug, a line for each.

An id that a client sends in X-Request-Id is taken if it is one, and given back. Whoever sends none
gets one with each refusal, and with every answer where requests are logged.
"""

from __future__ import annotations

import logging
import re
import time

from pilotage.domain import trace
from pilotage.domain.ids import new_id
from pilotage.log import FIELDS
from pilotage.server.http import BY, Head, Message, Scope, Send

logger = logging.getLogger("pilotage.access")
NAME = b"x-request-id"
REQUEST = "pilotage.request"
"""The key of an ASGI scope under which the id is handed on to tasks that are not the request's."""
_FINE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")


class Asked:
    """One request and its id; give its `send` to whoever answers."""

    def __init__(self, scope: Scope, head: Head, send: Send) -> None:
        given = head.get(NAME, b"")
        self.id = given.decode("ascii") if _FINE.fullmatch(given) else new_id()
        self._scope, self._send = scope, send
        self._began = time.perf_counter()
        self._status = 0
        scope[REQUEST] = self.id
        trace.request.set(self.id)

    async def send(self, message: Message) -> None:
        """The same, with the id among the headers."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = [*message.get("headers", ()), (NAME, self.id.encode())]
            message = {"type": message["type"], "status": self._status, "headers": headers}
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._log()

    def _log(self) -> None:
        """Without the query: it may hold what is nobody's business."""
        if not logger.isEnabledFor(logging.DEBUG):
            return
        by = self._scope.get(BY)
        said = {
            "method": self._scope["method"],
            "path": self._scope["path"][:1_000],
            "status": self._status,
            "ms": round((time.perf_counter() - self._began) * 1000, 3),
            "principal": "" if by is None else by.name,
        }
        logger.debug("%s %s", said["method"], said["path"], extra={FIELDS: said})
