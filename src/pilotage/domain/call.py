"""A tool call: who asks for what, what was decided, how it ended."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from msgspec import Struct

from pilotage.domain.deadline import Deadline
from pilotage.domain.pattern import pattern


class Effect(StrEnum):
    """What a tool may do to the world. A destroy asks a person unless the policy says otherwise."""

    READ = "read"
    WRITE = "write"
    DESTROY = "destroy"


class Outcome(StrEnum):
    """How an execution ended: one enum for calls, steps and scanners.

    No value means both "fine" and "never ran".
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts. `tools` are globs of tool names that the principal may call at most."""

    name: str
    roles: frozenset[str]
    tools: tuple[str, ...] = ("*",)


ACTING_FOR = "Pilotage-Acting-For"
"""The header that names whom a program speaks for: a person who has approved something in a
cluster, or the namespace in which a run was declared."""
VIA = " via "
"""In a principal's name, between whom a program speaks for and the key by which it does."""
_TENANT = pattern(r"kubernetes:([^:/]+)/([a-z0-9-]+)" + VIA + ".+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A namespace of a cluster, as the operator of that cluster names both."""

    cluster: str
    namespace: str

    @property
    def name(self) -> str:
        """Under which a program speaks for it. No person is called so: theirs have a colon where
        this has its slash (kubernetes:CLUSTER:PERSON)."""
        return f"kubernetes:{self.cluster}/{self.namespace}"


def tenant_of(by: Principal) -> Tenant | None:
    """The namespace for which a program acts, if it does: a run that was declared there."""
    found = _TENANT.fullmatch(by.name)
    return Tenant(found[1], found[2]) if found else None


def spoken_for(name: str) -> str:
    """Who speaks under this name of a principal, by whichever key it is brought."""
    return name.partition(VIA)[0]


def holder_of(by: Principal) -> str:
    """Whose the runs are that `by` starts: its own, or those of the namespace for which it acts, by
    whichever key."""
    tenant = tenant_of(by)
    return tenant.name if tenant else by.name


LET_GO = "let go"
"""The message of a cancellation by which a process lets a call of a run go: another process takes
the step up. What runs elsewhere for it is left running."""


class Peer(Struct, frozen=True):
    """The MCP client behind a call, for a tool whose server is elsewhere: what it is able to do,
    and what it said beside the arguments.

    `modern`: it speaks 2026-07-28, where a question is an answer ("input required"); then `answers`
    and `state` are what it sends when it asks again. `ask` puts a question to it in mid-call, in
    the eras before, or where the call is a task or is kept for its answer; None: it cannot be
    asked. `tell` takes a notification (method, params) for it. `deadline`: the call's own, which
    stands still while the client is asked.
    """

    modern: bool
    capabilities: Mapping[str, Any]
    meta: Mapping[str, Any] = {}
    answers: Mapping[str, Any] | None = None
    state: str | None = None
    ask: Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None
    tell: Callable[[str, Mapping[str, Any]], None] | None = None
    deadline: Deadline | None = None


class ToolCall(Struct, frozen=True):
    """One request to run one tool. `via` is the door: rest, mcp, cli or step.

    `idempotency_key` is the same for each attempt at the same piece of work; `attempt` counts them,
    and is the same again for one that a crash has cut off.
    `timeout` is in seconds and can only shorten the tool's own. `approval` is the id of the
    approval that the caller names.
    """

    id: str
    tool: str
    arguments: Mapping[str, Any]
    by: Principal
    via: str
    idempotency_key: str | None = None
    run: str | None = None
    step: str | None = None
    timeout: float | None = None
    approval: str | None = None
    peer: Peer | None = None
    attempt: int = 1


class Kept(Struct, frozen=True):
    """An answer that was there already, so many seconds old: "cached", or "replayed" to a call
    under the idempotency key that it was made for."""

    how: str
    seconds: float

    @property
    def said(self) -> str:
        """What a person is told of it."""
        if self.how == "replayed":
            return "the answer of before, kept under this idempotency key: nothing ran again"
        return f"an answer of {self.seconds:.0f} s ago, from the cache: nothing ran"


class ToolResult(Struct, frozen=True):
    """How a call ended. `value` is a JSON object; `content` holds MCP content blocks, if any
    say more than `value` (wire shape: {"type": "image", "data": ..., "mimeType": ...}). `ignored`
    names arguments that did not count, and `warnings` say so, with what may be meant.

    `wire` is what another MCP server answered, as it came: the member `"result":{...}` or
    `"error":{...}` of its JSON-RPC message. A door that speaks its era hands it on unread.
    """

    outcome: Outcome
    value: Mapping[str, Any] = {}  # each gets its own
    error: str | None = None
    hint: str | None = None
    content: tuple[Mapping[str, Any], ...] = ()
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    wire: bytes | None = None
    kept: Kept | None = None

    @property
    def succeeded(self) -> bool:
        return self.outcome is Outcome.SUCCEEDED


class Answer(StrEnum):
    """What the policy says."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


NO_RULE = "default"
"""The name of the rule that denies what no rule allows."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The policy's answer, the rule that fired, and why in a sentence. `needed` persons must
    approve where it asks; `policy` is the version of the policy that says so."""

    answer: Answer
    rule: str
    why: str
    needed: int = 1
    policy: str = ""

    @property
    def hint(self) -> str:
        """For who is told no: which rule said so, and the verb that tells more."""
        if self.rule == NO_RULE:
            return "what no rule allows is denied: `pilotage policy show` says what each role may"
        return f"rule {self.rule}: `pilotage policy ask` tries it, `pilotage policy show` has all"


@dataclass(frozen=True, slots=True)
class Progress:
    """News of a long call: a line to read, and how far it is (`total` None: unknown)."""

    message: str
    done: float = 0
    total: float | None = None


Report = Callable[[Progress], None]
"""Takes progress without blocking and without failing."""


def silent(_: Progress) -> None:
    """The report of a caller that does not listen."""
