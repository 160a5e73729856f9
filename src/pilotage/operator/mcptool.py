"""MCPTool: a tool that the cluster declares, registered at the tool server."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pilotage.domain.errors import BadInput, PilotageError
from pilotage.domain.text import counted
from pilotage.kubernetes.kind import Object
from pilotage.operator import definition
from pilotage.operator.conditions import FALSE, READY, TRUE, UNKNOWN, Condition, find
from pilotage.operator.parameters import match
from pilotage.operator.registrar import (
    NoSecret,
    Registrar,
    refused,
    registered,
    standing_of,
)
from pilotage.operator.runtime.store import Store
from pilotage.operator.status import StatusWriter, seconds_since
from pilotage.operator.tool_server import Away, Standing

LETTING_GO_SECONDS = 600.0
"""How long the end of an object waits for a server that cannot be reached. What is left there then
is taken away when the server is back."""
REFUSED_SECONDS = 60.0
NAMED = 5
"""So many tools are named in a message."""
FORCE = "force-delete"
_log = logging.getLogger(__name__)
_ON_ITS_WAY = ("Unavailable", "NotReady", "NoTools")
_STATES = {"disabled": "Disabled", "quarantined": "Quarantined", "unavailable": "Unavailable"}


class Tools:
    """Reconciles MCPTools. `finalizer` is ours on each of them."""

    def __init__(
        self, store: Store, status: StatusWriter, registrar: Registrar, finalizer: str
    ) -> None:
        self._store, self._status, self._registrar = store, status, registrar
        self._finalizer = finalizer

    async def reconcile(self, key: str) -> float | None:
        """Make the server have what the object says, and say in its status how that went."""
        object = self._store.get(key)
        if object is None:
            return None
        if "deletionTimestamp" in object["metadata"]:
            return await leave(object, self._status, self._finalizer, self._unregister)
        spec = object["spec"]
        try:
            wanted = definition.wanted(spec, self._registrar.place(object))
        except BadInput as wrong:
            await self._unacceptable(object, wrong)
            return None
        await self._status.hold(object, self._finalizer)
        accepted = Condition(
            "Accepted", TRUE, "Accepted", f"it is a tool of the kind {wanted.kind}"
        )
        suspended = bool(spec.get("suspend"))
        try:
            standing = await self._registrar.register(object, wanted, suspended=suspended)
        except PilotageError as error:
            return await self._not_registered(object, accepted, error)
        ready = readiness(standing, suspended=suspended)
        said = [accepted, registered(standing), ready]
        if wanted.kind == "builtin" and "parameters" in spec and standing.takes is not None:
            said.insert(1, match(spec["parameters"], standing.takes))
        await self._status.write(object, said, standing_of(standing, wanted))
        return again(object, ready, self._registrar.refresh if wanted.secrets else None)

    async def _unacceptable(self, object: Object, wrong: BadInput) -> None:
        """What was registered before stays as it was; nothing new is, until the spec changes."""
        hint = f" ({wrong.hint})" if wrong.hint else ""
        said = wrong.what + hint
        conditions = [
            Condition("Accepted", FALSE, "InvalidSpec", said),
            Condition(READY, FALSE, "InvalidSpec", said),
        ]
        await self._status.write(object, conditions, kept(object))

    async def _not_registered(
        self, object: Object, accepted: Condition, error: PilotageError
    ) -> float:
        said = refused(error)
        away = isinstance(error, Away)
        ready = Condition(READY, UNKNOWN if away else FALSE, said.reason, said.message)
        await self._status.write(object, [accepted, said, ready], kept(object))
        return later(error, self._registrar)

    async def _unregister(self, object: Object) -> None:
        if object["spec"].get("deletionPolicy") == "Orphan":
            wanted = definition.wanted(object["spec"], self._registrar.place(object))
            await self._registrar.hand_over(object, wanted)
        else:
            await unregister(object, self._registrar)


Words = Callable[[Object, Condition], tuple[list[Condition], Mapping[str, Any]]]


def _not_unregistered(object: Object, why: Condition) -> tuple[list[Condition], Mapping[str, Any]]:
    ready = Condition(READY, FALSE, "Terminating", f"not unregistered: {why.message}")
    return [why, ready], kept(object)


async def leave(
    object: Object,
    status: StatusWriter,
    finalizer: str,
    unregister: Callable[[Object], Awaitable[None]],
    words: Words = _not_unregistered,
) -> float | None:
    """The object is to go: take what it stands for away first, and let it go then. `words`: what
    its status says where that cannot be done yet. Seconds until it is tried again."""
    if finalizer not in object["metadata"].get("finalizers", ()):
        return None
    try:
        await unregister(object)
    except PilotageError as error:
        if not given_up(object):
            await status.write(object, *words(object, refused(error)))
            return min(error.seconds if isinstance(error, Away) else 5.0, 30.0)
    except Exception:  # a fault of ours holds nobody's object for ever
        if not given_up(object):
            raise
        _log.exception("%s was let go, and was not unregistered", object["metadata"]["name"])
    await status.let_go(object, finalizer)
    return None


async def unregister(object: Object, registrar: Registrar) -> None:
    """What is registered for it is gone from the server: under the name that its spec gives, which
    nobody can change. One whose name is none was never there."""
    try:
        name = definition.registered_name(object["spec"], registrar.place(object))
    except BadInput:
        return
    await registrar.unregister(object, name)


def readiness(standing: Standing, *, suspended: bool) -> Condition:
    """What its registration comes to for who wants to call it."""
    if suspended:
        return Condition(READY, FALSE, "Suspended", "spec.suspend is true: nobody can call it")
    if standing.state == "ready" and standing.quarantined:
        return _held(standing)
    if standing.state == "ready" and not standing.tools:
        what = "the server has no tools of it: none has come yet, or tools.allow lets none in"
        return Condition(READY, FALSE, "NoTools", what)
    if standing.state == "ready":
        tools = standing.tools
        what = _named(tools) if len(tools) <= NAMED else counted(len(tools), "tool")
        return Condition(READY, TRUE, "Ready", f"{what} can be called")
    reason = _STATES.get(standing.state, "NotReady")
    return Condition(READY, FALSE, reason, standing.why or f"the server says {standing.state}")


def _held(standing: Standing) -> Condition:
    """Some of its tools are not what a person has approved."""
    held = standing.quarantined
    count = len(standing.tools) - len(held)
    wait = "waits" if len(held) == 1 else "wait"
    said = f"{counted(count, 'tool')} can be called; {_named(held)} {wait} until somebody approves"
    status = TRUE if count else FALSE
    return Condition(READY, status, "Quarantined", f"{said} (pilotage tools diff {held[0]})")


def _named(tools: Sequence[str]) -> str:
    return ", ".join(tools[:NAMED]) + (", ..." if len(tools) > NAMED else "")


def again(object: Object, ready: Condition, refresh: float | None) -> float | None:
    """When to come again: soon, while a server is on its way up; else after `refresh` seconds,
    where Secrets may have changed."""
    return soon(object, ready) if ready.reason in _ON_ITS_WAY else refresh


def soon(object: Object, ready: Condition, longest: float = 30.0) -> float:
    """When to look again at what is not well: at once, then ever later the longer it is so."""
    was = find(object.get("status") or {}, READY)
    since = was["lastTransitionTime"] if was and was["status"] == ready.status else None
    return min(longest, max(0.5, seconds_since(since)))


def kept(object: Object) -> Mapping[str, Any]:
    """What the status knew of the registration, where nothing new is known."""
    status = object.get("status", {})
    known = ("toolName", "toolId", "tools", "quarantined", "digest", "secrets")
    return {name: status[name] for name in known if name in status}


def later(error: PilotageError, registrar: Registrar) -> float:
    """When to try again what the server, or a Secret that is missing, has kept from being there."""
    if isinstance(error, Away):
        return error.seconds
    return registrar.refresh if isinstance(error, NoSecret) else REFUSED_SECONDS


def given_up(object: Object) -> bool:
    """May it go though the server was not told? It was asked to long enough ago, or by force."""
    meta = object["metadata"]
    group = object["apiVersion"].partition("/")[0]
    if (meta.get("annotations") or {}).get(f"{group}/{FORCE}") == "true":
        return True
    return seconds_since(meta["deletionTimestamp"]) > LETTING_GO_SECONDS
