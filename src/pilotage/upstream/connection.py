"""One upstream that is kept: found out, listened to, asked; given up when down, and retried."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pilotage.domain.errors import Busy, PilotageError, Unavailable
from pilotage.upstream import wire
from pilotage.upstream.breaker import Breaker
from pilotage.upstream.catalogue import pages
from pilotage.upstream.changes import Changes, News
from pilotage.upstream.classic import Classic
from pilotage.upstream.doubt import Doubt
from pilotage.upstream.exchange import Http, Refused
from pilotage.upstream.link import Link, Offer, Relay
from pilotage.upstream.modern import Modern
from pilotage.upstream.secrets import Secrets
from pilotage.upstream.server import Upstream
from pilotage.upstream.session import Outgoing
from pilotage.upstream.slot import Slot
from pilotage.upstream.stdio import Stdio

logger = logging.getLogger(__name__)
OPEN_SECONDS = 20.0
PROBE_SECONDS = 5.0
DOUBT_SECONDS = 5.0
"""How long a call waits for the list of a server that may be another one."""
SETTLE_SECONDS = 0.05
_OTHERS = (wire.METHOD_NOT_FOUND, wire.UNSUPPORTED_VERSION)
"""Errors of a server that knows less than the one did that was found out."""


@dataclass(frozen=True, slots=True)
class Ways:
    """What a connection gets from the house."""

    outgoing: Outgoing
    secrets: Secrets


class Connection:
    """`up` reads the catalogue anew, `down` hears that the server is gone and why, `told` hears of
    changes. All calls share its links: one a era, and one a set of abilities of clients."""

    def __init__(
        self,
        upstream: Upstream,
        ways: Ways,
        up: Callable[[Connection], Awaitable[None]],
        down: Callable[[Connection, str], None],
        told: Callable[[Connection, News], None],
    ) -> None:
        self.upstream = upstream
        self.offer: Offer | None = None
        self.lists: dict[str, list[dict[str, Any]]] = {}  # what offers.py shows
        self.offered: Collection[bytes] = ()  # what each tool is made of that it lists now
        self.breaker = Breaker()
        self._ways, self._up, self._down, self._told = ways, up, down, told
        self._link: Link | None = None
        self._classic: dict[frozenset[str], Link] = {}
        self._slots = asyncio.Semaphore(upstream.parallel)
        self._waiting = 0
        self._attention = asyncio.Event()
        self._doubt, self._said = Doubt(), ""
        self._modern_only = False
        self._lists: set[str] = set()
        self.changes = Changes(self.who, upstream.offers, self._heard, self.doubts, self._is_down)
        self._probing: asyncio.Task[None] | None = None

    @property
    def who(self) -> str:
        return f"the upstream {self.upstream.name}"

    @property
    def asks(self) -> bool:
        """Does it put its questions in the middle of a call, as the handshake eras do?"""
        return self._link is not None and not isinstance(self._link, Modern)

    # Calls.

    async def ask(
        self, method: str, params: Mapping[str, Any], relay: Relay, made_of: bytes = b""
    ) -> bytes:
        """One request of a caller's. Raises Unavailable at once where the server is down, or where
        it lists no tool any more that is `made_of` this; Busy where too many wait. Whoever waits
        gives up by cancelling, as the gateway does after the tool's timeout; when that took as
        long, the server is asked whether it is there at all."""
        if self.breaker.why or self._link is None:
            raise Unavailable(self._said_down(self.breaker.why or "not reached yet"))
        if self._slots.locked() and self._waiting >= self.upstream.parallel:
            raise Busy(f"{self.who} has {self.upstream.parallel} calls, and as many wait")
        began, slot = time.monotonic(), Slot(self._slots)
        try:
            return await self._within(method, params, relay, slot, made_of)
        except asyncio.CancelledError:
            if time.monotonic() - began >= self.upstream.timeout * 0.9:
                self.doubts()
                self._suspect()
            raise
        except Refused:
            self.doubts()
            raise
        except wire.Lost as error:
            self.doubts()
            if slot.was_lent:
                self._suspect()  # a stream that said nothing while somebody thought is soon cut
            else:
                self._failed(error.what)
            raise

    async def _within(
        self,
        method: str,
        params: Mapping[str, Any],
        relay: Relay,
        slot: Slot,
        made_of: bytes,
    ) -> bytes:
        self._waiting += 1
        try:
            await slot.begin()
        finally:
            self._waiting -= 1
        try:
            link = await self._for(relay)
            if relay.can_be_asked:
                relay = replace(relay, pause=slot.lent)
            await self._sure(made_of)
            try:
                answer = await link.ask(method, params, relay)
            except wire.Forgotten:
                self.doubts()
                await self._sure(made_of)
                answer = await link.ask(method, params, relay)
        except wire.RpcError as error:
            self.breaker.succeeded()
            if error.code in _OTHERS:
                self.doubts()
            raise
        finally:
            slot.end()
        self.breaker.succeeded()
        return answer

    def doubts(self) -> None:
        """It may be another server by now: its list is read before its next call goes out."""
        self._doubt.rise()
        self._attention.set()

    def answers_as(self, info: Mapping[str, Any]) -> None:
        """A server of 2026-07-28 says with each answer what it is."""
        if self.offer is not None and info != self.offer.info:
            if self.offer.info:
                logger.info("%s is %s now, and was %s", self.who, info, self.offer.info)
                self.doubts()
            self.offer = replace(self.offer, info=info)

    async def _sure(self, made_of: bytes) -> None:
        """Wait while it is in doubt what the server offers. Raises Unavailable where that takes too
        long, and where the tool is not what it was when the call was let in."""
        if self._doubt.stands:
            try:
                async with asyncio.timeout(DOUBT_SECONDS):
                    await self._doubt.over(lambda: bool(self.breaker.why))
            except TimeoutError:
                why = f"{self.who} may be another one, and does not list its tools"
                raise Unavailable(why, "try again later") from None
            if self.breaker.why:
                raise Unavailable(self._said_down(self.breaker.why))
        if made_of and made_of not in self.offered:
            hint = f"pilotage tools diff --server {self.upstream.name}"
            raise Unavailable(f"{self.who} has changed this tool meanwhile", hint)

    async def _for(self, relay: Relay) -> Link:
        """The link for this caller. A server of 2026-07-28 asks nothing in mid-call, so a client of
        the eras before that can be asked goes by a handshake, where the server still has one. A
        handshake says once what the client is able to do, so that each set of that has its own."""
        assert self._link is not None
        peer, main = relay.peer, self._link
        if peer is None or peer.ask is None or self._modern_only:
            return main
        if peer.modern and not self.asks:
            return main
        abilities = frozenset(relay.capabilities)
        if not abilities:
            return main
        link = self._classic.get(abilities)
        if link is None:
            link = self._classic[abilities] = self._handshake(relay.capabilities)
        try:
            await link.open()
        except (wire.RpcError, Refused) as error:
            if not isinstance(main, Modern):
                raise
            logger.info("%s shakes no hands: %s", self.who, error.what)
            self._modern_only = True
            return main
        return link

    def _failed(self, why: str) -> None:
        if self.breaker.failed(why):
            self._say_down(why)

    def _suspect(self) -> None:
        """A call took too long: is it the tool that is slow, or the server that hangs?"""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        assert self._link is not None
        method = "server/discover" if isinstance(self._link, Modern) else "ping"
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._link.ask(method, {}, Relay())
        except wire.Forgotten:
            self.doubts()
        except (TimeoutError, wire.Lost) as error:
            self._is_down(getattr(error, "what", f"{self.who} does not answer any more"))
        except PilotageError:
            pass

    # The life of a connection.

    async def run(self) -> None:
        """Until cancelled: connect, take in, listen; when that fails, wait and try again."""
        try:
            while True:
                try:
                    await self._connect()
                    await self._attend()
                except PilotageError as error:
                    self._is_down(error.what)
                except Exception as error:
                    logger.exception("%s", self.who)
                    self._is_down(f"a bug of pilotage: {type(error).__name__}")
                await self._let_go()
                await asyncio.sleep(self.breaker.pause())
        finally:
            await self._let_go()

    def _is_down(self, why: str) -> None:
        self.breaker.open(why)
        self._say_down(why)

    def _say_down(self, why: str) -> None:
        """To whoever waits or asks; to the log once, however often it is tried in vain."""
        if why != self._said:
            logger.warning("%s", self._said_down(why))
            self._said = why
        self._down(self, why)
        self._doubt.wake()
        self._attention.set()

    def _said_down(self, why: str) -> str:
        """With the name of the upstream once, which most reasons begin with."""
        return f"{self.who} is down: {why.removeprefix(self.who).lstrip(': ')}"

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                self._modern_only, mark = False, self._doubt.mark
                self._link, self.offer = await self._find_out()
                await self._up(self)
        except TimeoutError:
            raise wire.Lost(f"{self.who} did not answer within {OPEN_SECONDS:g} s") from None
        self.breaker.close()
        self._doubt.settle(mark)
        if self._said:
            logger.warning("%s is back", self.who)
            self._said = ""
        self.changes.begin(self._link)

    async def _find_out(self) -> tuple[Link, Offer]:
        """Which era it speaks: the newest is tried first, and a no is not taken for an outage."""
        if not self.upstream.argv:
            modern = Modern(self._http())
            try:
                return modern, await modern.open()
            except (wire.RpcError, Refused) as error:
                if isinstance(error, Refused) and error.code in (401, 403):
                    raise
                logger.info("%s speaks no %s: %s", self.who, wire.MODERN, error.what)
        classic = self._handshake({})
        return classic, await classic.open()

    async def read_lists(self) -> None:
        """What it offers beside tools, where it says that it has it."""
        can = self.offer.capabilities if self.offer is not None else {}
        for offer in ("prompts", "resources"):
            if offer not in self.upstream.offers or can.get(offer) is None:
                continue
            self.lists[offer] = await self._tried(f"{offer}/list", offer)
            if offer == "resources":
                templates = await self._tried("resources/templates/list", "resourceTemplates")
                self.lists["templates"] = templates

    async def _tried(self, method: str, member: str) -> list[dict[str, Any]]:
        """A list without which the server is of use all the same."""
        try:
            return await self.listed(method, member)
        except PilotageError as error:
            logger.warning("%s: %s: %s", self.who, method, error.what)
            return []

    async def listed(self, method: str, member: str) -> list[dict[str, Any]]:
        """All items of a list of the server's; over from the start where its session was lost."""
        if self._link is None:
            raise wire.Lost(f"{self.who} is not connected")
        link, limit = self._link, self.upstream.tool_limit
        try:
            return await pages(link, method, member, limit, self.who)
        except wire.Forgotten:
            return await pages(link, method, member, limit, self.who)

    def _http(self) -> Http:
        headers = self._ways.secrets.headers(self.upstream.headers, self.upstream.origin)
        return Http(
            self.who, self.upstream.url, self._ways.outgoing, headers, self.upstream.result_limit
        )

    def _handshake(self, abilities: Mapping[str, Any]) -> Link:
        if self.upstream.argv:
            env = self._ways.secrets.headers(self.upstream.env, self.upstream.origin)
            return Stdio(self.upstream, env, abilities)
        return Classic(self._http(), abilities)

    async def _attend(self) -> None:
        """Read the catalogue again when it changed, and now and then; return once it is down."""
        while True:
            self._attention.clear()
            if self.breaker.why:
                return
            if self._doubt.stands:
                await self._again()
                continue
            try:
                async with asyncio.timeout(self.upstream.refresh):
                    await self._attention.wait()
            except TimeoutError:
                await self._again()
            else:
                await asyncio.sleep(SETTLE_SECONDS)  # changes come in flocks

    async def _again(self) -> None:
        mark = self._doubt.mark
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self._up(self)
        except TimeoutError:
            raise wire.Lost(f"{self.who} did not list within {OPEN_SECONDS:g} s") from None
        self._doubt.settle(mark)
        lists, self._lists = self._lists, set()
        for what in sorted(lists):
            self._told(self, News(what))

    def _heard(self, news: News) -> None:
        if news.uri:
            self._told(self, news)
        else:
            self._lists.add(news.what)
            self.doubts()

    async def _let_go(self) -> None:
        await self.changes.end()
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._probing
        links = [self._link, *self._classic.values()]
        self._link, self._classic, self._probing = None, {}, None
        for link in links:
            if link is not None:
                await link.close()
