"""What a server tells by itself: a stream that is kept open for its changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.errors import PilotageError
from pilotage.upstream import wire
from pilotage.upstream.exchange import Refused
from pilotage.upstream.link import Link, Wanted

logger = logging.getLogger(__name__)
RELISTEN_SECONDS = 1.0
LONGEST_SECONDS = 60.0
STEADY_SECONDS = 10.0
"""A stream that held for so long is opened anew without a longer pause."""
_LISTS = {
    "notifications/tools/list_changed": "tools",
    "notifications/prompts/list_changed": "prompts",
    "notifications/resources/list_changed": "resources",
}


@dataclass(frozen=True, slots=True)
class News:
    """What changed at a server: a list (tools, prompts, resources), or the resource `uri`."""

    what: str
    uri: str = ""


class Changes:
    """`heard` takes the news. `missed` is called where the stream ended, and when it is opened
    anew: what was said between goes unheard. `gone` hears that the server has ended with it."""

    def __init__(
        self,
        who: str,
        offers: Collection[str],
        heard: Callable[[News], None],
        missed: Callable[[], None],
        gone: Callable[[str], None],
    ) -> None:
        self._who, self._offers = who, offers
        self._news, self._missed, self._gone = heard, missed, gone
        self._uris: dict[str, int] = {}
        self._link: Link | None = None
        self._listening: asyncio.Task[None] | None = None

    def begin(self, link: Link) -> None:
        """Listen, until the end."""
        self._link = link
        self._listening = asyncio.create_task(self._listen(link))

    async def end(self) -> None:
        """Listen no more; what was watched is watched again after the next `begin`."""
        task, self._listening, self._link = self._listening, None, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    def watch(self, uri: str) -> None:
        """Somebody wants to hear of changes of a resource."""
        self._uris[uri] = self._uris.get(uri, 0) + 1
        if self._uris[uri] == 1:
            self._relisten()

    def unwatch(self, uri: str) -> None:
        """One less does."""
        left = self._uris.get(uri, 0) - 1
        if left > 0:
            self._uris[uri] = left
        elif self._uris.pop(uri, None) is not None:
            self._relisten()

    def _relisten(self) -> None:
        if self._listening is not None and self._link is not None:
            self._listening.cancel()
            self.begin(self._link)

    async def _listen(self, link: Link) -> None:
        """A server that has no such stream is read now and then."""
        pause, now = RELISTEN_SECONDS, asyncio.get_running_loop().time
        while True:
            began = now()
            try:
                await link.listen(self._wanted(), self._heard)
            except (wire.RpcError, Refused) as error:
                logger.info("%s announces no changes: %s", self._who, error.what)
                return
            except PilotageError as error:
                if link.bound:
                    self._gone(error.what)
                    return
                logger.info("%s: the stream of changes broke off: %s", self._who, error.what)
            self._missed()
            if now() - began > STEADY_SECONDS:
                pause = RELISTEN_SECONDS
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_SECONDS)
            self._missed()

    def _wanted(self) -> Wanted:
        wants = ("tools" in self._offers, "prompts" in self._offers, "resources" in self._offers)
        return Wanted(*wants, frozenset(self._uris))

    def _heard(self, method: str, params: Mapping[str, Any]) -> None:
        if method in _LISTS:
            self._news(News(_LISTS[method]))
        elif method == "notifications/resources/updated":
            uri = params.get("uri")
            if isinstance(uri, str):
                self._news(News("resource", uri))
