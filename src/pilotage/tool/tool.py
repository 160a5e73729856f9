"""The contract of a tool.

What the caller gives stands before the `*` of a tool's function: that is its input schema. What
the house injects stands after it, by type: services, and `Call`, the call at hand.

    @tool(Effect.READ)
    async def line_count(path: Path, *, here: Call) -> Lines:
        \"\"\"Count the lines of a file.\"\"\"
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import convert, to_builtins
from msgspec.structs import astuple

from pilotage.domain.call import Effect, Outcome, Progress, Report, ToolCall, ToolResult, silent
from pilotage.domain.errors import BadInput, PilotageError
from pilotage.tool.roots import Roots

Tasks = Literal["", "optional", "required"]
Runner = Callable[[ToolCall, Report], Coroutine[Any, Any, ToolResult]]
Check = Callable[[ToolCall], Awaitable[None]]
Decode = Callable[[type, Any], Any]
_SUCCEEDED = Outcome.SUCCEEDED


@dataclass(frozen=True, slots=True)
class Actions:
    """What a call does depends on one argument: `effects` by its values. With any other value, or
    none, it is the tool's own effect, which is the worst of them."""

    argument: str
    effects: Mapping[str, Effect]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool ready to be called. Schemas are JSON Schema 2020-12; `timeout` is in seconds.

    `idempotent`: running it again under the same key does no harm. `open`: arguments that the
    schema does not name are dropped and named in the answer instead of refused (the article's
    clients send some). `owner` is who registered it, "" for the house's own tools. `annotations` is
    what an owner says of it in the words of MCP, None: made from the effect; `target` is where a
    tool of another sends its calls, without secrets. Both are pinned (tool/pin.py). `wire` is the
    tool as another MCP server lists it, handed on as it is, but for the name. `cache_seconds`: how
    long an answer holds, 0: not at all; for tools that read and are idempotent (tool/cache.py).
    `tasks`: may a call over MCP become a task whose end is asked for later (server/tasks.py).
    `actions`: of a tool that does several things, so that each is decided as what it is. `asks`:
    its server may ask the client while a call of it runs (MCP's handshake eras). `retries`: how
    often what is Unavailable is tried again, if the tool is idempotent (tool/retry.py).
    `conducts`: it only waits for other calls of the same principal, the steps of a run. `behind`:
    the tool of the house of which this is another name; what the policy forbids of that counts.
    `check` raises what a call would come to in any case, before a person is asked about it.
    """

    name: str
    summary: str
    description: str
    effect: Effect
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    run: Runner
    idempotent: bool = False
    open: bool = False
    timeout: float = 60.0
    owner: str = ""
    annotations: Mapping[str, Any] | None = None
    target: str = ""
    wire: Mapping[str, Any] | None = None
    cache_seconds: float = 0.0
    tasks: Tasks = ""
    actions: Actions | None = None
    asks: bool = False
    retries: int = 0
    conducts: bool = False
    behind: str = ""
    check: Check | None = None

    def __post_init__(self) -> None:
        if self.cache_seconds and not (self.effect is Effect.READ and self.idempotent):
            raise BadInput(
                f"{self.name}: cache_seconds is for tools that read and are idempotent",
                "leave it out, or say so of the tool",
            )

    @property
    def plain(self) -> bool:
        """A call of it simply runs: no answer of it is kept, and nothing is tried again."""
        return not (self.cache_seconds or self.retries)

    def effect_of(self, arguments: Mapping[str, Any]) -> Effect:
        """What a call with these arguments does."""
        if self.actions is None:
            return self.effect
        value = arguments.get(self.actions.argument)
        known = self.actions.effects.get(value) if isinstance(value, str) else None
        return known or self.effect

    @property
    def mildest(self) -> Effect:
        """The least that a call of it does: who may do that much may see it."""
        does = {self.effect, *(self.actions.effects.values() if self.actions else ())}
        return next(effect for effect in Effect if effect in does)


@dataclass(frozen=True, slots=True)
class Call:
    """The call at hand, for a tool that wants to tell progress or to know who asks."""

    call: ToolCall
    report: Report

    def tell(self, message: str, done: float = 0, total: float | None = None) -> None:
        """News for whoever waits."""
        self.report(Progress(message, done, total))


@dataclass(frozen=True, slots=True)
class Definition:
    """A tool's function and what is said about it; `bind` gives it its services. `offered` False:
    nobody can call it until somebody registers it (kind builtin)."""

    name: str
    effect: Effect
    function: Callable[..., Awaitable[Any]]
    idempotent: bool
    open: bool
    timeout: float
    cache_seconds: float = 0.0
    tasks: Tasks = ""
    actions: Actions | None = None
    offered: bool = True
    conducts: bool = False
    check: Callable[..., Awaitable[None]] | None = None

    def bind(self, services: Mapping[type, object]) -> Tool:
        """A tool that answers with `services`; a service that is missing stops the start."""
        signature = _Signature.of(self.function)
        injected = {}
        for parameter, kind in signature.injected.items():
            if kind not in services and kind is not Call:
                raise PilotageError(
                    f"tool {self.name} wants a {kind.__name__} that the app does not have"
                )
            if kind is not Call:
                injected[parameter] = services[kind]
        roots = services.get(Roots)
        if not isinstance(roots, Roots):
            raise PilotageError("the app has no Roots service")
        text = inspect.getdoc(self.function) or ""
        input_schema, plain = signature.input_schema()
        decode = _decoder(roots)
        check = _checker(self.check, signature, injected, decode)
        run = _runner(self.function, signature, injected, None if plain else decode)
        return Tool(
            self.name,
            text.split("\n", 1)[0],
            text,
            self.effect,
            input_schema,
            signature.output_schema(),
            run if self.check is None else _checked(check, run),
            self.idempotent,
            self.open,
            self.timeout,
            cache_seconds=self.cache_seconds,
            tasks=self.tasks,
            actions=self.actions,
            conducts=self.conducts,
            check=check,
        )


def tool(
    effect: Effect,
    *,
    name: str = "",
    idempotent: bool = False,
    open: bool = False,
    timeout: float = 60.0,
    cache_seconds: float = 0.0,
    tasks: Tasks = "",
    actions: Actions | None = None,
    offered: bool = True,
    conducts: bool = False,
    check: Callable[..., Awaitable[None]] | None = None,
) -> Callable[[Callable[..., Awaitable[Any]]], Definition]:
    """Make a tool of an async function. `timeout` in seconds; `cache_seconds`: how long an answer
    holds for who asked, if the tool reads and is idempotent; `tasks`: for what takes long;
    `actions`: what it does by one of its arguments, where `effect` is the worst of it; `offered`
    False: nobody can call it until it is registered; `conducts`: it waits for steps of a run;
    `check`: runs before the function, and before a person is asked about a call; it takes some of
    the function's parameters, by name, asks nobody far away, and raises."""

    def make(function: Callable[..., Awaitable[Any]]) -> Definition:
        called = name or function.__name__
        rest = (cache_seconds, tasks, actions, offered, conducts, check)
        return Definition(called, effect, function, idempotent, open, timeout, *rest)

    return make


@dataclass(frozen=True, slots=True)
class _Signature:
    arguments: type[msgspec.Struct]
    injected: Mapping[str, type]
    result: Any

    @classmethod
    def of(cls, function: Callable[..., Any]) -> _Signature:
        hints = typing.get_type_hints(function, include_extras=True)
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        injected: dict[str, type] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                injected[name] = hints[name]
            elif parameter.default is inspect.Parameter.empty:
                fields.append((name, hints[name]))
            else:
                fields.append((name, hints[name], parameter.default))
        struct = msgspec.defstruct(function.__name__, fields, kw_only=True)
        return cls(struct, injected, hints.get("return"))

    def input_schema(self) -> tuple[dict[str, Any], bool]:
        """The schema of the arguments, and: does msgspec know every type of them by itself?"""
        schema, plain = _schema(self.arguments)
        schema["additionalProperties"] = False
        return schema, plain

    def output_schema(self) -> dict[str, Any] | None:
        if self.result in (None, ToolResult, Any) or typing.get_origin(self.result) is dict:
            return None
        return _schema(self.result)[0]


def _schema(kind: Any) -> tuple[dict[str, Any], bool]:
    """The JSON Schema of a type, its top level inlined; is none of its types ours to explain?"""
    ours: list[type] = []

    def of_path(kind: type) -> dict[str, Any]:
        ours.append(kind)
        return _schema_of_path(kind)

    made = msgspec.json.schema(kind, schema_hook=of_path)
    definitions: dict[str, Any] = made.get("$defs", {})
    reference = made.get("$ref", "")
    top: dict[str, Any] = (
        dict(definitions.pop(reference.rsplit("/", 1)[-1])) if reference else dict(made)
    )
    top.pop("title", None)
    top.pop("$defs", None)
    if definitions:
        top["$defs"] = definitions
    return top, not ours


def _schema_of_path(kind: type) -> dict[str, Any]:
    if kind is Path:
        return {"type": "string"}
    raise NotImplementedError


def _decoder(roots: Roots) -> Decode:
    def decode(kind: type, value: Any) -> Any:
        if kind is Path:
            return roots.inside(value)
        raise NotImplementedError

    return decode


def _checker(
    check: Callable[..., Awaitable[None]] | None,
    signature: _Signature,
    injected: Mapping[str, object],
    decode: Decode,
) -> Check:
    """Reads the arguments as a run of it would, and asks `check` about those that it takes."""
    wants = inspect.signature(check).parameters if check is not None else {}
    call_at = [name for name, kind in signature.injected.items() if kind is Call and name in wants]
    services = {name: one for name, one in injected.items() if name in wants}
    taken = [name for name in wants if name not in signature.injected]

    async def looked(call: ToolCall) -> None:
        given = convert(call.arguments, signature.arguments, dec_hook=decode)
        if check is not None:
            asked = {name: getattr(given, name) for name in taken}
            await check(**asked, **services, **{name: Call(call, silent) for name in call_at})

    return looked


def _checked(check: Check, run: Runner) -> Runner:
    async def checked(call: ToolCall, report: Report) -> ToolResult:
        await check(call)
        return await run(call, report)

    return checked


def _runner(
    function: Callable[..., Awaitable[Any]],
    signature: _Signature,
    injected: Mapping[str, object],
    decode: Decode | None,
) -> Runner:
    """`decode`: None where the arguments need no help of ours."""
    wants_call = next((n for n, kind in signature.injected.items() if kind is Call), None)
    shape, plain = signature.arguments, decode is None
    bound = functools.partial(function, **injected) if injected else function

    async def run(call: ToolCall, report: Report) -> ToolResult:
        arguments = call.arguments
        given = convert(arguments, shape) if plain else convert(arguments, shape, dec_hook=decode)
        if wants_call is None:
            answer = await bound(*astuple(given))
        else:
            answer = await bound(*astuple(given), **{wants_call: Call(call, report)})
        if isinstance(answer, ToolResult):
            return answer
        value = {} if answer is None else _builtins(answer)
        return ToolResult(_SUCCEEDED, value if isinstance(value, dict) else {"result": value})

    return run


def _builtins(answer: Any) -> Any:
    """The answer as JSON has it; what JSON does not know (a path) becomes text.

    Keywords cost msgspec more than a small answer does, so the first try goes without.
    """
    try:
        return to_builtins(answer)
    except TypeError:
        return to_builtins(answer, enc_hook=str)
