"""What people write into `spec.approvals`, brought to the tool server in their names."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pilotage.domain.call import ACTING_FOR
from pilotage.domain.errors import Conflict, NotFound, PilotageError
from pilotage.kubernetes.kind import Object
from pilotage.operator import pipeline_document
from pilotage.operator.tool_server import Away, ToolServer

UNTIED = (
    "spec.approvals is not heard here: without the cluster's admission policy nobody can tell who "
    "wrote it. Approve at the tool server (pilotage approvals, pilotage runs). It "
)
REFUSED_SECONDS = 30.0
"""How soon a word is brought again that the server has refused."""
HOW = "answer in spec.approvals, under the id in status.waiting"
_VERBS = {"approve": "approve", "reject": "reject", "retry": "resume"}
_PLAIN = "".join(chr(one) for one in range(ord(" "), ord("~") + 1) if chr(one) != "%")
"""What the server takes in a name as it is."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the server has made of a word: `why` it refused it, "" where it did not, and when."""

    why: str
    at: float


class Approvals:
    """`cluster` is our name of the cluster. `untied`: nothing here ties an approval to who wrote
    it, so none that stands in an object counts."""

    def __init__(self, server: ToolServer, cluster: str, *, untied: bool) -> None:
        self._server, self._cluster, self.untied = server, cluster, untied
        self._told: dict[tuple[str, ...], _Heard] = {}

    async def bring(self, object: Object, view: Mapping[str, Any], path: str) -> None:
        """Tell the server what people have said of what waits in the run at `path`, each once."""
        open_ones = {one["id"]: one["step"] for one in pipeline_document.waiting(view)}
        calls = {one.get("approval") for one in view["steps"]}
        for one in () if self.untied else _all(object):
            word = _word(object, one)
            if one["id"] not in open_ones or not self._is_news(word):
                continue
            verb, reason = _VERBS[one["decision"]], one.get("reason", "")
            if one["id"] in calls and verb != "resume":
                at, body = f"/api/v2/approvals/{quote(one['id'])}/{verb}", {"reason": reason}
            else:
                body = {"step": open_ones[one["id"]], "reason": reason}
                at = f"{path}/{verb}"
            why = await self._relay(at, body, one["user"])
            self._told[word] = _Heard(why, time.monotonic())

    def _is_news(self, word: tuple[str, ...]) -> bool:
        """What was refused may be right by now."""
        heard = self._told.get(word)
        if heard is None:
            return True
        return heard.why != "" and time.monotonic() - heard.at > REFUSED_SECONDS

    async def _relay(self, path: str, body: Mapping[str, Any], user: str) -> str:
        """Why the word of this person does not count; "": it does, was said before, or comes too
        late."""
        who = quote(f"kubernetes:{self._cluster}:{user}", safe=_PLAIN)
        try:
            await self._server.ask("POST", path, body, {ACTING_FOR: who})
        except Away:
            raise
        except (Conflict, NotFound):
            return ""
        except PilotageError as error:
            _log.warning("%s of %s is refused: %s", path, who, error)
            return f"what {user} says is refused: {error}"
        return ""

    def remarks(
        self, object: Object, view: Mapping[str, Any], waits: list[dict[str, Any]]
    ) -> list[str]:
        """What who answers, or has answered in vain, should know."""
        told = [] if self.untied else [HOW]
        lost = pipeline_document.never_waited(view, [one["id"] for one in _all(object)])
        if lost:
            told.append(f"nothing ever waited under {lost!r}")
        heard = [self._told.get(_word(object, one)) for one in _about(object, waits)]
        return told + [one.why for one in heard if one is not None and one.why]

    def forget(self, uid: str) -> None:
        """Its run has ended."""
        self._told = {word: one for word, one in self._told.items() if word[0] != uid}

    def unheard(self, object: Object, waits: list[dict[str, Any]]) -> bool:
        """Has anybody written a word about what waits, where none counts?"""
        return self.untied and bool(_about(object, waits))


def _all(object: Object) -> list[dict[str, Any]]:
    """What people have said in it; none where that is too large to be kept."""
    found = object["spec"].get("approvals")
    return found if isinstance(found, list) else []


def _about(object: Object, waits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What people have said of what waits."""
    open_ones = {one["id"] for one in waits}
    return [one for one in _all(object) if one["id"] in open_ones]


def _word(object: Object, one: Mapping[str, Any]) -> tuple[str, ...]:
    """What one person has said, of which run."""
    return object["metadata"]["uid"], one["id"], one["user"], one["decision"]
