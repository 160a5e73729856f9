"""Odd requests for tools/call on /mcp: a seeded generator of whole requests, as bytes of HTTP."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

VERSION, HANDSHAKE = "2026-07-28", "2025-11-25"
PREFIX = "io.modelcontextprotocol/"
META: dict[str, Any] = {
    PREFIX + "protocolVersion": VERSION,
    PREFIX + "clientCapabilities": {},
    PREFIX + "clientInfo": {"name": "odd", "version": "1"},
}
HEADERS = (
    ("Content-Type", "application/json"),
    ("Accept", "application/json, text/event-stream"),
    ("MCP-Protocol-Version", VERSION),
    ("Mcp-Method", "tools/call"),
    ("Mcp-Name", "echo"),
)
GOOD: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "echo", "arguments": {"text": "hi"}, "_meta": META},
}


@dataclass(frozen=True)
class Odd:
    """One request: `what` is odd about it."""

    what: str
    headers: tuple[tuple[str, str], ...] = HEADERS
    body: bytes = json.dumps(GOOD).encode()
    method: str = "POST"

    def raw(self, key: str) -> bytes:
        lines = [
            f"{self.method} /mcp HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {key}",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _with(**members: Any) -> dict[str, Any]:
    return {**GOOD, **members}


def _params(**members: Any) -> dict[str, Any]:
    return _with(params={**GOOD["params"], **members})


def _meta(**members: Any) -> dict[str, Any]:
    return _params(_meta={**META, **{k.replace("__", "/"): v for k, v in members.items()}})


def _cut(value: dict[str, Any], *path: str) -> dict[str, Any]:
    """Without the member at a path."""
    made = json.loads(json.dumps(value))
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return dict(made)


def _set(name: str, value: str) -> tuple[tuple[str, str], ...]:
    """The usual headers with one changed, or one more."""
    rest = tuple(pair for pair in HEADERS if pair[0].lower() != name.lower())
    return (*rest, (name, value))


def _without(name: str) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in HEADERS if pair[0] != name)


ANY: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e300,
    2**53 + 1,
    2**64,
    10**40,
    "",
    "x",
    "\u00e9\U0001f600",
)
ANY += ([], [1], {}, {"a": {"b": [None, "\x00"]}})
IDS = (*ANY, "a" * 5_000, -0.0, "1", "\u2028", 0, 7)


def bodies() -> Iterator[Odd]:
    """Each part of the body in each kind of JSON, or missing."""
    for value in IDS:
        yield Odd(f"id {value!r:.30}", body=_json(_with(id=value)))
    for value in ANY:
        for name in ("jsonrpc", "method", "params", "more"):
            yield Odd(f"{name} {value!r}", body=_json(_with(**{name: value})))
        for name in ("name", "arguments", "_meta", "task", "inputResponses", "requestState", "x"):
            yield Odd(f"params.{name} {value!r}", body=_json(_params(**{name: value})))
        keys = ("protocolVersion", "clientCapabilities", "clientInfo", "logLevel", "tasks")
        for name in (*(PREFIX + key for key in keys), "progressToken", "traceparent"):
            meta = {**META, name: value}
            yield Odd(f"_meta.{name} {value!r}", body=_json(_params(_meta=meta)))
        for capability in ("elicitation", "extensions", "sampling", "roots", "experimental"):
            meta = {**META, PREFIX + "clientCapabilities": {capability: value}}
            yield Odd(f"can {capability} {value!r}", body=_json(_params(_meta=meta)))
        yield Odd(f"text {value!r}", body=_json(_params(arguments={"text": value})))
        yield Odd(f"times {value!r}", body=_json(_params(arguments={"text": "a", "times": value})))
        yield Odd(f"other {value!r}", body=_json(_params(arguments={"text": "a", "other": value})))
        yield Odd(f"the whole body {value!r}", body=_json(value))
    for path in (("jsonrpc",), ("id",), ("method",), ("params",)):
        yield Odd(f"no {path}", body=_json(_cut(GOOD, *path)))
    for name in ("name", "arguments", "_meta"):
        yield Odd(f"no params.{name}", body=_json(_cut(GOOD, "params", name)))
    for name in META:
        yield Odd(f"no _meta.{name}", body=_json(_cut(GOOD, "params", "_meta", name)))
    for name in ("initialize", "tools/list", "server/discover", "ping", "nowhere"):
        headers = _set("Mcp-Method", name)
        yield Odd(f"method {name}", headers, _json(_with(method=name)))


def texts() -> Iterator[Odd]:
    """Bytes that are almost JSON, and JSON that is read in more than one way."""
    good = _json(GOOD)
    for what, body in (*_wholes(good), *_values(good), *_twice(good)):
        yield Odd(what, body=body)


def _wholes(good: bytes) -> tuple[tuple[str, bytes], ...]:
    """What is around a request, or in its place."""
    return (
        ("empty", b""),
        ("a BOM", b"\xef\xbb\xbf" + good),
        ("UTF-16", json.dumps(GOOD).encode("utf-16")),
        ("white space around", b" \r\n\t" + good + b"\n "),
        ("a byte more", good + b"x"),
        ("two bodies", good + good),
        ("a NUL more", good + b"\0"),
        ("cut", good[:-1]),
        ("a batch", b"[" + good + b"]"),
        ("a batch of two", b"[" + good + b"," + good + b"]"),
        ("not JSON", b"text=hi"),
        ("a notification", _json({"jsonrpc": "2.0", "method": "notifications/initialized"})),
        ("a cancel", _json({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {}})),
        ("a response", _json({"jsonrpc": "2.0", "id": 1, "result": {}})),
    )


def _values(good: bytes) -> tuple[tuple[str, bytes], ...]:
    """Numbers and texts that not every reader takes, or takes for the same."""
    return (
        ("NaN", good.replace(b'"hi"', b"NaN")),
        ("Infinity", good.replace(b'"hi"', b"-Infinity")),
        ("1e999", good.replace(b'"hi"', b"1e999")),
        ("a huge number", good.replace(b'"hi"', b"9" * 5_000)),
        ("a leading zero", good.replace(b'"hi"', b"01")),
        ("id 1.0", good.replace(b'"id": 1', b'"id": 1.0')),
        ("id 1e0", good.replace(b'"id": 1', b'"id": 1e0')),
        ("id -0", good.replace(b'"id": 1', b'"id": -0')),
        ("bytes that are no UTF-8", good.replace(b"hi", b"\xff\xfe")),
        ("an overlong NUL", good.replace(b"hi", b"\xc0\x80")),
        ("half a pair", good.replace(b"hi", b"\\ud800")),
        ("a pair as bytes", good.replace(b"hi", b"\xed\xa0\x80")),
        ("a control character", good.replace(b"hi", b"\x01")),
        ("an unknown escape", good.replace(b"hi", b"\\x41")),
        ("an escape", good.replace(b"hi", b"\\u00e9\\n\\/")),
        ("an escaped name", good.replace(b'"method"', b'"m\\u0065thod"')),
        ("a comment", good.replace(b'"id"', b'/* no */ "id"')),
        ("a comma more", good.replace(b'"hi"', b'"hi",')),
        ("deep", good.replace(b'"hi"', b"[" * 60 + b"]" * 60)),
        ("too deep", good.replace(b'"hi"', b"[" * 70 + b"]" * 70)),
        ("a long text", good.replace(b"hi", b"a" * 300_000)),
    )


def _twice(good: bytes) -> tuple[tuple[str, bytes], ...]:
    """Names that come twice."""
    return (
        ("id twice", good.replace(b'"id": 1', b'"id": 1, "id": 2')),
        ("method twice", good.replace(b'"id": 1', b'"id": 1, "method": "tools/list"')),
        ("method twice, last", good[:-1] + b', "method": "tools/list"}'),
        ("params twice", good[:-1] + b', "params": {}}'),
        ("name twice", good.replace(b'"name": "echo"', b'"name": "note", "name": "echo"')),
        ("text twice", good.replace(b'"hi"', b'"hi", "text": "ho"')),
        ("text twice, number", good.replace(b'"hi"', b'"hi", "text": 5')),
    )


def heads() -> Iterator[Odd]:
    """Headers that are missing, twice, too much, or say something else."""
    for name, value in HEADERS:
        yield Odd(f"no {name}", _without(name))
        yield Odd(f"{name} twice", (*HEADERS, (name, value)))
        yield Odd(f"{name} twice, other", (*HEADERS, (name, "other")))
        yield Odd(f"{name} in front", ((name, "other"), *HEADERS))
        for other in (
            "",
            "x",
            value.upper(),
            value + " ",
            value + "\t",
            "  " + value,
            value + ";a",
        ):
            yield Odd(f"{name} {other!r}", _set(name, other))
        yield Odd(f"{name} long", _set(name, value + "x" * 20_000))
        yield Odd(f"{name} in capitals", tuple((n.upper(), v) for n, v in HEADERS))
    kinds = ("*/*", "application/*", "text/*", "application/json", "text/event-stream", "a/b")
    for one in kinds:
        for two in kinds:
            for form in (f"{one}, {two}", f"{one};q=0.5,{two} ; q=0", f"{one} {two}"):
                yield Odd(f"Accept {form}", _set("Accept", form))
    for value in ("text/plain", "application/jsonx", "APPLICATION/JSON; charset=utf-16"):
        yield Odd(f"Content-Type {value}", _set("Content-Type", value))
    for version in ("2025-11-25", "2024-11-05", "2027-01-01", "\u00e9", "2026-07-28, 2026-07-28"):
        headers = _set("MCP-Protocol-Version", version)
        yield Odd(f"version {version} in the header", headers)
        changed = _params(_meta={**META, PREFIX + "protocolVersion": version})
        yield Odd(f"version {version}", headers, _json(changed))
    for name in ("Mcp-Session-Id", "Last-Event-ID", "Mcp-Param-Text", "Mcp-Param-Region", "Cookie"):
        yield Odd(f"{name} too", _set(name, "x"))
        yield Odd(f"{name} twice too", (*_set(name, "x"), (name, "y")))
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        yield Odd(f"method {method}", method=method)


def tools() -> Iterator[Odd]:
    """Every tool of the tests, and names that no tool has, as header and name go together or do
    not."""
    calls: tuple[tuple[str, Any], ...] = (
        ("echo", {"text": '\u00e9\U0001f600\x7f\u2028<>&"\\/'}),
        ("echo", {"text": "a", "times": 0}),
        ("lenient", {"text": "a", "txt": 1}),
        ("lenient", {"text": "a"}),
        ("wreck", {"text": "a"}),
        ("note", {"text": "a"}),
        ("fails", {"how": "answer"}),
        ("fails", {"how": "unavailable"}),
        ("fails", {"how": "bug"}),
        ("fails_quickly", {"how": "timeout"}),
        ("reads", {"path": "/etc/passwd"}),
        ("slow", {"seconds": 0.01}),
        ("routed", {"region": "eu", "text": "a"}),
        ("routed", {"text": "a"}),
        ("blocks", {}),
        ("nothing", {}),
        ("mixed", {}),
        ("half_a_pair", {}),
        ("nowhere", {}),
        ("", {}),
        ("Echo", {"text": "a"}),
        (" echo", {"text": "a"}),
        ("\u00e9cho", {"text": "a"}),
        ("e" * 5_000, {}),
    )
    for name, arguments in calls:
        body = _json(_params(name=name, arguments=arguments))
        coded = f"=?base64?{base64.b64encode(name.encode()).decode()}?="
        for header in (name, coded, name + "x", "echo"):
            headers = _set("Mcp-Name", header)
            yield Odd(f"{name:.20} {arguments} as {header:.20}", headers, body)
            for region in ("eu", "us", "=?base64?ZXU=?="):
                more = (*headers, ("Mcp-Param-Region", region))
                yield Odd(f"{name:.20} {arguments} as {header:.20} in {region}", more, body)


def mixed(seed: int, count: int) -> Iterator[Odd]:
    """Two oddities at once, of the body and of the head, and bytes changed at random."""
    chance = random.Random(seed)
    odd_bodies, odd_heads = [*bodies(), *texts()], [*heads(), *tools()]
    for _ in range(count):
        body, head = chance.choice(odd_bodies), chance.choice(odd_heads)
        yield replace(head, what=f"{head.what} and {body.what}", body=body.body)
        changed = bytearray(chance.choice((Odd("").body, body.body or b"{}")))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(changed))
            changed[at : at + chance.randint(0, 1)] = chance.choice(
                (b"", b'"', b"{", b"}", b",", b"0", b"\\", b"\xff", b" ", b"null")
            )
        yield Odd(f"{bytes(changed)!r:.200}", body=bytes(changed))


def in_session(odd: Odd, id: str) -> Odd:
    """The same oddity in a session of the handshake eras, where no request has an envelope."""
    headers = tuple((n, v.replace(VERSION, HANDSHAKE)) for n, v in odd.headers)
    envelope = json.dumps(META).encode()[1:-1]
    body = odd.body.replace(envelope + b", ", b"").replace(envelope, b"")
    return replace(odd, headers=(*headers, ("Mcp-Session-Id", id)), body=body)


def sessions(id: str) -> Iterator[Odd]:
    """What only a session has: its id, a version that was agreed on, tokens for progress."""
    good = in_session(Odd("plain"), id)
    head = tuple(pair for pair in good.headers if pair[0] != "Mcp-Session-Id")
    others = ("", "x", id.upper(), id + "x", id + " ", " " + id, id + ", " + id, id[:-1], "\u00e9")
    for other in others:
        yield replace(good, what=f"session {other!r}", headers=(*head, ("Mcp-Session-Id", other)))
    yield replace(good, what="no session", headers=head)
    yield replace(good, what="session twice", headers=(*good.headers, ("Mcp-Session-Id", "x")))
    head = tuple(pair for pair in good.headers if pair[0] != "MCP-Protocol-Version")
    yield replace(good, what="no version", headers=head)
    for version in ("2024-11-05", "2025-03-26", "2025-06-18", HANDSHAKE, VERSION, "2024-11-06", ""):
        more = ("MCP-Protocol-Version", version)
        yield replace(good, what=f"version {version}", headers=(*head, more))
    yield from _metas(good)


def _metas(good: Odd) -> Iterator[Odd]:
    """Tokens for progress, and what else `_meta` may ask for."""
    calls: tuple[tuple[str, Any], ...]
    calls = (("echo", {"text": "a"}), ("slow", {"seconds": 0.01}), ("fails", {"how": "answer"}))
    for token in (*ANY, 0, 7, "7", 1.0, -0.0, 2**63, '"', "\\", "io.pilotage"):
        for name, arguments in calls:
            meta = {"claudecode/toolUseId": "toolu_1", "progressToken": token}
            body = _json(_params(name=name, arguments=arguments, _meta=meta))
            yield replace(good, what=f"{name} with token {token!r}", body=body)
    keys = ("io.modelcontextprotocol/x", "io.pilotage/approval", "io.pilotage/idempotency-key")
    for key in (*keys, "progress_token", "traceparent", "io"):
        for value in ("\u00e9", 1, None):  # no key that would make one call of two
            body = _json(_params(_meta={key: value}))
            yield replace(good, what=f"_meta.{key} {value!r}", body=body)
            escaped = body.replace(b"io.", b"i\\u006f.").replace(b"oken", b"\\u006fken")
            yield replace(good, what=f"_meta.{key} {value!r} escaped", body=escaped)
