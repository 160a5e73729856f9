"""Tools that are declared: an HTTP endpoint that takes and gives JSON.

    {"method": "GET", "url": "https://api.example/tickets/{id}?fields={fields}",
     "headers": {"Authorization": {"secret": "TICKETS_TOKEN", "prefix": "Bearer "}},
     "input_schema": {"type": "object", "properties": {"id": {"type": "integer"}, ...}}}

An argument that the URL does not name goes into the body. The answer is `status` and, as `result`,
the JSON that came; an error status is a failure. Nothing of who calls us goes along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pilotage.domain.call import Effect, Outcome, Report, ToolCall, ToolResult
from pilotage.domain.errors import BadInput, TooLarge
from pilotage.domain.registration import Registration
from pilotage.domain.text import cut, visible
from pilotage.tool.cache import MOST_SECONDS
from pilotage.tool.retry import MOST
from pilotage.tool.schema import Answers, Arguments
from pilotage.tool.tool import Tool
from pilotage.upstream.binder import Slot
from pilotage.upstream.egress import read_url
from pilotage.upstream.secrets import Header, Secrets, check_headers, refuse_literal, told
from pilotage.upstream.session import Outgoing
from pilotage.upstream.template import Template, parse

if TYPE_CHECKING:
    import aiohttp

RESULT_LIMIT = 4 << 20
RESULT_MOST = 64 << 20
TEXT_MOST = 8_000
SHOWN = 500
_SCALARS = frozenset(("string", "integer", "number", "boolean"))
_WITH_BODY = ("POST", "PUT", "PATCH")
_EFFECTS = {"GET": Effect.READ, "DELETE": Effect.DESTROY}
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Declaration(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """The definition of one tool. `timeout` in seconds, `result_limit` in bytes. `effect` None:
    what the method says: GET reads, DELETE destroys, the others write. `retries`: how often an
    exchange that broke off is tried again, where the tool is idempotent (None: once, since the
    other side may close a connection that is kept just as we take it). `cache_seconds`: how long
    an answer holds for who asked, of a tool that reads and is idempotent."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    url: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None = None
    headers: dict[str, Any] = {}
    summary: str = ""
    description: str = ""
    effect: Effect | None = None
    idempotent: bool | None = None
    timeout: float = 30.0
    result_limit: int = RESULT_LIMIT
    retries: int | None = None
    cache_seconds: float = 0.0


class HttpTools:
    """The binder of the kind http."""

    declared = True

    def __init__(self, outgoing: Outgoing, secrets: Secrets) -> None:
        self._outgoing, self._secrets = outgoing, secrets

    def check(self, name: str, definition: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            given = msgspec.convert(definition, Declaration)
        except msgspec.ValidationError as error:
            raise BadInput(f"{name}: {error}", "docs/guides/your-http-api.md") from None
        self._endpoint(name, given)
        self._outgoing.egress.check_url(parse(given.url).example())
        kept: dict[str, Any] = msgspec.to_builtins(given)
        return kept

    def unpinned(self, definition: Mapping[str, Any]) -> str:
        return ""

    def bind(self, one: Registration, slot: Slot) -> Sequence[Tool]:
        given = msgspec.convert(one.definition, Declaration)
        endpoint = self._endpoint(one.name, given)
        effect = given.effect or _EFFECTS.get(given.method, Effect.WRITE)
        idempotent = _idempotent(given)
        retries = int(idempotent) if given.retries is None else given.retries
        text = given.description or given.summary
        return (
            Tool(
                one.name,
                given.summary or text.split("\n", 1)[0],
                text,
                effect,
                _closed(given.input_schema),
                _answer_schema(given.output_schema),
                endpoint.run,
                idempotent,
                timeout=given.timeout,
                owner=one.holder,
                target=_target(given, idempotent, retries),
                cache_seconds=given.cache_seconds,
                retries=retries,
            ),
        )

    def unbind(self, one: Registration) -> None:
        """It holds nothing of its own: the connections are the process's."""

    def _endpoint(self, name: str, given: Declaration) -> _Endpoint:
        """All that is wrong with a declaration is found here. Raises BadInput."""
        if not 0.1 <= given.timeout <= 600:
            raise BadInput(f"{name}: timeout is {given.timeout:g} s", "0.1 to 600 s")
        if not 1 <= given.result_limit <= RESULT_MOST:
            raise BadInput(f"{name}: result_limit is {given.result_limit}", f"1 to {RESULT_MOST}")
        if given.effect is Effect.READ and given.method in ("PUT", "PATCH", "DELETE"):
            raise BadInput(f"{name}: {given.method} does not only read", "effect: write or destroy")
        _check_repeats(name, given)
        if "\n" in given.summary or len(given.summary) > 200:
            raise BadInput(f"{name}: the summary is a line of at most 200 characters")
        if len(given.description) > TEXT_MOST or len(given.url) > TEXT_MOST:
            raise BadInput(
                f"{name}: the url and the description have at most {TEXT_MOST} characters"
            )
        for where, text in (
            ("the url", given.url),
            ("the description", given.description),
            ("the summary", given.summary),
            ("the input schema", _encode(given.input_schema).decode()),
            ("the output schema", _encode(given.output_schema).decode()),
        ):
            refuse_literal(f"{name}: {where}", text)
        template = parse(given.url)
        _check_arguments(name, given, template)
        Arguments(name, _closed(given.input_schema), open=False, foreign=True)
        answers = None
        if given.output_schema is not None:
            answers = Answers(f"the output schema of {name}", given.output_schema)
        headers = check_headers(given.headers)
        origin = str(read_url(template.example()).origin())
        return _Endpoint(given, template, origin, headers, answers, self._outgoing, self._secrets)


def _target(given: Declaration, idempotent: bool, retries: int) -> str:
    """Where a call goes, as what, and how often: all that is approved beside what callers see."""
    words = [f"{given.method} {given.url}{told(check_headers(given.headers))}"]
    if idempotent and given.method in ("POST", "PATCH"):
        words.append("may be repeated")
    if retries > 1:
        words.append(f"tried again {retries} times")
    if given.cache_seconds:
        words.append(f"answers hold {given.cache_seconds:g} s")
    return "; ".join(words)


def _idempotent(given: Declaration) -> bool:
    if given.idempotent is None:
        return given.method not in ("POST", "PATCH")
    return given.idempotent


def _check_repeats(name: str, given: Declaration) -> None:
    effect = given.effect or _EFFECTS.get(given.method, Effect.WRITE)
    if not 0 <= (given.retries or 0) <= MOST:
        raise BadInput(f"{name}: retries is {given.retries}", f"0 to {MOST}")
    if not 0 <= given.cache_seconds <= MOST_SECONDS:
        raise BadInput(f"{name}: cache_seconds is {given.cache_seconds:g}", f"0 to {MOST_SECONDS}")
    if given.retries and not _idempotent(given):
        raise BadInput(f"{name}: retries are for tools that are idempotent", "idempotent: true")
    if given.cache_seconds and not (_idempotent(given) and effect is Effect.READ):
        raise BadInput(
            f"{name}: cache_seconds is for tools that read and are idempotent", "leave it out"
        )


@dataclass(frozen=True, slots=True)
class _Endpoint:
    given: Declaration
    template: Template
    origin: str
    headers: Mapping[str, Header]
    answers: Answers | None
    outgoing: Outgoing
    secrets: Secrets

    async def run(self, call: ToolCall, report: Report) -> ToolResult:
        """One exchange. What the arguments do not allow, the guard or a secret's hosts forbid, is
        raised; whatever the other side does is the answer."""
        url = self.template.fill(call.arguments)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        headers |= self.secrets.headers(self.headers, self.origin)
        body = None
        if self.given.method in _WITH_BODY:
            names = self.template.names
            body = _encode({k: v for k, v in call.arguments.items() if k not in names})
            headers["Content-Type"] = "application/json"
        async with self.outgoing.request(
            self.given.method, url, headers=headers, data=body, auto_decompress=False
        ) as answer:
            return await self._read(answer)

    async def _read(self, answer: aiohttp.ClientResponse) -> ToolResult:
        status = answer.status
        if status >= 300:
            said = cut(visible((await _start(answer)).decode("utf-8", "replace")), SHOWN)
            where = ", and redirects, which is not followed" if status < 400 else ""
            return self._failed(status, f"answered {status}{where}: {said or 'without a word'}")
        try:
            content = await self._content(answer)
        except TooLarge as error:
            return self._failed(status, error.what)
        if not content:
            value = None
        else:
            kind = answer.content_type.lower()
            if kind != "application/json" and not kind.endswith("+json"):
                return self._failed(status, f"answered {visible(kind)}, which is not JSON")
            try:
                value = _decode(content)
            except (msgspec.DecodeError, ValueError, RecursionError):
                return self._failed(status, "answered what is not JSON, though it says so")
        if self.answers is not None and (why := self.answers.wrong(value)):
            return self._failed(status, f"answered what its output schema forbids: {why}")
        return ToolResult(Outcome.SUCCEEDED, {"status": status, "result": value})

    async def _content(self, answer: aiohttp.ClientResponse) -> bytes:
        limit = self.given.result_limit
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise TooLarge("answered compressed, which was not asked for")
        parts = bytearray()
        if (answer.content_length or 0) <= limit:
            async for part in answer.content.iter_any():
                parts += part
                if len(parts) > limit:
                    break
            else:
                return bytes(parts)
        raise TooLarge(f"answered more than {limit} bytes")

    def _failed(self, status: int, why: str) -> ToolResult:
        where = f"{self.given.method} {self.given.url}"
        return ToolResult(Outcome.FAILED, {"status": status}, f"{where} {why}")


async def _start(answer: aiohttp.ClientResponse) -> bytes:
    """As much of a body as is worth showing."""
    parts = bytearray()
    async for part in answer.content.iter_any():
        parts += part
        if len(parts) >= 4 * SHOWN:
            break
    return bytes(parts[: 4 * SHOWN])


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An argument that is not declared would go nowhere, or into the body unseen: it is refused
    unless the schema says otherwise."""
    return {"additionalProperties": False, **schema}


def _answer_schema(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Around what the endpoint answers: `result` keeps its words apart from ours. References of the
    inner schema begin at its own root, so they are turned towards where it stands now."""
    if schema is None:
        return None
    return {
        "type": "object",
        "properties": {"status": {"type": "integer"}, "result": _moved(schema)},
        "required": ["status", "result"],
    }


def _moved(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: f"#/properties/result{item[1:]}"
            if key == "$ref" and isinstance(item, str) and (item == "#" or item[:2] == "#/")
            else _moved(item)
            for key, item in value.items()
            if key not in ("$schema", "$id")
        }
    if isinstance(value, list):
        return [_moved(item) for item in value]
    return value


def _check_arguments(name: str, given: Declaration, template: Template) -> None:
    """Each argument has one place to go, and each place an argument."""
    schema = given.input_schema
    if schema.get("type") != "object":
        raise BadInput(f"{name}: the input schema is of no object", '{"type": "object", ...}')
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise BadInput(f"{name}: the input schema has no usable properties")
    for variable in sorted(template.names):
        declared = properties.get(variable)
        if declared is None:
            raise BadInput(f"{name}: the URL wants {{{variable}}}, which the input schema lacks")
        if not _is_scalar(declared):
            raise BadInput(
                f"{name}: {variable} stands in the URL, so its type must be plain",
                "type: " + ", ".join(sorted(_SCALARS)),
            )
    for variable in sorted(template.in_path - set(required)):
        raise BadInput(f"{name}: {variable} stands in the path, so it must be required")
    if given.method not in _WITH_BODY:
        for left in sorted(set(properties) - template.names):
            raise BadInput(f"{name}: {left} goes nowhere", f"put {{{left}}} into the URL")
        if _closed(schema)["additionalProperties"] is not False or "patternProperties" in schema:
            raise BadInput(f"{name}: other arguments would go nowhere", "additionalProperties: no")


def _is_scalar(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    kinds = schema.get("type")
    return set(kinds if isinstance(kinds, list) else [kinds]) <= _SCALARS
