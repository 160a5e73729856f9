"""Calls that are kept while a client of 2026-07-28 thinks about a question of the tool's server.

A server of the handshake eras asks in the middle of a call; such a client is asked by the answer of
its request ("input required"), and asks again with what it says. So the call stays under way here
between the two: one call, with one approval, one row in the audit, one deadline, which stands still
meanwhile. The state that the client sends back is a random name of it, good for one answer, for
who called, for the same tool as it was, with the same arguments. It lives in this process alone.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from typing import Any

from msgspec.structs import replace

from pilotage.app import App
from pilotage.domain.call import (
    Answer,
    Outcome,
    Peer,
    Progress,
    Report,
    ToolCall,
    ToolResult,
    silent,
)
from pilotage.domain.deadline import Deadline
from pilotage.domain.errors import BadInput, Busy, Conflict, Denied, PilotageError
from pilotage.domain.ids import new_id
from pilotage.server.http import encode
from pilotage.server.relay import ANSWER_SECONDS
from pilotage.tool.canonical import digest
from pilotage.tool.results import screened
from pilotage.tool.size import size_of
from pilotage.tool.surface import surface
from pilotage.tool.tool import Tool
from pilotage.upstream.wire import askable

STATE = "pilotage.parked:"
EACH, MOST = 16, 128
"""Calls of one principal, and of all, that wait for an answer at a time."""
QUESTIONS = 10
"""How often a server may ask within one call."""
QUESTION_BYTES = 1 << 20
KEPT_SECONDS = 600.0
"""How long it is known how a call ended that nobody came back for, or that a state was used."""
KEPT_BYTES = 64 << 10
USED = 1_000
Question = tuple[str, Mapping[str, Any], asyncio.Future[Mapping[str, Any]]]
"""A question: its method, its params, and where the answer goes."""


class Parked:
    """One call, its questions that are open, and the ways to whoever waits for it now."""

    def __init__(self, parking: Parking, call: ToolCall, tool: Tool, report: Report) -> None:
        assert call.peer is not None
        self.tool = tool
        self.state = ""  # known to the client while it is asked
        self.end: ToolResult | Exception | None = None
        self.questions: dict[str, Question] = {}
        self.asked = asyncio.Event()
        self.number = 0
        self.deadline = Deadline()
        self._parking, self._report, self._tell = parking, report, call.peer.tell
        self._can = call.peer.capabilities
        tell = None if call.peer.tell is None else self._told
        peer = Peer(
            True, self._can, call.peer.meta, ask=self.ask, tell=tell, deadline=self.deadline
        )
        self.call = replace(call, peer=peer)
        self.work = asyncio.create_task(self._run(silent if report is silent else self._reported))
        self.work.add_done_callback(self._ended)

    def hear(self, report: Report, peer: Peer | None) -> None:
        """From now on, what is told goes here; `silent` and None: nobody waits."""
        self._report, self._tell = report, None if peer is None else peer.tell

    async def _run(self, report: Report) -> None:
        try:
            end = await self._parking.run(self.call, report)
        except Exception as error:
            self.end = error
        else:
            if self.state and size_of(end, KEPT_BYTES) > KEPT_BYTES:
                what = f"{self.call.tool} ended without an answer, and said too much to be kept"
                end = ToolResult(Outcome.FAILED, error=what)
            self.end = end

    def _reported(self, progress: Progress) -> None:
        self._report(progress)

    def _told(self, method: str, params: Mapping[str, Any]) -> None:
        if self._tell is not None:
            self._tell(method, params)

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put a question to the client. Whoever waits for the call gets it."""
        self._parking.admit(self)
        if params.get("mode") == "url" and not _opens(self._can):
            raise Conflict("this client opens no URLs")
        if self.number >= QUESTIONS:
            raise Conflict(f"{self.call.tool} asked back {QUESTIONS} times")
        if len(encode(params)) > QUESTION_BYTES:
            raise Conflict(f"a question has at most {QUESTION_BYTES} bytes")
        self.number += 1
        id = f"{method.partition('/')[0]}-{self.number}"
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self.questions[id] = (method, params, answer)
        self.asked.set()
        try:
            with self.deadline.asking(ANSWER_SECONDS):
                return await answer
        finally:
            self.questions.pop(id, None)
            if not self.questions:
                self.asked.clear()

    def answer(self, answers: Mapping[str, Any]) -> None:
        """Hand on what the client says. BadInput for what is no answer."""
        for id in self.questions.keys() & answers.keys():
            if not isinstance(answers[id], Mapping):
                raise BadInput(f"the answer to {id} is no object")
        for id in self.questions.keys() & answers.keys():
            _, _, answer = self.questions.pop(id)
            if not answer.done():
                answer.set_result(answers[id])
        if not self.questions:
            self.asked.clear()

    def _ended(self, _: object) -> None:
        for _, _, answer in self.questions.values():
            if not answer.done():
                answer.set_exception(Conflict("the call has ended"))
        self._parking.ended(self)

    def result(self) -> ToolResult:
        """How it ended. Raises what its call raised."""
        if isinstance(self.end, Exception):
            raise self.end
        return self.end or ToolResult(Outcome.CANCELLED, error=f"{self.call.tool} was cancelled")


class Parking:
    """Between a door and the gateway: `call` is that of the gateway, but its result may be a
    question."""

    def __init__(self, app: App) -> None:
        self._app, self._gateway = app, app.gateway
        self._entries = app.registry
        self._states: OrderedDict[str, Parked] = OrderedDict()
        self._used: OrderedDict[str, str] = OrderedDict()  # states, and whose they were
        self._all: set[Parked] = set()  # those that run
        self._closed = False

    def call(self, call: ToolCall, report: Report = silent) -> Coroutine[Any, Any, ToolResult]:
        """What runs the call, goes on with one that was kept, or has nothing to do with that."""
        peer = call.peer
        if peer is None or not peer.modern or peer.ask is not None:
            return self._gateway.call(call, report)
        if named(peer.state):
            return self._again(call, report)
        entry = self._entries.entries.get(call.tool)
        if entry is None or not entry.tool.asks or not askable(peer.capabilities):
            return self._gateway.call(call, report)
        return self._begin(call, entry.tool, report)

    async def _begin(self, call: ToolCall, tool: Tool, report: Report) -> ToolResult:
        one = Parked(self, call, tool, report)
        self._all.add(one)
        return await self._next(one)

    async def _again(self, call: ToolCall, report: Report) -> ToolResult:
        """The client came back: the same call goes on. Raises where it may not."""
        assert call.peer is not None
        state = call.peer.state or ""
        try:
            one = self._fitting(state, call)
            if not one.work.done():
                if not one.questions.keys() & (answers := call.peer.answers or {}).keys():
                    return self._question(one)
                one.answer(answers)
        except PilotageError as refused:
            self._app.audit.refuse(new_id(), call.tool, call.by.name, "mcp", refused.what)
            raise
        self._forget(one)
        one.hear(report, call.peer)
        return await self._next(one)

    def _fitting(self, state: str, call: ToolCall) -> Parked:
        """The call that this state is of, if it is for this one."""
        one = self._states.get(state)
        if one is None or one.call.by.name != call.by.name:
            if self._used.get(state) == call.by.name:
                raise Conflict("this requestState was used already", "it is good for one answer")
            what = "no call of yours waits under this requestState"
            raise Conflict(what, "it has ended or was never there: call again without it")
        if one.call.tool != call.tool:
            raise Conflict(f"this requestState is for the tool {one.call.tool}")
        if not _same(call.arguments, one.call.arguments):
            raise Conflict("this requestState is for other arguments")
        if not one.work.done():
            self._check(one, call)
        return one

    def _check(self, one: Parked, call: ToolCall) -> None:
        """May it go on? A call that may not is ended."""
        try:
            tool = self._entries.find(call.tool).tool
            if tool is not one.tool and not _same(surface(tool), surface(one.tool)):
                raise Conflict("the call has ended: its tool has changed since it began")
            decision = self._app.policy.decide(call.by, tool.name, tool.effect, behind=tool.behind)
            if decision.answer is Answer.DENY:
                raise Denied(f"{call.by.name} may not call {tool.name} any more: {decision.why}")
        except PilotageError:
            one.work.cancel()
            self._forget(one)
            raise

    async def _next(self, one: Parked) -> ToolResult:
        """How the call ends, or what it asks first. Whoever stops waiting ends it."""
        while not one.work.done():
            asked = asyncio.ensure_future(one.asked.wait())
            try:
                await asyncio.wait({one.work, asked}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                one.work.cancel()
                await asyncio.wait({one.work})
                raise
            finally:
                asked.cancel()
            if one.questions and not one.work.done():
                return self._park(one)
        return one.result()

    def _park(self, one: Parked) -> ToolResult:
        one.state = STATE + secrets.token_urlsafe(24)
        self._states[one.state] = one
        one.hear(silent, None)
        return self._question(one)

    def _question(self, one: Parked) -> ToolResult:
        """What the client is asked, in the words of the server, but for what hides in them."""
        asked = {
            id: {"method": m, "params": params} for id, (m, params, _) in one.questions.items()
        }
        member = {"resultType": "input_required", "inputRequests": asked, "requestState": one.state}
        said = ToolResult(
            Outcome.SKIPPED,
            error=f"{one.call.tool} asks its client before it goes on",
            wire=b'"result":' + encode(member),
        )
        return self._app.redactor.whole(screened(said))

    def admit(self, one: Parked) -> None:
        """May one more call wait for an answer? Raises Busy or Conflict."""
        if self._closed:
            raise Conflict("this server is stopping")
        waiting = [other for other in self._all if other.questions and other is not one]
        mine = sum(other.call.by.name == one.call.by.name for other in waiting)
        if mine >= EACH or len(waiting) >= MOST:
            raise Busy("too many calls wait for an answer of their client")

    def ended(self, one: Parked) -> None:
        """It has: how is told to its client, should it still come."""
        self._all.discard(one)
        if one.state not in self._states:
            return
        loop = asyncio.get_running_loop()
        loop.call_later(KEPT_SECONDS, self._states.pop, one.state, None)
        over = [state for state, other in self._states.items() if other.work.done()]
        for state in over[:-MOST]:
            del self._states[state]

    def _forget(self, one: Parked) -> None:
        """Its state is used."""
        if self._states.pop(one.state, None) is not None:
            self._used[one.state] = one.call.by.name
            if len(self._used) > USED:
                self._used.popitem(last=False)
        one.state = ""

    def run(self, call: ToolCall, report: Report) -> Coroutine[Any, Any, ToolResult]:
        return self._gateway.call(call, report)

    def close(self) -> None:
        """From now on, nobody is asked; calls that wait for an answer are cancelled."""
        self._closed = True
        for one in self._states.values():
            one.work.cancel()

    async def stop(self) -> None:
        """Cancel all, and wait until they have cleaned up."""
        self.close()
        works = {one.work for one in self._all}
        for work in works:
            work.cancel()
        if works:
            await asyncio.wait(works)


def named(state: Any) -> bool:
    """Is this the state of a call that is kept here?"""
    return isinstance(state, str) and state.startswith(STATE)


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    try:
        return one is other or digest(one) == digest(other)
    except ValueError:  # what has no digest is like nothing else
        return False


def _opens(capabilities: Mapping[str, Any]) -> bool:
    can = capabilities.get("elicitation")
    return isinstance(can, Mapping) and can.get("url") is not None
