"""Which trace a call is part of, carried beside it as W3C Trace Context has it (`traceparent`,
`tracestate`). Without tracing both stay empty, and nothing is made or looked at."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

Carrier = Mapping[str, str]
NOTHING: Carrier = MappingProxyType({})
NAMES = ("traceparent", "tracestate")
came: ContextVar[Carrier] = ContextVar("came", default=NOTHING)
"""What whoever asks sent along."""
goes: ContextVar[Carrier] = ContextVar("goes", default=NOTHING)
"""What goes on to a server behind us: the span of the call at hand."""

request: ContextVar[str] = ContextVar("request", default="")
"""The id of the HTTP request at hand, where it has one."""


def carry(into: dict[str, object]) -> None:
    """Our own span in the place of the client's, in headers or in `_meta`."""
    now = goes.get()
    if now:
        into.pop("tracestate", None)
        into.update(now)
