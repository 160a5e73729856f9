"""What the tool server says of an MCPPipeline before anybody runs it: its condition Valid."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from pilotage.domain.call import ACTING_FOR, Tenant
from pilotage.domain.errors import BadInput, PilotageError
from pilotage.domain.text import cut
from pilotage.kubernetes.kind import Object, key_of
from pilotage.operator import pipeline_document
from pilotage.operator.conditions import FALSE, TRUE, UNKNOWN, Condition, find
from pilotage.operator.tool_server import Away, Full, ToolServer, spread

VALID = "Valid"
LINT = "/api/v2/pipelines/lint"
WELL_SECONDS, WRONG_SECONDS = 600.0, 60.0
"""How long what was said counts: tools come and go at the server."""
MESSAGE_LIMIT = 2_000


class Linter:
    """Asks once for each version of a pipeline, and again now and then, in the name of its
    namespace. `cluster` is our name of the cluster, `known` that of the server's settings, as in
    the pipeline's own document."""

    def __init__(self, server: ToolServer, cluster: str, known: str) -> None:
        self._server, self._cluster, self._known = server, cluster, known
        self._said: dict[str, tuple[str, int, float, Condition]] = {}

    def forget(self, key: str) -> None:
        """The pipeline is gone."""
        self._said.pop(key, None)

    async def look(self, object: Object) -> tuple[Condition, float]:
        """What is said of it, and the seconds until it is asked again."""
        meta, key, now = object["metadata"], key_of(object), time.monotonic()
        kept = self._said.get(key)
        if kept is not None and kept[:2] == (meta["uid"], meta["generation"]) and now < kept[2]:
            return kept[3], kept[2] - now
        try:
            body = {"pipeline": pipeline_document.document(object, self._known)}
        except BadInput as wrong:
            return Condition(VALID, FALSE, "InvalidPipeline", str(wrong)), WELL_SECONDS
        try:
            by = {ACTING_FOR: Tenant(self._cluster, meta["namespace"]).name}
            told = await self._server.ask("POST", LINT, body, by)
        except Full as full:  # one namespace may have thousands
            return _unknown(object, full), spread(WRONG_SECONDS)
        except PilotageError as error:
            return _unknown(object, error), error.seconds if isinstance(error, Away) else 30.0
        said = condition(told["valid"], told["problems"])
        seconds = WELL_SECONDS if said.status == TRUE else WRONG_SECONDS
        self._said[key] = (meta["uid"], meta["generation"], now + seconds, said)
        return said, seconds


def condition(valid: bool, problems: Iterable[Mapping[str, Any]]) -> Condition:
    """The server's answer as a condition."""
    problems = list(problems)
    words = pipeline_document.problems(problems)
    if not valid:
        return Condition(VALID, FALSE, "InvalidPipeline", cut(words, MESSAGE_LIMIT))
    if problems:
        return Condition(VALID, TRUE, "Warnings", cut(words, MESSAGE_LIMIT))
    return Condition(VALID, TRUE, "Valid", "lint has found nothing")


def _unknown(object: Object, error: PilotageError) -> Condition:
    """The server says nothing now: what it said of this very version still holds."""
    before = find(object.get("status") or {}, VALID)
    if before is not None and before.get("observedGeneration") == object["metadata"]["generation"]:
        return Condition(VALID, before["status"], before["reason"], before["message"])
    return Condition(VALID, UNKNOWN, "NotLooked", f"lint was not asked: {error.what}")
